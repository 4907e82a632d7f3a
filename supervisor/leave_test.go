package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// An instance that ended while no daemon was there is treated as if one had been: by what the kernel kept of it.
func TestEndedWhileNoDaemonWasThere(t *testing.T) {
	oom := ExitStatus{Known: true, Wait: syscall.WaitStatus(syscall.SIGKILL), OOMKilled: true}
	for _, c := range []struct {
		name    string
		status  ExitStatus
		mode    RestartMode
		prevent []int
		want    State
		exit    string
	}{
		{"always", exited(7), RestartAlways, nil, StateBackoff, "exited/7/"},
		{"on-failure, failed", exited(3), RestartOnFailure, nil, StateBackoff, "exited/3/"},
		{"on-failure, well", exited(0), RestartOnFailure, nil, StateExited, "exited/0/"},
		{"on-failure, prevented", exited(42), RestartOnFailure, []int{42}, StateExited, "exited/42/"},
		{"on-success, well", exited(0), RestartOnSuccess, nil, StateBackoff, "exited/0/"},
		{"on-abort, signal", signaled(syscall.SIGSEGV), RestartOnAbort, nil, StateBackoff, "signaled/-1/SEGV"},
		{"no", exited(1), RestartNo, nil, StateExited, "exited/1/"},
		{"out of memory", oom, RestartOnFailure, nil, StateBackoff, "oom/-1/KILL"},
		{"unknown", ExitStatus{}, RestartOnFailure, nil, StateBackoff, "unknown/-1/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			world(t, func(t *testing.T, h *house) {
				h.rt.keeps = true
				spec := func() *Spec {
					s := h.spec("npd")
					s.Restart.Mode = c.mode
					s.Restart.PreventStatuses.Codes = append(s.Restart.PreventStatuses.Codes, c.prevent...)
					return s
				}
				h.add(t, spec())
				after(time.Minute)
				p := h.rt.there["npd"]
				h.Close()
				p.end(c.status)
				h.open("boot")
				h.add(t, spec())
				after(time.Second)
				s := h.want(t, "npd", c.want)
				if got := fmt.Sprintf("%s/%d/%s", s.LastExit.Reason, s.LastExit.Code, s.LastExit.Signal); got != c.exit {
					t.Errorf("it ended %s, want %s", got, c.exit)
				}
				if !slices.Equal(h.rt.forgotten, []Identity{p.identity}) {
					t.Errorf("forgotten: %v, want %v", h.rt.forgotten, p.identity)
				}
				if r := h.store.get("npd"); r.LastExit == nil || r.LastExit.Reason != s.LastExit.Reason {
					t.Errorf("recorded: %+v", r.LastExit)
				}
			})
		})
	}
}

// Of an instance that ended while it was being stopped the next daemon says how, and starts nothing.
func TestStoppedWhileNoDaemonWasThere(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.keeps, h.rt.stubborn = true, true
		h.add(t, h.spec("npd"))
		after(time.Second)
		p := h.rt.there["npd"]
		go func() { _ = h.Stop(context.Background(), "npd") }()
		after(time.Second)
		h.Close()
		p.end(exited(5))
		h.open("boot")
		h.add(t, h.spec("npd"))
		after(time.Minute)
		if s := h.want(t, "npd", StateStopped); s.LastExit.Reason != ReasonStopped || s.LastExit.Code != 5 {
			t.Errorf("it ended %+v", s.LastExit)
		}
		if h.rt.runs["npd"] != 1 {
			t.Error("started again")
		}
	})
}

// What the runtime keeps of an ended instance is given up when its end is on disk, not before.
func TestForgottenOnceRecorded(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.keeps = true
		h.add(t, h.spec("npd"))
		after(time.Second)
		first := h.rt.there["npd"]
		h.store.mu.Lock()
		h.store.fail = true
		h.store.mu.Unlock()
		first.end(exited(1))
		after(time.Hour) // and it was started again
		h.want(t, "npd", StateRunning)
		if len(h.rt.forgotten) != 0 {
			t.Fatalf("forgotten although nothing is recorded: %v", h.rt.forgotten)
		}
		h.store.mu.Lock()
		h.store.fail = false
		h.store.mu.Unlock()
		after(time.Minute)
		if !slices.Equal(h.rt.forgotten, []Identity{first.identity}) {
			t.Errorf("forgotten: %v, want %v", h.rt.forgotten, first.identity)
		}
	})
}

// Whenever a supervisor is closed, of every instance either nobody has heard how it ended, or it is on disk.
func TestCloseLosesNoExit(t *testing.T) {
	for round := range 50 {
		world(t, func(t *testing.T, h *house) {
			h.with(h.rt, &lazyStore{fakeStore: h.store, takes: time.Duration(round%3) * time.Millisecond}, 50)
			for i := range 50 {
				h.add(t, h.spec(fmt.Sprint("c", i)))
			}
			after(time.Minute)
			for i, p := range slices.Collect(maps.Values(h.rt.there)) {
				p.end(exited(3))
				if i > round {
					goruntime.Gosched()
				}
			}
			h.Close()
			if lost := h.lost(); len(lost) > 0 {
				t.Fatalf("heard how they ended and told nobody: %v", lost)
			}
			h.open("boot")
		})
	}
}

