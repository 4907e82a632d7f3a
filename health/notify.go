package health

import (
	"strings"
	"time"
)

// Notification is what a container told by itself in one message, as sd_notify(3) has it. Of assignments that exclude each
// other the caller gives the last.
type Notification struct {
	Ready    bool    // READY=1
	Stopping bool    // STOPPING=1
	Status   *string // STATUS=, nil if there was none
	Watchdog bool    // WATCHDOG=1
	// Trigger is WATCHDOG=trigger: the container says that it does not work.
	Trigger bool
	// WatchdogTimeout is WATCHDOG_USEC=: from now on WATCHDOG=1 may be so far apart. 0 if there was none.
	WatchdogTimeout time.Duration
	// ExtendTimeout is EXTEND_TIMEOUT_USEC=: READY=1 may take so long from now. 0 if there was none.
	ExtendTimeout time.Duration
}

// Bounds of what a container can ask for by itself.
const (
	minWatchdog = 100 * time.Millisecond
	maxExtend   = time.Hour
	maxMessage  = 256
)

// Notify takes what the instance told by itself.
func (w *Watch) Notify(n Notification) {
	e := w.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.stopped || w.ctx.Err() != nil {
		return
	}
	now, state := time.Now(), &w.verdict.state
	if n.Status != nil {
		state.Message = strings.Join(strings.Fields(clean(*n.Status, maxMessage)), " ")
	}
	if n.Stopping {
		state.Notified, state.Stopping = false, true
	}
	if n.Ready && !state.Notified {
		state.Notified, state.Stopping = true, false
		w.noteReady(now)
	}
	w.schedule(now)
	if c := w.notified(RoleStartup); c != nil && n.ExtendTimeout > 0 && w.verdict.active(RoleStartup) {
		if due := now.Add(min(n.ExtendTimeout, maxExtend)); due.After(c.due) {
			e.queue.set(c, due)
		}
	}
	if c := w.notified(RoleLiveness); c != nil {
		w.ping(c, n, now)
	}
	w.tell()
	e.arm()
}

// notified returns the check of a role if the container tells by itself there, else nil.
func (w *Watch) notified(role Role) *check {
	for _, c := range w.checks {
		if c.role == role && c.ask == nil {
			return c
		}
	}
	return nil
}

// noteReady takes READY=1 for what waits for it.
func (w *Watch) noteReady(now time.Time) {
	for _, role := range [...]Role{RoleStartup, RoleReadiness} {
		if c := w.notified(role); c != nil && (role == RoleReadiness || w.verdict.active(role)) {
			c.results.add(Result{At: now, Duration: now.Sub(w.target.Since), Outcome: Success, Output: "READY=1"})
			w.verdict.take(role, Success, "")
		}
	}
}

// ping takes what a message says about the watchdog.
func (w *Watch) ping(c *check, n Notification, now time.Time) {
	if n.WatchdogTimeout > 0 {
		c.limit, c.pinged = max(n.WatchdogTimeout, minWatchdog), now
		if c.index != notQueued {
			w.engine.queue.set(c, now.Add(c.limit))
		}
	}
	if !w.verdict.active(RoleLiveness) {
		return
	}
	switch {
	case n.Trigger:
		w.failNotified(c, now, "WATCHDOG=trigger")
	case n.Watchdog:
		since := c.pinged
		c.pinged = now
		if since.IsZero() {
			since = w.target.Since
		}
		one := Result{At: now, Duration: now.Sub(since), Outcome: Success, Output: "WATCHDOG=1"}
		if last := c.results.last(); last != nil && last.Outcome == Success {
			*last = one
		} else {
			c.results.add(one)
		}
		w.verdict.take(RoleLiveness, Success, "")
	}
}
