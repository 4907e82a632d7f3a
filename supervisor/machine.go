package supervisor

import (
	"errors"
	"fmt"
	"time"
)

// eventKind names what can happen to a container.
type eventKind string

const (
	evStart       eventKind = "start"        // by hand, or at the daemon's start
	evStop        eventKind = "stop"         // by hand, or because the definition went
	evShutdown    eventKind = "shutdown"     // the daemon ends, and the containers with it
	evRestart     eventKind = "restart"      // by hand
	evReplace     eventKind = "replace"      // the definition changed
	evResetFailed eventKind = "reset-failed" // by hand
	evUnblocked   eventKind = "unblocked"    // what it waits for is there
	evFound       eventKind = "found"        // an instance of an earlier daemon runs
	evLost        eventKind = "lost"         // none does
	evStarted     eventKind = "started"      // the run call succeeded
	evStartFailed eventKind = "start-failed" // the run call failed, or was never made
	evExited      eventKind = "exited"       // the instance ended
	evRemoved     eventKind = "removed"      // the remove call is done, with or without success
	evTimer       eventKind = "timer"        // the timer set last fired
)

var eventKinds = []eventKind{evStart, evStop, evShutdown, evRestart, evReplace, evResetFailed, evUnblocked, evFound,
	evLost, evStarted, evStartFailed, evExited, evRemoved, evTimer}

// event is one thing that happened. Time and chance come in with it: the machine has neither.
type event struct {
	kind   eventKind
	gen    uint64        // started, start-failed, exited, removed: of which instance
	timer  uint64        // timer: which one
	now    time.Time     //
	random float64       // in [0, 1), for jitter
	status ExitStatus    // exited
	ran    time.Duration // exited, lost: how long the instance ran
	err    error         // start-failed, removed; lost: nobody can tell whether it runs
	clean  bool          // start-failed, lost: the runtime has nothing of it
}

// actionKind names what the machine asks for.
type actionKind string

const (
	actRun         actionKind = "run"          // start an instance; answered by started or start-failed
	actRemove      actionKind = "remove"       // take away what is left; answered by removed
	actFind        actionKind = "find"         // look for a running instance; answered by found or lost
	actSignal      actionKind = "signal"       // send the stop signal
	actKillAll     actionKind = "kill-all"     // SIGKILL to everything in the container
	actDequeue     actionKind = "dequeue"      // give up a run that has not reached the runtime yet
	actCancelRun   actionKind = "cancel-run"   // give up a run, wherever it is
	actSetTimer    actionKind = "set-timer"    // replaces the one before
	actCancelTimer actionKind = "cancel-timer" //
)

// action is one thing to be done. The machine never has more than one of run and remove under way.
type action struct {
	kind  actionKind
	gen   uint64
	timer uint64
	after time.Duration
}

// call is the runtime call that is under way.
type call string

const (
	callNone   call = ""
	callFind   call = "find"
	callRun    call = "run"
	callRemove call = "remove"
)

// killAgain is how long after a SIGKILL to the cgroup the next one follows, removeAgain how long after a failed remove it
// is tried once more, and findAgain the same after a find that could not tell.
const (
	findAgain   = 5 * time.Second
	killAgain   = 5 * time.Second
	removeAgain = 5 * time.Second
)

// errStartLimit is what a start gets when there were too many.
var errStartLimit = errors.New("started too often in too short a time")

// machine is the life of one container as a pure function: step takes an event and returns what is to be done. It holds
// no clock, goroutine, timer or random source.
type machine struct {
	state State
	// gen counts instances; what speaks of an earlier one is ignored.
	gen uint64
	// call is the one runtime call under way, alive that the instance gen runs, dirty that the runtime may have something
	// of this container.
	call  call
	alive bool
	dirty bool
	// startNext: the container is started once it is down (stopping) or once the remove under way is done (starting).
	startNext bool
	// timer is the only timer there is, 0 when none is set; timers counts them.
	timer  uint64
	timers uint64

	policy RestartPolicy
	stop   StopPolicy

	restarts  int         // automatic ones since the last start by hand
	attempt   int         // consecutive restarts, for the delay
	starts    []time.Time // for the start limit
	startedAt time.Time
	nextStart time.Time // backoff: when
	lastExit  *Exit
	err       error // of the last start or remove, nil after a success
	adopted   bool

	// ifLost is what to do when find finds nothing.
	ifLost lostPlan
}

