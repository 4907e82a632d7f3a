package supervisor

import (
	"fmt"
	"time"
)

// The cells of the table in machine.go.

// begin is the first step of a daemon's life with this container: something may run already.
func (m *machine) begin(plan lostPlan) []action {
	m.gen++
	m.state, m.ifLost = StateStarting, plan
	return m.find(event{})
}

// finding tells whether it is still unknown if an instance of an earlier daemon runs.
func (m *machine) finding() bool {
	return m.call == callFind || m.state == StateStarting && m.call == callNone
}

func (m *machine) find(event) []action {
	m.call, m.dirty = callFind, true
	return []action{{kind: actFind, gen: m.gen}}
}

// ---- up

// startNow starts the container, or has it wait for others first.
func (m *machine) startNow(e event) []action {
	if !m.ordered {
		return m.startUnblocked(e)
	}
	as := m.cancelTimer()
	m.state, m.startNext, m.nextStart, m.done = StateWaiting, false, time.Time{}, false
	return append(as, m.removeLater()...)
}

// waitByHand: somebody wants a container to start that waits already.
func (m *machine) waitByHand(event) []action {
	m.restarts, m.attempt = 0, 0
	return nil
}

// waitAnew: the definition of a waiting container was changed.
func (m *machine) waitAnew(event) []action {
	m.attempt, m.starts = 0, nil
	return nil
}

// startUnblocked starts a container that need not wait for any other.
func (m *machine) startUnblocked(e event) []action {
	as := m.cancelTimer()
	m.startNext, m.nextStart, m.done = false, time.Time{}, false
	if limit := m.policy.Limit; limit.Burst > 0 {
		kept := m.starts[:0:0]
		for _, t := range m.starts {
			if !t.After(e.now) && e.now.Sub(t) < limit.Interval { // the clock may have been set back
				kept = append(kept, t)
			}
		}
		m.starts = kept
		if len(kept) >= limit.Burst {
			m.state = StateFailed
			m.err = fmt.Errorf("%w: %d times within %s", errStartLimit, limit.Burst, limit.Interval)
			return append(as, m.removeLater()...)
		}
		m.starts = append(m.starts, e.now)
	}
	m.state = StateStarting
	if m.call != callNone {
		m.startNext = true
		return as
	}
	return append(as, m.launch())
}

func (m *machine) launch() action {
	m.gen++
	m.call, m.dirty, m.adopted, m.startNext, m.replaceFound = callRun, true, false, false, false
	return action{kind: actRun, gen: m.gen}
}

func (m *machine) startByHand(e event) []action {
	m.restarts, m.attempt = 0, 0
	return m.startNow(e)
}

// startUnlessDone leaves alone what is up although it does not run.
func (m *machine) startUnlessDone(e event) []action {
	if m.done {
		return nil
	}
	return m.startByHand(e)
}

// shutdownExited: a task that is done ends with the containers that it was done for, and is done again for the next ones.
func (m *machine) shutdownExited(e event) []action {
	if m.done {
		return m.rest(e)
	}
	return m.clean(e)
}

// startAnew starts a container whose definition was mended: its past counts for nothing.
func (m *machine) startAnew(e event) []action {
	m.attempt, m.starts = 0, nil
	return m.startNow(e)
}

// startOnceFound makes sure that a container runs of which it is not known yet whether it does. It changes nothing for
// one whose start is under way: that never loses what it is looking for.
func (m *machine) startOnceFound(event) []action {
	m.ifLost = lostPlan{state: StateStarting, asked: true}
	return nil
}

func (m *machine) restartOnTimer(e event) []action {
	as := m.startNow(e)
	if m.state != StateFailed { // by the start limit
		m.restarts++
		m.attempt++
	}
	return as
}

func (m *machine) runAfterRemove(e event) []action {
	if !m.startNext {
		return nil
	}
	m.dirty = e.err != nil
	return []action{m.launch()}
}

func (m *machine) run(e event) []action {
	m.state, m.alive, m.startedAt, m.err = StateRunning, true, e.now.Add(-e.ran), nil
	return nil
}

func (m *machine) adopt(e event) []action {
	m.state, m.alive, m.dirty, m.adopted, m.err = StateRunning, true, true, true, nil
	m.startedAt = e.now.Add(-e.ran)
	switch sick := m.ifLost.sick; {
	case m.replaceFound:
		return m.replaceRunning(e)
	case sick != nil: // the earlier daemon was about to end it
		m.state, m.sick, m.err = StateStopping, sick, sick
		return m.endInstance()
	}
	return nil
}

// ---- how it ends by itself

func (m *machine) exit(e event) []action {
	m.alive = false
	m.resetAfter(e.ran)
	m.err = nil
	return append(m.ended(e, end{reasonOf(e.status), e.status}), m.remove())
}

// endUnhealthy ends an instance that does not work. What follows is decided when it has ended.
func (m *machine) endUnhealthy(e event) []action {
	m.sick = &Unhealthy{Why: e.err.Error(), Final: e.final}
	m.state, m.startNext, m.err = StateStopping, false, m.sick
	return m.endInstance()
}

