package health

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// Target is one instance of a container, and the ways into it.
type Target struct {
	Probes *Probes
	// ReadyOnNotify: the instance is ready only once it has said READY=1.
	ReadyOnNotify bool
	// Since is when the instance started.
	Since time.Time
	// State is what an earlier engine knew of this instance, the zero value if it is new.
	State State
	// Adopted says that the instance is not new: its first probes are spread over a whole period.
	Adopted bool
	// Exec runs a command in the container. It may be nil if no probe needs it.
	Exec Exec
	// Netns opens the container's network namespace; nil without an error is this process' own. The engine closes the file.
	Netns func() (*os.File, error)
	// OnStatus is told the status when it changes, one call at a time and never after Stop was called from within one. It
	// may be given only the last of several. It may block.
	OnStatus func(Status, State)
	// OnResult is told every result, by several goroutines. Nil is nobody.
	OnResult func(Role, Kind, Result)
}

// Exec runs a command in a container and returns how it ended. When the context ends, it ends the command with all that it
// started. An error means that the command could not be carried out, unless it wraps ErrTimeout.
type Exec func(ctx context.Context, command []string) (ExecResult, error)

// ExecResult is how a command ended.
type ExecResult struct {
	Code   int    // exit code; 128 and the number of the signal that ended it
	Output []byte // the beginning of what it wrote; MaxOutput bytes are enough
}

// Watch is one instance under an engine's eyes. All of it is guarded by the engine's lock.
type Watch struct {
	engine *Engine
	target Target
	ctx    context.Context
	cancel context.CancelFunc
	net    *network

	verdict *verdict
	checks  []*check // in the order of Roles
	stopped bool

	told      Status // last one handed to OnStatus, or about to be
	toldState State
	telling   bool
}

// check is one probe of a watch.
type check struct {
	watch *Watch
	role  Role
	spec  *Probe
	ask   func(context.Context) (Outcome, string) // nil: the container tells by itself

	due     time.Time // of the next one, or of the one under way
	index   int       // in the queue
	busy    bool      // it runs, or waits for a place
	results results
	pinged  time.Time // last WATCHDOG=1
	limit   time.Duration
}

// Watch begins to probe an instance.
func (e *Engine) Watch(t Target) *Watch {
	w := &Watch{engine: e, target: t, verdict: newVerdict(t.Probes, t.ReadyOnNotify, t.State), net: &network{open: t.Netns, home: &e.home}}
	w.ctx, w.cancel = context.WithCancel(e.ctx)
	for _, role := range Roles {
		if p := t.Probes.Get(role); p != nil {
			w.checks = append(w.checks, &check{watch: w, role: role, spec: p, index: notQueued, ask: w.asker(p), limit: p.Timeout})
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.target.Since.IsZero() {
		w.target.Since = time.Now()
	}
	w.schedule(time.Now())
	w.tell()
	e.arm()
	return w
}

// Stop ends the watch: probes under way are cut short, and what they find is of no interest. It does not wait for them. It
// returns what is known of the instance.
func (w *Watch) Stop() State {
	e := w.engine
	e.mu.Lock()
	w.stopped = true
	for _, c := range w.checks {
		e.queue.drop(c)
		if lane := e.laneOf(c); c.busy {
			lane.waiting = slices.DeleteFunc(lane.waiting, func(o *check) bool { return o == c })
		}
	}
	state := w.verdict.state
	e.mu.Unlock()
	w.cancel()
	w.net.close()
	return state
}

// Status returns the verdict of this moment.
func (w *Watch) Status() Status {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	return w.verdict.status()
}

// Reports returns what is known of each probe.
func (w *Watch) Reports() []Report {
	w.engine.mu.Lock()
	defer w.engine.mu.Unlock()
	var all []Report
	for _, c := range w.checks {
		r := Report{Role: c.role, Kind: c.spec.Kind(), Streak: w.verdict.streak[c.role], Results: slices.Clone(c.results.list)}
		if c.index != notQueued && c.ask != nil {
			r.Due = c.due
		}
		all = append(all, r)
	}
	return all
}

// schedule sees to it that the probes which are to be asked have a time, and the others none.
func (w *Watch) schedule(now time.Time) {
	for _, c := range w.checks {
		active := w.verdict.active(c.role)
		switch {
		case !active:
			w.engine.queue.drop(c)
		case c.index == notQueued && !c.busy && (c.ask != nil || c.limit > 0):
			w.engine.queue.set(c, w.firstDue(c, now))
		}
	}
}

// firstDue is when a probe that was not asked yet is asked, or the time when the container must have told by itself.
func (w *Watch) firstDue(c *check, now time.Time) time.Time {
	due := w.target.Since.Add(c.spec.InitialDelay)
	spread := min(c.spec.Period/4, freshSpread)
	switch {
	case c.role == RoleStartup && c.ask == nil:
		return due.Add(c.limit)
	case due.Before(now):
		due = now
	}
	if c.ask == nil {
		return due.Add(c.limit)
	}
	if w.target.Adopted {
		spread = c.spec.Period
	}
	return due.Add(time.Duration(w.engine.cfg.Rand() * float64(spread)))
}

// finished takes the result of a probe, unless nobody wants it any more, and sets the time of the next.
func (w *Watch) finished(c *check, r Result) (taken bool) {
	if w.stopped || w.ctx.Err() != nil || !w.verdict.active(c.role) {
		return false
	}
	c.results.add(r)
	w.verdict.take(c.role, r.Outcome, r.Output)
	if now := time.Now(); w.verdict.active(c.role) {
		// On the beat. What took longer than its period leaves out beats but the last, which is now.
		w.engine.queue.set(c, c.due.Add(max(now.Sub(c.due)/c.spec.Period, 1)*c.spec.Period))
	}
	w.schedule(time.Now())
	w.tell()
	return true
}

// overdue is a failure of a container to tell by itself.
func (w *Watch) overdue(c *check, now time.Time) {
	if due := c.pinged.Add(c.limit); due.After(now) { // it did meanwhile: pings do not touch the queue
		w.engine.queue.set(c, due)
		return
	}
	what := "no READY=1"
	if c.role == RoleLiveness {
		what = "no WATCHDOG=1"
	}
	w.failNotified(c, now, fmt.Sprintf("%s within %s", what, c.limit))
}

func (w *Watch) failNotified(c *check, now time.Time, why string) {
	since := c.pinged
	if since.IsZero() {
		since = w.target.Since
	}
	c.results.add(Result{At: now, Duration: now.Sub(since), Outcome: Failure, Output: why})
	w.verdict.take(c.role, Failure, why)
	if w.verdict.active(c.role) {
		w.engine.queue.set(c, now.Add(c.limit))
	}
	w.schedule(now)
	w.tell()
}

// tell hands a changed status out. The lock is held.
func (w *Watch) tell() {
	if w.telling || w.stopped || w.target.OnStatus == nil {
		return
	}
	if status, state := w.verdict.status(), w.verdict.state; status != w.told || state != w.toldState {
		w.telling = true
		w.engine.spawn(w.deliver)
	}
}

// deliver calls OnStatus until there is nothing new.
func (w *Watch) deliver() {
	mu := &w.engine.mu
	mu.Lock()
	defer mu.Unlock()
	for !w.stopped && w.ctx.Err() == nil {
		status, state := w.verdict.status(), w.verdict.state
		if status == w.told && state == w.toldState {
			break
		}
		w.told, w.toldState = status, state
		mu.Unlock()
		w.target.OnStatus(status, state)
		mu.Lock()
	}
	w.telling = false
}
