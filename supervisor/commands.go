package supervisor

import (
	"fmt"
	"reflect"
	"syscall"
	"time"
)

// command is what somebody wants of a container; do runs in the container's goroutine and must not block.
type command interface{ do(c *container) }

// upCommand starts or restarts; the reply comes when the container is up, or when it is clear that it is not.
type upCommand struct {
	kind     eventKind // evStart or evRestart
	first    []string  // restart: those that end before
	patience time.Duration
	because  string // restart: the container that was meant, if not this one, which then stays down if it was stopped meanwhile
	reply    chan<- error
}

func (u upCommand) do(c *container) {
	if c.ending {
		u.reply <- fmt.Errorf("cannot start %q: %w", c.name, ErrClosed)
		return
	}
	if c.removal {
		u.reply <- fmt.Errorf("cannot start %q: its definition is gone, and it is being removed", c.name)
		return
	}
	if u.because != "" && (c.stoppedByHand || !c.m.alive && !c.m.done) {
		u.reply <- nil
		return
	}
	c.stoppedByHand = false
	c.causes.starts(u.because)
	if u.kind == evRestart {
		c.causes.stops(u.because)
		c.goDown(evRestart, u.first, u.patience)
	} else {
		c.start()
	}
	c.waiters = append(c.waiters, waiter{up: true, reply: u.reply})
}

// start starts the container, unless an end that is put off is followed by a start anyway.
func (c *container) start() {
	if h := c.order.held; h == nil || h.kind != evRestart {
		c.dropHeld()
		c.step(event{kind: evStart})
	}
}

// pullCommand starts a container because another one requires it; the reply comes when that is seen by all.
type pullCommand struct {
	because string // the other one
	byHand  bool   // somebody wants that
	reply   chan<- error
}

func (p pullCommand) do(c *container) {
	m := &c.m
	c.waiters = append(c.waiters, waiter{taken: true, reply: p.reply})
	if c.ending || c.removal || c.stoppedByHand && !p.byHand {
		return
	}
	c.stoppedByHand = false
	down := m.state == StateStopped || m.state == StateStopping && !m.startNext
	if down || p.byHand && (c.order.held != nil || m.finding() || m.state == StateExited || m.state == StateFailed) {
		c.causes.starts(p.because)
		c.start()
	}
}

// downCommand ends a container; the reply comes when it is down.
type downCommand struct {
	kind     eventKind // evStop or evShutdown
	removal  bool      // for good
	first    []string  // those that end before
	patience time.Duration
	because  string // the container that was meant, if not this one
	reply    chan<- error
}

func (d downCommand) do(c *container) {
	switch {
	case d.kind == evShutdown:
		c.ending, c.causes.stop = true, CauseShutdown
	case d.removal:
		c.removal, c.causes.stop = true, CauseRemoval
		for _, a := range c.applyLater { // it came before, so it is not a return
			a.reply <- applyReply{err: fmt.Errorf("%q is being removed", c.name)}
		}
		c.applyLater = nil
	default:
		c.stoppedByHand = true
		c.causes.stops(d.because)
	}
	c.goDown(d.kind, d.first, d.patience)
	c.waiters = append(c.waiters, waiter{gone: d.removal || d.kind == evShutdown, reply: d.reply})
}

// foundCommand is answered when it is known whether an instance of an earlier daemon runs.
type foundCommand struct{ reply chan<- error }

func (f foundCommand) do(c *container) {
	c.waiters = append(c.waiters, waiter{found: true, reply: f.reply})
}

// killCommand sends a signal.
type killCommand struct {
	sig   syscall.Signal
	all   bool // SIGKILL to every process of the container
	reply chan<- error
}

func (k killCommand) do(c *container) {
	if !c.m.alive {
		k.reply <- &NotRunningError{Name: c.name, State: c.m.state}
		return
	}
	proc := c.proc
	to := ""
	if k.all {
		to = " to all of its processes"
	}
	c.emit(Event{Type: EventSignal, Cause: CauseHand, Why: "SIG" + signalName(k.sig) + to})
	if k.all {
		c.sup.spawn(func() { k.reply <- proc.KillAll() })
		return
	}
	k.reply <- proc.Signal(k.sig)
}

// enableCommand says whether the container starts by itself from now on.
type enableCommand struct {
	enabled bool
	reply   chan<- error
}

func (e enableCommand) do(c *container) {
	was := c.enabled()
	c.override = &e.enabled
	c.agree()
	switch {
	case e.enabled && !was:
		c.emit(Event{Type: EventEnabled, Cause: CauseHand})
	case !e.enabled && was:
		c.emit(Event{Type: EventDisabled, Cause: CauseHand})
	}
	c.waiters = append(c.waiters, waiter{reply: e.reply, record: true})
}

