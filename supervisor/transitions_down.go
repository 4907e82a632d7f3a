package supervisor

import (
	"time"
)

// The cells of the table in machine.go that end a container.

// down ends whatever is there.
func (m *machine) down(event) []action {
	m.state, m.startNext = StateStopping, false
	switch {
	case m.alive:
		return m.endInstance()
	case m.call == callRun:
		return []action{{kind: actDequeue, gen: m.gen}, m.setTimer(m.stop.Timeout)}
	}
	as := m.cancelTimer()
	if m.call == callNone { // between two finds: what nobody can tell of is taken away
		as = append(as, m.remove())
	}
	return as // else find or remove is under way, and its answer goes on
}

func (m *machine) downAndUp(e event) []action {
	as := m.down(e)
	m.restarts, m.attempt, m.startNext = 0, 0, true
	return as
}

func (m *machine) replaceRunning(e event) []action {
	m.attempt, m.starts = 0, nil // the past of another definition counts for nothing
	switch {
	case m.finding():
		m.replaceFound = true
		return nil
	case m.call == callRemove:
		return nil // the start that follows takes the new bundle
	}
	as := m.down(e)
	m.startNext = true
	return as
}

// unbind ends an instance because another has ended, and starts it again when that is back.
func (m *machine) unbind(e event) []action {
	if m.finding() {
		return nil
	}
	as := m.down(e)
	m.startNext = true
	m.restarts++
	return as
}

// endInstance begins to end the running instance.
func (m *machine) endInstance() []action {
	if m.stop.Timeout <= 0 {
		return []action{{kind: actKillAll, gen: m.gen}, m.setTimer(killAgain)}
	}
	return []action{{kind: actSignal, gen: m.gen}, m.setTimer(m.stop.Timeout)}
}

func (m *machine) upAfterDown(event) []action {
	m.restarts, m.attempt, m.startNext = 0, 0, true
	return nil
}

func (m *machine) stayDown(event) []action {
	m.startNext, m.sick = false, nil
	return nil
}

func (m *machine) stopStarted(e event) []action {
	m.alive, m.startedAt, m.err = true, e.now.Add(-e.ran), nil
	return m.endInstance()
}

func (m *machine) stopFound(e event) []action {
	m.alive, m.dirty, m.adopted = true, true, true
	m.startedAt = e.now.Add(-e.ran)
	return m.endInstance()
}

func (m *machine) stopUnstarted(e event) []action {
	if e.clean {
		m.dirty = false
		return m.atRest(e)
	}
	return append(m.cancelTimer(), m.remove())
}

func (m *machine) stopLost(e event) []action {
	if e.ended {
		m.lastExit = exitOf(ReasonStopped, e.status, e.now)
	}
	m.dirty = !e.clean || e.err != nil
	if !m.dirty {
		return m.atRest(e)
	}
	return append(m.cancelTimer(), m.remove())
}

func (m *machine) stopExited(e event) []action {
	m.alive = false
	if m.sick != nil {
		return m.sickExited(e)
	}
	m.lastExit = exitOf(ReasonStopped, e.status, e.now)
	return append(m.cancelTimer(), m.remove())
}

func (m *machine) stopRemoved(e event) []action {
	if e.err != nil {
		m.err = e.err
		return []action{m.setTimer(removeAgain)}
	}
	m.dirty = false
	return m.atRest(e)
}

func (m *machine) stopOverdue(event) []action {
	switch {
	case m.alive:
		return []action{{kind: actKillAll, gen: m.gen}, m.setTimer(killAgain)}
	case m.call == callRun:
		return []action{{kind: actCancelRun, gen: m.gen}}
	case m.call == callNone:
		return []action{m.remove()}
	}
	return nil
}

// atRest is where a stop ends: the container is down and nothing is left of it.
func (m *machine) atRest(e event) []action {
	as := m.cancelTimer()
	if m.startNext {
		return append(as, m.startNow(e)...)
	}
	m.state, m.err, m.done = StateStopped, nil, false
	return as
}

// rest leaves a state in which nothing runs.
func (m *machine) rest(e event) []action {
	as := m.cancelTimer()
	m.nextStart, m.startNext, m.done = time.Time{}, false, false
	if m.call == callNone && !m.dirty {
		return append(as, m.atRest(e)...)
	}
	m.state = StateStopping
	if m.call == callNone {
		as = append(as, m.remove())
	}
	return as
}
