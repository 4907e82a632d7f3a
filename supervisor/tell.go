package supervisor

import (
	"fmt"
	"time"
)

// causes says on whose behalf a container was last told to start and to end, for the events that follow.
type causes struct {
	start, stop Cause
	// overdue: the instance that is being ended did not heed its stop signal in time.
	overdue bool
	// startBy and stopBy are who told it to or, with CauseDependency, the other container. by is who gives the command that
	// is being carried out.
	startBy, stopBy, by string
}

// starts says who has the container started: another one or, without a name, who gives the command.
func (c *causes) starts(because string) {
	c.start, c.startBy = CauseHand, c.by
	if because != "" {
		c.start, c.startBy = CauseDependency, because
	}
}

// stops says who has it ended, in the same way.
func (c *causes) stops(because string) {
	c.stop, c.stopBy = CauseHand, c.by
	if because != "" {
		c.stop, c.stopBy = CauseDependency, because
	}
}

// tell turns what the machine did into events for others.
func (c *container) tell(e event, before State, lastExit *Exit) {
	m := &c.m
	if e.kind == evTimer && before == StateBackoff && (m.state == StateStarting || m.state == StateWaiting) {
		c.causes.start = CausePolicy
	}
	switch {
	case e.kind == evStarted && m.alive:
		c.emit(Event{Type: EventStarted, Cause: c.causes.start})
	case e.kind == evFound && m.alive:
		c.emit(Event{Type: EventAdopted, Ran: e.ran})
	}
	why := ""
	if m.lastExit != lastExit {
		c.tellEnd(e)
		how := end{m.lastExit.Reason, e.status}
		why = m.policy.why(how)
		if m.done {
			why = "its task is done"
		}
		if how.reason == ReasonUnhealthy && m.state == StateExited && m.policy.restarts(how) {
			why = "onFailure: stop"
		}
	}
	if m.state != before {
		c.tellState(e, before, why)
	}
	if (e.kind == evRemoved || e.kind == evLost) && e.err != nil {
		c.emit(Event{Type: EventError, Err: e.err})
	}
}

// tellEnd tells that an instance ended, or could not be started.
func (c *container) tellEnd(e event) {
	m := &c.m
	ended := Event{Type: EventExited, Ran: e.ran, MemoryPeak: e.status.MemoryPeak}
	switch {
	case m.lastExit.Reason == ReasonStartFailed:
		ended = Event{Type: EventStartFailed, Err: m.err}
	case m.lastExit.Reason == ReasonStopped:
		ended.Type, ended.Cause = EventStopped, c.causes.stop
		if c.causes.overdue {
			ended.Why = fmt.Sprintf("it did not end within %s of SIG%s", m.stop.Timeout, signalName(m.stop.Signal))
		}
	case m.lastExit.Reason == ReasonUnhealthy && m.err != nil:
		ended.Why = m.err.Error()
	case e.kind == evLost:
		ended.Why = "it ended while no daemon was there"
	}
	c.emit(ended)
}

// tellState tells what a new state means for the next start. why is the policy's ground, if it was asked.
func (c *container) tellState(e event, before State, why string) {
	m := &c.m
	pending := before == StateBackoff || before == StateWaiting
	switch m.state {
	case StateBackoff:
		if c.ending { // what follows at once is that nothing does
			return
		}
		if e.kind == evLost && m.ifLost.state == StateBackoff {
			why = "what was left of the delay when the daemon before ended"
		}
		c.emit(Event{Type: EventRestart, Why: why, Attempt: m.attempt + 1})
	case StateExited:
		if e.kind != evLost || m.ifLost.state != StateExited { // else it is what an earlier daemon has told
			c.emit(Event{Type: EventNoRestart, Why: why})
		}
	case StateFailed:
		if e.kind != evLost || m.ifLost.state != StateFailed {
			c.emit(Event{Type: EventFailed, Why: why, Err: m.err})
		}
	case StateStopping:
		if pending {
			c.emit(Event{Type: EventCancelled, Cause: c.causes.stop})
		}
	case StateStopped:
		if pending || e.kind == evStartFailed {
			c.emit(Event{Type: EventCancelled, Cause: c.causes.stop})
		}
	}
}

// emit tells an event of this moment.
func (c *container) emit(e Event) {
	if c.sup.cfg.OnEvent == nil {
		return
	}
	e.At, e.Snapshot, e.By = time.Now(), c.snapshot(), c.causes.whom(e)
	c.sup.cfg.OnEvent(e)
}

// emitError tells that something went wrong that changes nothing else.
func (c *container) emitError(err error) { c.emit(Event{Type: EventError, Err: err}) }