// resetCommand forgets failures.
type resetCommand struct{ reply chan<- error }

func (r resetCommand) do(c *container) {
	c.step(event{kind: evResetFailed})
	c.emit(Event{Type: EventReset, Cause: CauseHand})
	r.reply <- nil
}

// refuseCommand notes what is wrong with the newest definition; empty when nothing is.
type refuseCommand struct{ text string }

func (r refuseCommand) do(c *container) { c.refused = r.text }

// pingCommand is answered by a goroutine that is well.
type pingCommand struct{ reply chan<- error }

func (p pingCommand) do(*container) { p.reply <- nil }

// Outcome is what came of applying a definition.
type Outcome string

// The outcomes.
const (
	OutcomeUnchanged Outcome = "unchanged"
	OutcomeAdded     Outcome = "added"     // new
	OutcomeStarted   Outcome = "started"   // waited or had failed, and is started with the new definition
	OutcomeRestarted Outcome = "restarted" // ran, and is replaced
	OutcomeUpdated   Outcome = "updated"   // taken over without a restart
	OutcomeChanged   Outcome = "changed"   // applies at the next start
)

type applyReply struct {
	outcome Outcome
	err     error
}

// applyCommand takes over a definition.
type applyCommand struct {
	spec  *Spec
	reply chan<- applyReply
}

func (a applyCommand) do(c *container) {
	if c.updating != nil {
		c.applyLater = append(c.applyLater, a)
		return
	}
	c.refused = ""
	if c.removal && c.order.held != nil { // it was not even told to end
		c.removal = false
		c.dropHeld()
	}
	if c.removal { // it is back before it was gone
		c.removal = false
		c.takeSpec(a.spec)
		c.causes.start = CauseDefinition
		if c.enabled() {
			c.step(event{kind: evStart})
		}
		a.reply <- applyReply{outcome: OutcomeRestarted}
		return
	}
	old, wasEnabled := c.spec, c.enabled()
	switch {
	case a.spec.Hash != old.Hash:
		c.takeSpec(a.spec)
		before := c.m.state
		if !c.ending {
			c.causes.start, c.causes.stop = CauseDefinition, CauseDefinition
			c.step(event{kind: evReplace})
		}
		if c.m.finding() { // it may have been changed back
			c.m.replaceFound = c.made == "" || c.made != a.spec.Hash
		}
		outcome := outcomeOfReplace(before)
		if c.startIfNewlyEnabled(wasEnabled) {
			outcome = OutcomeStarted
		}
		a.reply <- applyReply{outcome: outcome}
	case c.m.state == StateRunning && c.limits != fingerprint(a.spec):
		c.updateFailed = false
		c.startUpdate(&updateCall{spec: a.spec, reply: a.reply})
		return
	case sameSettings(old, a.spec) && fingerprint(old) == fingerprint(a.spec):
		c.takeSpec(a.spec)
		a.reply <- applyReply{outcome: OutcomeUnchanged}
	default:
		c.takeSpec(a.spec)
		c.m.stop = a.spec.Stop
		outcome := OutcomeUpdated
		if c.startIfNewlyEnabled(wasEnabled) {
			outcome = OutcomeStarted
		}
		a.reply <- applyReply{outcome: outcome}
	}
}

// startIfNewlyEnabled starts a container that its definition has just enabled.
func (c *container) startIfNewlyEnabled(was bool) bool {
	if was || !c.enabled() || c.stoppedByHand || c.ending || c.m.state != StateStopped && !c.m.finding() {
		return false
	}
	c.causes.start = CauseDefinition
	c.step(event{kind: evStart})
	return true
}

func outcomeOfReplace(before State) Outcome {
	switch before {
	case StateRunning, StateStarting, StateStopping:
		return OutcomeRestarted
	case StateBackoff, StateFailed:
		return OutcomeStarted
	}
	return OutcomeChanged
}

// takeSpec makes a spec the container's own. What is needed to end the instance stays until the next start.
func (c *container) takeSpec(s *Spec) {
	c.spec = s
	c.m.policy, c.m.ordered, c.m.oneshot = s.Restart, !s.Order.Empty(), s.Oneshot
	c.stopTimeout.Store(int64(s.Stop.Timeout))
	c.agree()
}

// agree forgets what enable or disable said once the definition says the same.
func (c *container) agree() {
	if c.override != nil && *c.override == c.spec.Enabled {
		c.override = nil
	}
}

// sameSettings tells whether two specs with one hash ask for the same supervision.
func sameSettings(a, b *Spec) bool {
	return a.Enabled == b.Enabled && a.Stop == b.Stop && reflect.DeepEqual(a.Restart, b.Restart) && sameProbes(a, b) &&
		a.Oneshot == b.Oneshot && reflect.DeepEqual(a.Order, b.Order)
}