// lostPlan says how a container goes on whose instance does not run any more when the daemon starts.
type lostPlan struct {
	state State         // stopped, exited, failed: stay so; backoff: wait after; starting: start at once; running: it ended unseen
	after time.Duration // backoff
}

// cell is the entry of the table for one state and one event.
type cell func(m *machine, e event) []action

// ignore is the cell of an event that means nothing in a state.
func ignore(*machine, event) []action { return nil }

// table says what each event does in each state. A test holds that no cell is missing.
var table = map[State]map[eventKind]cell{
	StateStopped: {
		evStart: (*machine).startByHand, evRestart: (*machine).startByHand, evResetFailed: (*machine).forgive,
		evRemoved: (*machine).removedAtRest, evTimer: (*machine).removeOnTimer,
		evStop: ignore, evShutdown: ignore, evReplace: ignore, evUnblocked: ignore, evFound: ignore, evLost: ignore,
		evStarted: ignore, evStartFailed: ignore, evExited: ignore,
	},
	StateWaiting: {
		evStop: (*machine).rest, evShutdown: (*machine).rest, evUnblocked: (*machine).startNow, evResetFailed: (*machine).forgive,
		evStart: ignore, evRestart: ignore, evReplace: ignore, evFound: ignore, evLost: ignore, evStarted: ignore,
		evStartFailed: ignore, evExited: ignore, evRemoved: ignore, evTimer: ignore,
	},
	StateStarting: {
		evStop: (*machine).down, evShutdown: (*machine).down, evRestart: (*machine).downAndUp, evReplace: (*machine).replaceRunning,
		evStarted: (*machine).run, evStartFailed: (*machine).failStart, evRemoved: (*machine).runAfterRemove,
		evFound: (*machine).adopt, evLost: (*machine).lose, evResetFailed: (*machine).forgive,
		evStart: (*machine).startOnceFound, evTimer: (*machine).find, evUnblocked: ignore, evExited: ignore,
	},
	StateRunning: {
		evStop: (*machine).down, evShutdown: (*machine).down, evRestart: (*machine).downAndUp, evReplace: (*machine).replaceRunning,
		evExited: (*machine).exit, evResetFailed: (*machine).forgive,
		evStart: ignore, evUnblocked: ignore, evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore,
		evRemoved: ignore, evTimer: ignore,
	},
	StateStopping: {
		evStart: (*machine).upAfterDown, evRestart: (*machine).upAfterDown, evStop: (*machine).stayDown, evShutdown: (*machine).stayDown,
		evStarted: (*machine).stopStarted, evStartFailed: (*machine).stopUnstarted, evExited: (*machine).stopExited,
		evRemoved: (*machine).stopRemoved, evTimer: (*machine).stopOverdue, evFound: (*machine).stopFound,
		evLost: (*machine).stopLost, evResetFailed: (*machine).forgive,
		evReplace: ignore, evUnblocked: ignore,
	},
	StateBackoff: {
		evStart: (*machine).startByHand, evRestart: (*machine).startByHand, evReplace: (*machine).startAnew, evStop: (*machine).rest,
		evShutdown: (*machine).rest, evTimer: (*machine).restartOnTimer, evRemoved: (*machine).removedAtRest,
		evResetFailed: (*machine).forgive,
		evUnblocked:   ignore, evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore, evExited: ignore,
	},
	StateExited: {
		evStart: (*machine).startByHand, evRestart: (*machine).startByHand, evStop: (*machine).rest,
		evResetFailed: (*machine).forgive, evRemoved: (*machine).removedAtRest, evTimer: (*machine).removeOnTimer,
		evShutdown: ignore, evReplace: ignore, evUnblocked: ignore, evFound: ignore, evLost: ignore, evStarted: ignore,
		evStartFailed: ignore, evExited: ignore,
	},
	StateFailed: {
		evStart: (*machine).startByHand, evRestart: (*machine).startByHand, evReplace: (*machine).startAnew, evStop: (*machine).rest,
		evResetFailed: (*machine).resetFailed, evRemoved: (*machine).removedAtRest, evTimer: (*machine).removeOnTimer,
		evShutdown: ignore, evUnblocked: ignore, evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore,
		evExited: ignore,
	},
}

