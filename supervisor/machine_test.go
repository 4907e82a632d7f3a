package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var allStates = []State{StateStopped, StateWaiting, StateStarting, StateRunning, StateStopping, StateBackoff, StateExited, StateFailed}

// Every state has an answer for every event, if only to ignore it.
func TestTableIsComplete(t *testing.T) {
	for _, s := range allStates {
		for _, e := range eventKinds {
			if table[s][e] == nil {
				t.Errorf("no cell for %s in %s", e, s)
			}
		}
		if len(table[s]) != len(eventKinds) {
			t.Errorf("%s has cells for unknown events", s)
		}
	}
	if len(table) != len(allStates) {
		t.Error("the table has unknown states")
	}
}

func exited(code int) ExitStatus {
	return ExitStatus{Known: true, Wait: syscall.WaitStatus(code << 8)}
}
func signaled(sig syscall.Signal) ExitStatus {
	return ExitStatus{Known: true, Wait: syscall.WaitStatus(sig)}
}

func newTestMachine() *machine {
	return &machine{state: StateStopped, policy: DefaultRestartPolicy(), stop: DefaultStopPolicy()}
}

// Stories: a row per event, with the state and the actions that follow. "gen" and "timer" are filled in as a runtime and
// a clock would that answer at once; old+NAME speaks of the instance or timer before.
func TestStories(t *testing.T) {
	type row struct {
		event, state, actions string
		change                func(*event)
	}
	ran := func(d time.Duration) func(*event) { return func(e *event) { e.ran = d } }
	status := func(s ExitStatus) func(*event) { return func(e *event) { e.status = s } }
	sick := func(e *event) { e.err = errors.New("it does not answer") }
	finally := func(e *event) { sick(e); e.final = true }
	clean := func(e *event) { e.err = errors.New("no bundle"); e.clean = true }
	fails := func(e *event) { e.err = errors.New("runc says no") }
	stories := map[string][]row{
		"start, exit, restart after the delay": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "backoff", "set-timer(15s) remove", status(exited(3))}, {"removed", "backoff", "", nil},
			{"timer", "starting", "run", nil}, {"started", "running", "", nil},
		},
		"the delay grows, and begins anew after a stable run": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "backoff", "set-timer(15s) remove", nil}, {"removed", "backoff", "", nil}, {"timer", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "backoff", "set-timer(27.3s) remove", nil}, {"removed", "backoff", "", nil}, {"timer", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "backoff", "set-timer(15s) remove", ran(10 * time.Minute)},
		},
		"a start that fails waits and is tried again": {
			{"start", "starting", "run", nil}, {"start-failed", "backoff", "set-timer(15s) remove", fails},
			{"removed", "backoff", "", nil}, {"timer", "starting", "run", nil},
		},
		"the timer fires while the remove is under way: the run follows the remove": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"exited", "backoff", "set-timer(15s) remove", nil},
			{"timer", "starting", "", nil}, {"removed", "starting", "run", nil}, {"started", "running", "", nil},
		},
		"a remove that fails does not hinder the next start": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"exited", "backoff", "set-timer(15s) remove", nil},
			{"removed", "backoff", "", fails}, {"timer", "starting", "run", nil},
		},
		"stop: signal, then SIGKILL to all, then remove": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"stop", "stopping", "signal set-timer(10s)", nil},
			{"timer", "stopping", "kill-all set-timer(5s)", nil}, {"timer", "stopping", "kill-all set-timer(5s)", nil},
			{"exited", "stopping", "cancel-timer remove", nil}, {"removed", "stopped", "", nil},
		},
		"a stop wins over a pending restart": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"exited", "backoff", "set-timer(15s) remove", nil},
			{"removed", "backoff", "", nil}, {"stop", "stopped", "cancel-timer", nil}, {"old+timer", "stopped", "", nil},
		},
		"a stop wins over a start in flight": {
			{"start", "starting", "run", nil}, {"stop", "stopping", "dequeue set-timer(10s)", nil},
			{"started", "stopping", "signal set-timer(10s)", nil}, {"exited", "stopping", "cancel-timer remove", nil}, {"removed", "stopped", "", nil},
		},
		"a stop ends a start that hangs": {
			{"start", "starting", "run", nil}, {"stop", "stopping", "dequeue set-timer(10s)", nil},
			{"timer", "stopping", "cancel-run", nil}, {"start-failed", "stopping", "remove", fails}, {"removed", "stopped", "", nil},
		},
		"a stop during the remove after an exit": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"exited", "backoff", "set-timer(15s) remove", nil},
			{"stop", "stopping", "cancel-timer", nil}, {"removed", "stopped", "", nil},
		},
		"a remove that fails while stopping is tried again": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"stop", "stopping", "signal set-timer(10s)", nil},
			{"exited", "stopping", "cancel-timer remove", nil}, {"removed", "stopping", "set-timer(5s)", fails},
			{"timer", "stopping", "remove", nil}, {"removed", "stopped", "", nil},
		},
		"a start during the wait starts at once": {
			{"start", "starting", "run", nil}, {"start-failed", "backoff", "set-timer(15s) remove", fails}, {"removed", "backoff", "", nil},
			{"start", "starting", "cancel-timer run", nil}, {"old+timer", "starting", "", nil},
		},
		"restart by hand has no delay": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"restart", "stopping", "signal set-timer(10s)", nil},
			{"exited", "stopping", "cancel-timer remove", nil}, {"removed", "starting", "run", nil},
		},
		"stop after restart leaves it down": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"restart", "stopping", "signal set-timer(10s)", nil},
			{"stop", "stopping", "", nil}, {"exited", "stopping", "cancel-timer remove", nil}, {"removed", "stopped", "", nil},
		},
		"start after stop brings it back": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"stop", "stopping", "signal set-timer(10s)", nil},
			{"start", "stopping", "", nil}, {"exited", "stopping", "cancel-timer remove", nil}, {"removed", "starting", "run", nil},
		},
		"what speaks of an earlier instance changes nothing": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"exited", "backoff", "set-timer(15s) remove", nil},
			{"removed", "backoff", "", nil}, {"timer", "starting", "run", nil}, {"old+exited", "starting", "", nil}, {"started", "running", "", nil},
			{"old+exited", "running", "", nil}, {"old+removed", "running", "", nil},
		},
		"a definition that was mended starts a waiting container at once": {
			{"start", "starting", "run", nil}, {"start-failed", "backoff", "set-timer(15s) remove", fails}, {"removed", "backoff", "", nil},
			{"replace", "starting", "cancel-timer run", nil},
		},
		"a changed definition replaces what runs": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"replace", "stopping", "signal set-timer(10s)", nil},
			{"exited", "stopping", "cancel-timer remove", nil}, {"removed", "starting", "run", nil},
		},
		"a changed definition does not start what was stopped": {
			{"replace", "stopped", "", nil},
		},
		"a changed definition between two instances changes nothing but what is started": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"exited", "backoff", "set-timer(15s) remove", nil},
			{"timer", "starting", "", nil}, {"replace", "starting", "", nil}, {"removed", "starting", "run", nil},
		},
		"unhealthy: stop signal, SIGKILL to all, remove, restart after a delay that grows": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"unhealthy", "stopping", "signal set-timer(10s)", sick},
			{"timer", "stopping", "kill-all set-timer(5s)", nil}, {"exited", "backoff", "set-timer(15s) remove", status(signaled(9))},
			{"removed", "backoff", "", nil}, {"timer", "starting", "run", nil}, {"started", "running", "", nil},
			{"unhealthy", "stopping", "signal set-timer(10s)", sick}, {"exited", "backoff", "set-timer(27.3s) remove", status(signaled(15))},
		},
		"a stop wins over a probe's verdict": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"unhealthy", "stopping", "signal set-timer(10s)", sick},
			{"stop", "stopping", "", nil}, {"exited", "stopping", "cancel-timer remove", nil}, {"removed", "stopped", "", nil},
		},
		"a verdict that comes during a stop changes nothing": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"stop", "stopping", "signal set-timer(10s)", nil},
			{"unhealthy", "stopping", "", sick}, {"exited", "stopping", "cancel-timer remove", nil}, {"removed", "stopped", "", nil},
		},
		"a verdict on an earlier instance changes nothing": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"exited", "backoff", "set-timer(15s) remove", nil},
			{"removed", "backoff", "", nil}, {"timer", "starting", "run", nil}, {"started", "running", "", nil}, {"old+unhealthy", "running", "", sick},
		},
		"unhealthy, and not to be started again": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"unhealthy", "stopping", "signal set-timer(10s)", finally},
			{"exited", "exited", "cancel-timer remove", nil}, {"removed", "exited", "", nil}, {"start", "starting", "run", nil},
		},
		"a start by hand while an unhealthy instance ends has no delay": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"unhealthy", "stopping", "signal set-timer(10s)", sick},
			{"start", "stopping", "", nil}, {"exited", "stopping", "cancel-timer remove", nil}, {"removed", "starting", "run", nil},
		},
		"a changed definition while an unhealthy instance ends has no delay": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"unhealthy", "stopping", "signal set-timer(10s)", sick},
			{"replace", "stopping", "", nil}, {"exited", "stopping", "cancel-timer remove", nil}, {"removed", "starting", "run", nil},
		},
		"what needs others waits until it is unblocked, and each time anew": {
			{"order", "stopped", "", nil}, {"start", "waiting", "", nil}, {"unblocked", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "backoff", "set-timer(15s) remove", nil}, {"removed", "backoff", "", nil}, {"timer", "waiting", "", nil},
			{"unblocked", "starting", "run", nil}, {"start-failed", "backoff", "set-timer(27.3s)", clean},
		},
		"a stop ends a wait": {
			{"order", "stopped", "", nil}, {"start", "waiting", "", nil}, {"stop", "stopped", "", nil}, {"unblocked", "stopped", "", nil},
		},
		"unblocked while the remove is under way: the run follows the remove": {
			{"order", "stopped", "", nil}, {"start", "waiting", "", nil}, {"unblocked", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "backoff", "set-timer(15s) remove", nil}, {"timer", "waiting", "", nil}, {"unblocked", "starting", "", nil},
			{"removed", "starting", "run", nil},
		},
		"what is bound to another ends with it, and waits for it": {
			{"order", "stopped", "", nil}, {"start", "waiting", "", nil}, {"unblocked", "starting", "run", nil}, {"started", "running", "", nil},
			{"unbound", "stopping", "signal set-timer(10s)", nil}, {"exited", "stopping", "cancel-timer remove", nil},
			{"removed", "waiting", "", nil}, {"unblocked", "starting", "run", nil},
		},
		"a one-shot task that is done is not started again, but for a restart": {
			{"oneshot", "stopped", "", nil}, {"start", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "exited", "remove", status(exited(0))}, {"removed", "exited", "", nil}, {"start", "exited", "", nil},
			{"restart", "starting", "run", nil},
		},
		"a one-shot task that fails is tried again": {
			{"oneshot", "stopped", "", nil}, {"start", "starting", "run", nil}, {"started", "running", "", nil},
			{"exited", "backoff", "set-timer(15s) remove", status(exited(1))},
		},
		"shutdown leaves nothing": {
			{"start", "starting", "run", nil}, {"started", "running", "", nil}, {"shutdown", "stopping", "signal set-timer(10s)", nil},
			{"exited", "stopping", "cancel-timer remove", nil}, {"removed", "stopped", "", nil},
		},
	}
	for name, rows := range stories {
		t.Run(name, func(t *testing.T) {
			m := newTestMachine()
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			var lastTimer uint64
			for i, r := range rows {
				switch r.event { // how it is defined
				case "order":
					m.ordered = true
					continue
				case "oneshot":
					m.oneshot, m.policy.Mode = true, RestartOnFailure
					continue
				}
				kind, old := strings.CutPrefix(r.event, "old+")
				e := event{kind: eventKind(kind), gen: m.gen, timer: m.timer, now: now}
				if old {
					e.gen, e.timer = m.gen-1, lastTimer
				}
				if r.change != nil {
					r.change(&e)
				}
				if m.timer != 0 {
					lastTimer = m.timer
				}
				got := actionsText(m.step(e))
				if got != r.actions || string(m.state) != r.state {
					t.Fatalf("row %d: %s → %s, %q; want %s, %q", i, r.event, m.state, got, r.state, r.actions)
				}
			}
		})
	}
}