// An end is written also when the record before is still being written.
func TestCloseWritesTheLastRecord(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.with(h.rt, &lazyStore{fakeStore: h.store, takes: time.Second}, 4)
		h.add(t, h.spec("npd"))
		after(100 * time.Millisecond)
		h.want(t, "npd", StateRunning)
		h.rt.there["npd"].end(exited(3))
		synctest.Wait()
		h.Close()
		if r := h.store.get("npd"); r.LastExit == nil || r.LastExit.Code != 3 || r.Instance != nil {
			t.Errorf("recorded: %+v", r)
		}
		h.open("boot")
	})
}

// lazyStore takes its time to write.
type lazyStore struct {
	*fakeStore
	takes time.Duration
}

func (s *lazyStore) Save(name string, r Record, durable bool) error {
	pause(s.takes)
	return s.fakeStore.Save(name, r, durable)
}

// While calls are held none begins; those under way are waited for; containers end as ever; afterwards all goes on.
func TestHold(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.callTime = 3 * time.Second
		h.add(t, h.spec("under-way"))
		h.add(t, h.spec("other"))
		after(10 * time.Second)
		h.want(t, "other", StateRunning)
		h.rt.there["under-way"].end(exited(1))
		after(16 * time.Second) // its removal is done, and its start under way
		h.want(t, "under-way", StateStarting)
		begin := time.Now()
		release, err := h.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took == 0 || took > 3*time.Second {
			t.Errorf("held after %s, a call takes 3s", took)
		}
		synctest.Wait()
		h.want(t, "under-way", StateRunning)
		runs, removes := h.rt.runs["other"], h.rt.removes
		h.rt.there["other"].end(exited(1))
		after(time.Hour)
		if h.rt.runs["other"] != runs || h.rt.removes != removes {
			t.Error("a call has begun while they are held")
		}
		if s, err := h.Get("other"); err != nil || s.LastExit == nil || s.LastExit.Code != 1 {
			t.Errorf("its end was not noticed: %+v, %v", s, err)
		}
		if err := h.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		release()
		after(time.Minute)
		h.want(t, "other", StateRunning)
	})
}

// A runtime that hangs cannot keep calls from being held for longer than the caller waits.
func TestHoldOfAHungRuntime(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.trouble, h.rt.faults = 1, []string{"hangs"}
		h.add(t, h.spec("npd"))
		after(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		release, err := h.Hold(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		release()
		h.rt.set(func() { h.rt.trouble = 0 })
		after(5 * time.Minute)
		h.want(t, "npd", StateRunning)
	})
}

// What an earlier daemon has left is ended in the same order as by a Shutdown of its own, and nothing is started for that:
// neither what is enabled, nor what has ended or waits.
func TestAdoptOnly(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		crashed, waits := h.spec("crashed"), h.spec("waits")
		waits.Restart.Delay, waits.Restart.MaxDelay = time.Hour, time.Hour
		for _, s := range []*Spec{crashed, waits} {
			h.add(t, s)
		}
		after(time.Second)
		if err := h.Kill(t.Context(), "waits", syscall.SIGKILL, false); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		h.want(t, "waits", StateBackoff)
		h.Close()
		h.rt.mu.Lock()
		p := h.rt.there["crashed"]
		h.rt.mu.Unlock()
		p.end(exited(1))
		h.wrote()

		h.Supervisor = New(Config{
			Runtime: h.rt, Store: h.store, Output: fakeOutput{}, Monitor: h.monitor, BootID: "boot", AdoptOnly: true,
			OnEvent: func(e Event) {
				if e.Type == EventRestart {
					t.Errorf("it is said that %s will be started again", e.Snapshot.Name)
				}
			},
		})
		changed := h.stack()
		changed[1].Hash = "2" // app: a daemon would replace it
		for _, s := range append(changed, crashed, waits, h.spec("new")) {
			h.add(t, s)
		}
		after(time.Minute)
		if !h.Settled() {
			t.Error("not settled")
		}
		h.states(t, "app running, crashed stopped, db running, migration exited, new stopped, proxy running, waits stopped")
		if err := h.Start(t.Context(), "new"); !errors.Is(err, ErrClosed) {
			t.Errorf("start: %v", err)
		}
		if got := h.wrote(); got != "" {
			t.Errorf("before the shutdown: %s", got)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.wrote(); got != "-proxy -app -db" {
			t.Error(got)
		}
		if left := h.rt.living(); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
		h.Close()

		h.open("boot") // the service is started again
		for _, s := range append(h.stack(), crashed, waits) {
			h.add(t, s)
		}
		after(time.Second)
		h.monitor.say("db", Report{Ready: true})
		after(5 * time.Second)
		h.states(t, "app running, crashed running, db running, migration exited, proxy running, waits running")
	})
}
