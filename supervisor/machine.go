package supervisor

import (
	"errors"
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
	evUnbound     eventKind = "unbound"      // what it is bound to has ended
	evUnhealthy   eventKind = "unhealthy"    // the instance runs, but does not work
	evTimer       eventKind = "timer"        // the timer set last fired
)

var eventKinds = []eventKind{evStart, evStop, evShutdown, evRestart, evReplace, evResetFailed, evUnblocked, evFound,
	evLost, evStarted, evStartFailed, evExited, evRemoved,
	evUnbound, evUnhealthy, evTimer}

// event is one thing that happened. Time and chance come in with it: the machine has neither.
type event struct {
	kind   eventKind
	gen    uint64        // started, start-failed, exited, removed, unhealthy: of which instance
	timer  uint64        // timer: which one
	now    time.Time     //
	random float64       // in [0, 1), for jitter
	status ExitStatus    // exited; lost, if ended
	ran    time.Duration // started, found, exited: how long the instance has run
	err    error         // start-failed, removed, unhealthy; lost: nobody can tell whether it runs
	final  bool          // unhealthy: it is not to be started again
	clean  bool          // start-failed, lost: the runtime has nothing of it
	ended  bool          // lost: an instance ended while no daemon was there
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

	policy  RestartPolicy
	stop    StopPolicy
	ordered bool // a start waits until it is unblocked
	oneshot bool

	restarts  int         // automatic ones since the last start by hand
	attempt   int         // consecutive restarts, for the delay
	starts    []time.Time // for the start limit
	startedAt time.Time
	nextStart time.Time // backoff: when
	lastExit  *Exit
	err       error // of the last start or remove, nil after a success
	adopted   bool
	done      bool // exited: the task of a one-shot container is done
	// sick is why the instance is being ended that was found unhealthy; nil in all states but stopping.
	sick *Unhealthy

	// ifLost is what to do when find finds nothing, replaceFound that what it finds is of another definition.
	ifLost       lostPlan
	replaceFound bool
}

// lostPlan says how a container goes on whose instance does not run any more when the daemon starts.
type lostPlan struct {
	state State         // stopped, exited, failed: stay so; backoff: wait after; starting: start at once; running: it ended unseen
	after time.Duration // backoff
	ran   time.Duration // running: since its start
	sick  *Unhealthy    // running: it was being ended for that
	asked bool          // starting: somebody said so since
	done  bool          // exited: the task is done
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
		evStop: (*machine).clean, evShutdown: (*machine).clean,
		evReplace: ignore, evUnblocked: ignore, evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore,
		evExited: ignore, evUnhealthy: ignore, evUnbound: ignore,
	},
	StateWaiting: {
		evStop: (*machine).rest, evShutdown: (*machine).rest, evUnblocked: (*machine).startUnblocked, evResetFailed: (*machine).forgive,
		evStart: (*machine).waitByHand, evRestart: (*machine).waitByHand, evReplace: (*machine).waitAnew,
		evRemoved: (*machine).removedAtRest, evTimer: (*machine).removeOnTimer,
		evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore, evExited: ignore, evUnhealthy: ignore,
		evUnbound: ignore,
	},
	StateStarting: {
		evStop: (*machine).down, evShutdown: (*machine).down, evRestart: (*machine).downAndUp, evReplace: (*machine).replaceRunning,
		evStarted: (*machine).run, evStartFailed: (*machine).failStart, evRemoved: (*machine).runAfterRemove,
		evFound: (*machine).adopt, evLost: (*machine).lose, evResetFailed: (*machine).forgive,
		evStart: (*machine).startOnceFound, evTimer: (*machine).find, evUnblocked: ignore, evExited: ignore,
		evUnhealthy: ignore, evUnbound: (*machine).unbind,
	},
	StateRunning: {
		evStop: (*machine).down, evShutdown: (*machine).down, evRestart: (*machine).downAndUp, evReplace: (*machine).replaceRunning,
		evExited: (*machine).exit, evUnhealthy: (*machine).endUnhealthy, evUnbound: (*machine).unbind, evResetFailed: (*machine).forgive,
		evStart: ignore, evUnblocked: ignore, evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore,
		evRemoved: ignore, evTimer: ignore,
	},
	StateStopping: {
		evStart: (*machine).upAfterDown, evRestart: (*machine).upAfterDown, evStop: (*machine).stayDown, evShutdown: (*machine).stayDown,
		evStarted: (*machine).stopStarted, evStartFailed: (*machine).stopUnstarted, evExited: (*machine).stopExited,
		evRemoved: (*machine).stopRemoved, evTimer: (*machine).stopOverdue, evFound: (*machine).stopFound,
		evLost: (*machine).stopLost, evResetFailed: (*machine).forgive, evReplace: (*machine).replaceSick,
		evUnblocked: ignore, evUnhealthy: ignore, evUnbound: ignore,
	},
	StateBackoff: {
		evStart: (*machine).startByHand, evRestart: (*machine).startByHand, evReplace: (*machine).startAnew, evStop: (*machine).rest,
		evShutdown: (*machine).rest, evTimer: (*machine).restartOnTimer, evRemoved: (*machine).removedAtRest,
		evResetFailed: (*machine).forgive,
		evUnblocked:   ignore, evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore, evExited: ignore,
		evUnhealthy: ignore, evUnbound: ignore,
	},
	StateExited: {
		evStart: (*machine).startUnlessDone, evRestart: (*machine).startByHand, evStop: (*machine).rest,
		evResetFailed: (*machine).forgive, evRemoved: (*machine).removedAtRest, evTimer: (*machine).removeOnTimer,
		evShutdown: (*machine).shutdownExited, evReplace: ignore, evUnblocked: ignore, evFound: ignore, evLost: ignore, evStarted: ignore,
		evStartFailed: ignore, evExited: ignore, evUnhealthy: ignore, evUnbound: ignore,
	},
	StateFailed: {
		evStart: (*machine).startByHand, evRestart: (*machine).startByHand, evReplace: (*machine).startAnew, evStop: (*machine).rest,
		evResetFailed: (*machine).resetFailed, evRemoved: (*machine).removedAtRest, evTimer: (*machine).removeOnTimer,
		evShutdown: (*machine).clean, evUnblocked: ignore, evFound: ignore, evLost: ignore, evStarted: ignore, evStartFailed: ignore,
		evExited: ignore, evUnhealthy: ignore, evUnbound: ignore,
	},
}

// step takes one event. What speaks of an earlier instance or an earlier timer is dropped here, before any state.
func (m *machine) step(e event) []action {
	switch e.kind {
	case evStarted, evStartFailed, evExited, evRemoved, evFound, evLost, evUnhealthy:
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