func actionsText(as []action) string {
	var out []string
	for _, a := range as {
		s := string(a.kind)
		if a.kind == actSetTimer {
			s += fmt.Sprintf("(%s)", a.after.Round(100*time.Millisecond))
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// The start limit as systemd has it: burst starts within the interval are allowed, one more is not.
func TestStartLimit(t *testing.T) {
	m := newTestMachine()
	m.policy.Limit = StartLimit{Burst: 3, Interval: time.Minute}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.step(event{kind: evStart, now: now})
	for i := range 3 {
		now = now.Add(time.Second)
		m.step(event{kind: evStartFailed, gen: m.gen, now: now, clean: true, err: errors.New("no")})
		if m.state != StateBackoff {
			t.Fatalf("after failure %d: %s", i+1, m.state)
		}
		m.step(event{kind: evTimer, timer: m.timer, now: now})
	}
	if m.state != StateFailed || !errors.Is(m.err, errStartLimit) {
		t.Fatalf("the fourth start within a minute: %s, %v", m.state, m.err)
	}
	if m.step(event{kind: evStart, now: now}); m.state != StateFailed {
		t.Fatalf("a start by hand within the interval: %s", m.state)
	}
	if m.step(event{kind: evResetFailed, now: now}); m.state != StateStopped {
		t.Fatalf("reset-failed: %s", m.state)
	}
	if m.step(event{kind: evStart, now: now}); m.state != StateStarting {
		t.Fatalf("a start after reset-failed: %s", m.state)
	}
}

// Any sequence of events, in any order and from any instance, keeps what must hold always.
func TestMachineInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newTestMachine()
		m.policy.Mode = rapid.SampledFrom([]RestartMode{RestartAlways, RestartOnFailure, RestartNo, RestartOnAbort, RestartOnSuccess, RestartOnAbnormal}).Draw(t, "mode")
		m.policy.Limit = StartLimit{Burst: rapid.IntRange(0, 3).Draw(t, "burst"), Interval: time.Hour}
		m.ordered, m.oneshot = rapid.Bool().Draw(t, "ordered"), rapid.Bool().Draw(t, "oneshot")
		m.stop.Timeout = time.Duration(rapid.IntRange(0, 1).Draw(t, "timeout")) * 10 * time.Second
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		var pending []event // answers that the world still owes
		world := map[uint64]bool{}
		timer := uint64(0)
		do := func(as []action) {
			for _, a := range as {
				switch a.kind {
				case actRun:
					if len(world) != 0 {
						t.Fatalf("run while %v lives", world)
					}
					pending = append(pending, event{kind: evStarted, gen: a.gen})
				case actRemove:
					pending = append(pending, event{kind: evRemoved, gen: a.gen})
				case actFind:
					pending = append(pending, event{kind: evLost, gen: a.gen})
				case actSignal, actKillAll:
					if !world[a.gen] {
						t.Fatalf("%s for an instance that is not there", a.kind)
					}
				case actSetTimer:
					timer = a.timer
				case actCancelTimer:
					timer = 0
				}
			}
			if len(pending) > 1 {
				t.Fatalf("%d runtime calls at once", len(pending))
			}
			if (timer != 0) != (m.timer != 0) || timer != m.timer {
				t.Fatalf("timer %d is set, the machine thinks %d", timer, m.timer)
			}
			if m.sick != nil && (m.state != StateStopping || !m.alive) {
				t.Fatalf("%s for being unhealthy, alive %v", m.state, m.alive)
			}
			if m.done && m.state != StateExited {
				t.Fatalf("%s and done", m.state)
			}
			if m.state == StateBackoff && timer == 0 {
				t.Fatal("backoff without a timer")
			}
			if (m.state == StateStopped || m.state == StateWaiting || m.state == StateExited || m.state == StateFailed || m.state == StateBackoff) && len(world) != 0 {
				t.Fatalf("%s while %v lives", m.state, world)
			}
			if m.state == StateStopping && len(pending) == 0 && len(world) == 0 && timer == 0 {
				t.Fatal("stopping, and nothing will ever happen")
			}
			if m.state == StateStarting && len(pending) == 0 && timer == 0 {
				t.Fatal("starting, and nothing will ever happen")
			}
		}
		if rapid.Bool().Draw(t, "found at start") {
			plan := rapid.SampledFrom([]State{StateStopped, StateExited, StateFailed, StateBackoff, StateStarting, StateRunning}).Draw(t, "plan")
			do(m.begin(lostPlan{state: plan, after: time.Second}))
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "s")) * time.Second)
			e := event{now: now, random: 0.5}
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0: // somebody wants something
				e.kind = rapid.SampledFrom([]eventKind{evStart, evStop, evRestart, evReplace, evResetFailed, evShutdown}).Draw(t, "command")
			case 1: // something that nobody waits for
				e.kind = rapid.SampledFrom([]eventKind{evStarted, evStartFailed, evExited, evRemoved, evFound, evLost, evUnhealthy, evTimer}).Draw(t, "stale")
				e.err = errors.New("stale")
				e.gen, e.timer = m.gen-1, m.timer+7
			case 2, 3: // an answer
				if len(pending) == 0 {
					continue
				}
				e, pending = pending[0], nil
				e.now, e.random = now, 0.5
				ok := rapid.Bool().Draw(t, "ok")
				switch {
				case e.kind == evStarted && ok:
					world[e.gen] = true
				case e.kind == evStarted:
					e.kind, e.err, e.clean = evStartFailed, errors.New("no"), rapid.Bool().Draw(t, "clean")
				case e.kind == evRemoved && !ok:
					e.err = errors.New("no")
				case e.kind == evRemoved:
				case e.kind == evLost && ok:
					e.kind = evFound
					world[e.gen] = true
				case e.kind == evLost && rapid.Bool().Draw(t, "broken"):
					e.err = errors.New("nobody can tell")
				}
			case 4: // an end
				if !world[m.gen] {
					continue
				}
				delete(world, m.gen)
				e.kind, e.gen = evExited, m.gen
				e.status = rapid.SampledFrom([]ExitStatus{{}, exited(0), exited(3), signaled(9), signaled(15)}).Draw(t, "status")
				e.ran = time.Duration(rapid.IntRange(0, 1200).Draw(t, "ran")) * time.Second
			case 5: // a verdict, of which the last one may be long in coming
				if m.gen == 0 {
					continue
				}
				e.kind, e.gen, e.err, e.final = evUnhealthy, m.gen, errors.New("it hangs"), rapid.Bool().Draw(t, "final")
			case 6: // the others
				e.kind = rapid.SampledFrom([]eventKind{evUnblocked, evUnbound}).Draw(t, "others")
			case 7:
				if timer == 0 {
					continue
				}
				e.kind, e.timer = evTimer, timer
				timer = 0
			}
			wasStopping := m.state == StateStopping && !m.startNext && m.sick == nil
			do(m.step(e))
			// A stop wins: only a new wish to start leads out of it.
			if wasStopping && !slices.Contains([]State{StateStopping, StateStopped}, m.state) {
				t.Fatalf("%s led from a stop to %s", e.kind, m.state)
			}
			if e.kind == evStop && !slices.Contains([]State{StateStopping, StateStopped}, m.state) {
				t.Fatalf("stop led to %s", m.state)
			}
		}
	})
}