// sickExited is the end of such an instance, to which nobody has said anything since.
func (m *machine) sickExited(e event) []action {
	sick := m.sick
	m.sick, m.err = nil, sick
	m.resetAfter(e.ran)
	how := end{ReasonUnhealthy, e.status}
	if m.startNext {
		m.lastExit = exitOf(how.reason, how.status, e.now)
		return append(m.cancelTimer(), m.remove())
	}
	return append(m.endedAnd(e, how, !sick.Final && m.policy.restarts(how)), m.remove())
}

// replaceSick: an instance that is ended because it does not work is followed at once by one of the changed definition.
func (m *machine) replaceSick(event) []action {
	if m.sick != nil && !m.startNext {
		m.attempt, m.starts, m.startNext = 0, nil, true
	}
	return nil
}

// resetAfter lets the delays begin anew after a stable run.
func (m *machine) resetAfter(ran time.Duration) {
	if m.policy.ResetAfter > 0 && ran >= m.policy.ResetAfter {
		m.attempt = 0
	}
}

func (m *machine) failStart(e event) []action {
	m.err = e.err
	as := m.ended(e, end{reason: ReasonStartFailed})
	if e.clean {
		m.dirty = false
		return as
	}
	return append(as, m.remove())
}

// ended decides what follows an end.
func (m *machine) ended(e event, how end) []action {
	return m.endedAnd(e, how, m.policy.restarts(how))
}

func (m *machine) endedAnd(e event, how end, restart bool) []action {
	m.lastExit = exitOf(how.reason, how.status, e.now)
	if !restart {
		m.state = StateExited
		if how.reason == ReasonStartFailed {
			m.state = StateFailed
		}
		m.done = m.oneshot && m.policy.outcome(how) == outcomeClean
		return m.cancelTimer()
	}
	d := m.policy.jittered(m.policy.delay(m.attempt+1), e.random)
	m.state, m.nextStart = StateBackoff, e.now.Add(d)
	return []action{m.setTimer(d)}
}

func (m *machine) lose(e event) []action {
	if e.err != nil {
		m.err = e.err
		return []action{m.setTimer(findAgain)}
	}
	m.err, m.dirty = nil, !e.clean
	if e.ended && !m.ifLost.asked && (m.ifLost.state == StateStarting || m.ifLost.state == StateBackoff) {
		m.ifLost = lostPlan{state: StateRunning} // it was started, of which the record did not reach the disk
	}
	plan := m.ifLost
	if m.replaceFound && (plan.state == StateBackoff || plan.state == StateFailed) {
		return m.startAnew(e) // the definition was mended meanwhile
	}
	var as []action
	switch plan.state {
	case StateRunning:
		m.resetAfter(plan.ran)
		how := end{reasonOf(e.status), e.status}
		if plan.sick != nil {
			how.reason = ReasonUnhealthy
		}
		as = m.endedAnd(e, how, m.policy.restarts(how) && (plan.sick == nil || !plan.sick.Final))
	case StateBackoff:
		m.state, m.nextStart = StateBackoff, e.now.Add(plan.after)
		as = []action{m.setTimer(plan.after)}
	case StateStarting:
		m.noteEnd(e)
		return m.startNow(e) // a start takes away what is left by itself
	default:
		m.noteEnd(e)
		m.state, m.done = plan.state, plan.done
	}
	if m.dirty {
		as = append(as, m.remove())
	}
	return as
}

// noteEnd notes how an instance ended from which nothing follows.
func (m *machine) noteEnd(e event) {
	if e.ended {
		m.lastExit = exitOf(reasonOf(e.status), e.status, e.now)
	}
}

// ---- what is left

func (m *machine) remove() action {
	m.call = callRemove
	return action{kind: actRemove, gen: m.gen}
}

// clean takes away at once what is left of a container that is at rest.
func (m *machine) clean(event) []action {
	if !m.dirty || m.call != callNone {
		return nil
	}
	return append(m.cancelTimer(), m.remove())
}

// removeLater takes away, in a state that has no other use for the timer, what may be left.
func (m *machine) removeLater() []action {
	if !m.dirty || m.call != callNone {
		return nil
	}
	return []action{m.remove()}
}

func (m *machine) removedAtRest(e event) []action {
	m.dirty = e.err != nil
	if e.err == nil {
		return nil
	}
	if m.err == nil {
		m.err = e.err
	}
	if m.state == StateBackoff {
		return nil // the start takes it away first
	}
	return []action{m.setTimer(removeAgain)}
}

func (m *machine) removeOnTimer(event) []action {
	return m.removeLater()
}

// ---- counters

// forgive forgets the past without touching what runs or waits.
func (m *machine) forgive(event) []action {
	m.restarts, m.attempt, m.starts = 0, 0, nil
	return nil
}

func (m *machine) resetFailed(e event) []action {
	m.forgive(e)
	m.state, m.err = StateStopped, nil
	return nil
}

// ---- the timer

func (m *machine) setTimer(d time.Duration) action {
	m.timers++
	m.timer = m.timers
	return action{kind: actSetTimer, timer: m.timer, after: max(d, 0)}
}

func (m *machine) cancelTimer() []action {
	if m.timer == 0 {
		return nil
	}
	m.timer = 0
	return []action{{kind: actCancelTimer}}
}