// step takes one event. What speaks of an earlier instance or an earlier timer is dropped here, before any state.
func (m *machine) step(e event) []action {
	switch e.kind {
	case evStarted, evStartFailed, evExited, evRemoved, evFound, evLost:
		if e.gen != m.gen {
			return nil
		}
	case evTimer:
		if e.timer != m.timer {
			return nil
		}
		m.timer = 0
	}
	switch e.kind {
	case evStarted, evStartFailed, evRemoved, evFound, evLost:
		m.call = callNone
	}
	return table[m.state][e.kind](m, e)
}

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

func (m *machine) startNow(e event) []action {
	as := m.cancelTimer()
	m.startNext, m.nextStart = false, time.Time{}
	if limit := m.policy.Limit; limit.Burst > 0 {
		kept := m.starts[:0:0]
		for _, t := range m.starts {
			if e.now.Sub(t) < limit.Interval {
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
	m.call, m.dirty, m.adopted, m.startNext = callRun, true, false, false
	return action{kind: actRun, gen: m.gen}
}

func (m *machine) startByHand(e event) []action {
	m.restarts, m.attempt = 0, 0
	return m.startNow(e)
}

// startAnew starts a container whose definition was mended: its past counts for nothing.
func (m *machine) startAnew(e event) []action {
	m.attempt, m.starts = 0, nil
	return m.startNow(e)
}

// startOnceFound makes sure that a container runs of which it is not known yet whether it does. It changes nothing for
// one whose start is under way: that never loses what it is looking for.
func (m *machine) startOnceFound(event) []action {
	m.ifLost = lostPlan{state: StateStarting}
	return nil
}

func (m *machine) restartOnTimer(e event) []action {
	m.restarts++
	m.attempt++
	return m.startNow(e)
}

func (m *machine) runAfterRemove(e event) []action {
	if !m.startNext {
		return nil
	}
	m.dirty = e.err != nil
	return []action{m.launch()}
}

func (m *machine) run(e event) []action {
	m.state, m.alive, m.startedAt, m.err = StateRunning, true, e.now, nil
	return nil
}

func (m *machine) adopt(e event) []action {
	m.state, m.alive, m.dirty, m.adopted, m.err = StateRunning, true, true, true, nil
	m.startedAt = e.now.Add(-e.ran)
	return nil
}

// ---- how it ends by itself

func (m *machine) exit(e event) []action {
	m.alive = false
	if m.policy.ResetAfter > 0 && e.ran >= m.policy.ResetAfter {
		m.attempt = 0
	}
	m.err = nil
	return append(m.ended(e, end{reasonOf(e.status), e.status}), m.remove())
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
	m.lastExit = exitOf(how.reason, how.status, e.now)
	if !m.policy.restarts(how) {
		m.state = StateExited
		if how.reason == ReasonStartFailed {
			m.state = StateFailed
		}
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
	var as []action
	switch plan := m.ifLost; plan.state {
	case StateRunning:
		as = m.ended(e, end{reason: ReasonUnknown})
	case StateBackoff:
		m.state, m.nextStart = StateBackoff, e.now.Add(plan.after)
		as = []action{m.setTimer(plan.after)}
	case StateStarting:
		return m.startNow(e) // a start takes away what is left by itself
	default:
		m.state = plan.state
	}
	if m.dirty {
		as = append(as, m.remove())
	}
	return as
}

// ---- down

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
	if m.call == callRemove {
		return nil // the start that follows takes the new bundle
	}
	as := m.down(e)
	m.attempt, m.startNext = 0, true
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
	m.startNext = false
	return nil
}

func (m *machine) stopStarted(e event) []action {
	m.alive, m.startedAt, m.err = true, e.now, nil
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
	m.dirty = !e.clean || e.err != nil
	if !m.dirty {
		return m.atRest(e)
	}
	return append(m.cancelTimer(), m.remove())
}

func (m *machine) stopExited(e event) []action {
	m.alive = false
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
	m.state, m.err = StateStopped, nil
	return as
}

// rest leaves a state in which nothing runs.
func (m *machine) rest(e event) []action {
	as := m.cancelTimer()
	m.nextStart, m.startNext = time.Time{}, false
	if m.call == callNone && !m.dirty {
		return append(as, m.atRest(e)...)
	}
	m.state = StateStopping
	if m.call == callNone {
		as = append(as, m.remove())
	}
	return as
}

// ---- what is left

func (m *machine) remove() action {
	m.call = callRemove
	return action{kind: actRemove, gen: m.gen}
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
