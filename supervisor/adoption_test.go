package supervisor

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Where nobody can tell whether an instance runs none is started, and it is asked again. Nothing but that is waited for
// when the daemon says that it is ready.
func TestNobodyCanTellWhetherItRuns(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		pid := h.rt.living()["npd"]
		rt := &oddRuntime{fakeRuntime: h.rt}
		rt.find = func(ctx context.Context, _ string, _ *Identity) (Process, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		h.with(rt, h.store, 4)
		h.add(t, h.spec("npd"))
		after(time.Second)
		if h.Settled() {
			t.Error("settled while it is still being found out what runs")
		}
		if err := h.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if h.store.get("npd").Instance == nil {
			t.Error("the instance is forgotten while it is looked for")
		}
		if err := h.Kill(t.Context(), "npd", syscall.SIGHUP, false); err == nil || !strings.Contains(err.Error(), "cannot tell whether it runs") {
			t.Errorf("kill: %v", err)
		}
		after(time.Minute)
		if s := h.want(t, "npd", StateStarting); !strings.Contains(s.Error, "cannot tell whether it runs") {
			t.Errorf("error %q", s.Error)
		}
		if !h.Settled() {
			t.Error("not settled, although its first start came to no good")
		}
		h.rt.set(func() { rt.find = nil })
		after(time.Minute)
		if s := h.want(t, "npd", StateRunning); s.Pid != pid || !s.Adopted || s.Error != "" {
			t.Errorf("after that: %+v, pid was %d", s, pid)
		}
	})
}

// Who signals a container that a new daemon has not found yet waits for that.
func TestKillWhileFinding(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		rt := &oddRuntime{fakeRuntime: h.rt}
		rt.find = func(ctx context.Context, name string, known *Identity) (Process, error) {
			pause(10 * time.Second)
			return h.rt.Find(ctx, name, known)
		}
		h.with(rt, h.store, 4)
		h.add(t, h.spec("npd"))
		begin := time.Now()
		if err := h.Kill(t.Context(), "npd", syscall.SIGKILL, false); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("it took %s", took)
		}
		after(time.Second)
		if s, _ := h.Get("npd"); s.LastExit == nil || s.LastExit.Signal != "KILL" {
			t.Errorf("it was not killed: %+v", s)
		}
	})
}

// An instance of which nobody knows what it was made from is not replaced.
func TestAdoptedWithUnknownDefinition(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		pid := h.rt.living()["npd"]
		h.Close()
		h.open("boot")
		if err := h.Add(t.Context(), h.spec("npd"), Installed{}); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if s := h.want(t, "npd", StateRunning); s.Pid != pid {
			t.Errorf("pid %d → %d", pid, s.Pid)
		}
	})
}

// What was counted before counts after a restart of the daemon.
func TestCountsSurvive(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.life = func(name string) (time.Duration, ExitStatus) { return 10 * time.Second, exited(1) }
		limited := func() *Spec {
			s := h.spec("limited")
			s.Restart.Delay, s.Restart.MaxDelay, s.Restart.Limit = 0, 0, StartLimit{Burst: 2, Interval: time.Hour}
			return s
		}
		h.add(t, h.spec("npd"))
		h.add(t, limited())
		after(30 * time.Second) // npd runs for the second time since 25 s; limited since 10 s, and failed at 20 s
		h.want(t, "npd", StateRunning)
		h.want(t, "limited", StateFailed)
		h.Close()
		h.open("boot")
		h.add(t, h.spec("npd"))
		h.add(t, limited())
		var limit *StartLimitError
		if err := h.Start(t.Context(), "limited"); !errors.As(err, &limit) {
			t.Errorf("a start over the limit after a restart of the daemon: %v", err)
		}
		after(8 * time.Second)
		s := h.want(t, "npd", StateBackoff)
		if d := s.NextStartAt.Sub(s.LastExit.At).Round(100 * time.Millisecond); d != 27300*time.Millisecond {
			t.Errorf("the delay after the second end is %s, as if it were the first", d)
		}
	})
}

// A clock that was wrong does not keep a container waiting for longer than its policy says.
func TestWaitIsBoundedAfterAClockJump(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		next := time.Now().Add(1000 * time.Hour)
		h.store.records["npd"] = Record{Version: 1, BootID: "boot", State: StateBackoff, NextStartAt: &next}
		h.add(t, h.spec("npd"))
		after(17 * time.Second) // 15 s and 10 % of jitter
		h.want(t, "npd", StateRunning)
	})
}

// What came to its end stays there when the daemon is restarted, and is started after a reboot.
func TestExitedAndFailedStaySo(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.life = func(string) (time.Duration, ExitStatus) { return time.Second, exited(0) }
		add := func() {
			for _, name := range []string{"exited", "failed"} {
				spec := h.spec(name)
				spec.Restart.Mode = RestartNo
				h.add(t, spec)
			}
		}
		add()
		after(10 * time.Millisecond)
		h.Close()
		h.rt.life = func(name string) (time.Duration, ExitStatus) { return time.Second, exited(0) }
		h.open("boot")
		rt := &oddRuntime{fakeRuntime: h.rt}
		rt.run = func(ctx context.Context, req RunRequest) (Process, error) {
			if req.ID == "failed" {
				return nil, errFake
			}
			return h.rt.Run(ctx, req)
		}
		h.with(rt, h.store, 4)
		add()
		after(time.Minute)
		h.Close()
		h.open("boot")
		add()
		after(time.Minute)
		h.want(t, "exited", StateExited)
		h.want(t, "failed", StateFailed)
		if h.rt.runs["exited"] != 1 || h.rt.runs["failed"] != 0 {
			t.Errorf("starts: %v", h.rt.runs)
		}
		h.Close()
		h.open("next boot")
		add()
		after(500 * time.Millisecond)
		h.want(t, "exited", StateRunning)
		h.want(t, "failed", StateRunning)
	})
}

// How an instance ended that went with the machine nobody knows, and it is told so; what ended before stays as it was.
func TestEndedWithTheMachine(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		ran, stopped := h.spec("ran"), h.spec("stopped")
		for _, s := range []*Spec{ran, stopped} {
			h.add(t, s)
		}
		after(time.Second)
		if err := h.Stop(t.Context(), "stopped"); err != nil {
			t.Fatal(err)
		}
		at := h.want(t, "stopped", StateStopped).LastExit.At
		h.Close()
		h.rt.there["ran"].end(exited(0))
		h.rt.set(func() { clear(h.rt.there) })
		after(time.Hour)
		ran.Enabled, stopped.Enabled = false, false // so that it is seen what is known before the next start
		for range 2 {                               // of the second daemon, too
			h.open("next boot")
			for _, s := range []*Spec{ran, stopped} {
				h.add(t, s)
			}
			after(time.Second)
			if x := h.want(t, "ran", StateStopped).LastExit; x == nil || x.Reason != ReasonUnknown || x.Code != -1 || x.Signal != "" || x.At.Before(at.Add(time.Hour)) {
				t.Errorf("ran: %+v", x)
			}
			if x := h.want(t, "stopped", StateStopped).LastExit; x == nil || x.Reason != ReasonStopped || !x.At.Equal(at) {
				t.Errorf("stopped: %+v", x)
			}
			h.Close()
		}
		h.open("next boot")
	})
}

// A start by hand of a disabled container goes on when the daemon ends during it.
func TestStartInFlightGoesOnInTheNextDaemon(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		off := func() *Spec { s := h.spec("npd"); s.Enabled = false; return s }
		h.add(t, off())
		h.want(t, "npd", StateStopped)
		started := begin(func() error { return h.Start(t.Context(), "npd") })
		h.Close()
		if err := <-started; !errors.Is(err, ErrClosed) {
			t.Errorf("start: %v", err)
		}
		h.open("boot")
		h.add(t, off())
		after(time.Second)
		h.want(t, "npd", StateRunning)
	})
}

// A stop that the end of the daemon interrupts is brought to its end by the next, with the same instance.
func TestStopGoesOnInTheNextDaemon(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.stubborn = true })
		h.add(t, h.spec("npd"))
		after(time.Second)
		pid := h.rt.living()["npd"]
		stopped := begin(func() error { return h.Stop(t.Context(), "npd") })
		after(time.Second)
		if s := h.want(t, "npd", StateStopping); s.Pid != pid || s.Ready {
			t.Errorf("while stopping: %+v", s)
		}
		if r := h.store.get("npd"); r.Instance == nil || r.Instance.Pid != pid || !r.StoppedByHand {
			t.Errorf("remembered: %+v", r)
		}
		rt := &oddRuntime{fakeRuntime: h.rt}
		rt.find = func(ctx context.Context, id string, known *Identity) (Process, error) {
			if known == nil {
				return nil, errFake // a runtime that is broken
			}
			return h.rt.Find(ctx, id, known)
		}
		h.with(rt, h.store, 4)
		if err := <-stopped; !errors.Is(err, ErrClosed) {
			t.Errorf("a stop that the end of the daemon interrupted: %v", err)
		}
		h.add(t, h.spec("npd"))
		after(time.Minute)
		h.want(t, "npd", StateStopped)
		if len(h.rt.leftovers()) != 0 {
			t.Error("left over")
		}
	})
}

// After a run that was long enough the delays begin anew, also for an adopted instance, which keeps its age.
func TestStableRunResetsTheDelay(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		for name, restartDaemon := range map[string]bool{"own": false, "adopted": true} {
			n := 0
			h.rt.life = func(string) (time.Duration, ExitStatus) {
				if n++; n <= 3 {
					return time.Second, exited(1)
				}
				return 11 * time.Minute, exited(1)
			}
			h.add(t, h.spec(name))
			after(5 * time.Minute)
			before := h.want(t, name, StateRunning)
			if restartDaemon {
				h.Close()
				h.open("boot")
				h.add(t, h.spec(name))
				if s := h.want(t, name, StateRunning); !s.StartedAt.Equal(*before.StartedAt) || !s.Adopted {
					t.Errorf("adopted: %+v, was %+v", s, before)
				}
			}
			<-time.After(time.Until(before.StartedAt.Add(11*time.Minute + time.Second)))
			s := h.want(t, name, StateBackoff)
			if d := s.NextStartAt.Sub(s.LastExit.At); d != 15*time.Second {
				t.Errorf("%s: after a long run the delay is %s", name, d)
			}
			if err := h.Stop(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A start by hand while it is still being found out what runs.
func TestStartDuringFind(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.dead("npd")
		free := make(chan struct{})
		rt := &oddRuntime{fakeRuntime: h.rt}
		rt.find = func(ctx context.Context, id string, known *Identity) (Process, error) {
			<-free
			return h.rt.Find(ctx, id, known)
		}
		h.with(rt, h.store, 4)
		spec := h.spec("npd")
		spec.Enabled = false
		h.add(t, spec)
		started := begin(func() error { return h.Start(t.Context(), "npd") })
		close(free)
		if err := <-started; err != nil {
			t.Error(err)
		}
		h.want(t, "npd", StateRunning)
	})
}

// The record is enough to adopt: the runtime may have lost its state, or be broken.
func TestAdoptionNeedsNoRuntime(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		pid := h.rt.living()["npd"]
		for _, blind := range []bool{true, false} {
			rt := &oddRuntime{fakeRuntime: h.rt, blind: blind}
			rt.find = func(_ context.Context, id string, known *Identity) (Process, error) {
				if known == nil || h.rt.there[id].identity != *known {
					return nil, errFake
				}
				return h.rt.there[id], nil
			}
			h.with(rt, h.store, 4)
			h.add(t, h.spec("npd"))
			after(time.Second)
			if s := h.want(t, "npd", StateRunning); s.Pid != pid || !s.Adopted {
				t.Errorf("blind %v: %+v", blind, s)
			}
		}
	})
}

// A start by hand out of a long wait goes on in the next daemon at once.
func TestStartOutOfAWaitIsRemembered(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.setTrouble(1, "fails")
		h.add(t, h.spec("npd"))
		after(time.Hour + 7*time.Second)
		h.want(t, "npd", StateBackoff)
		h.setTrouble(1, "hangs")
		_ = begin(func() error { return h.Start(t.Context(), "npd") })
		after(5 * time.Second)
		h.want(t, "npd", StateStarting)
		h.Close()
		h.setTrouble(0)
		h.open("boot")
		h.add(t, h.spec("npd"))
		after(time.Second)
		h.want(t, "npd", StateRunning)
	})
}

// A definition that is changed and changed back while it is being found out what runs costs no restart.
func TestChangedBackDuringFind(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		pid := h.rt.living()["npd"]
		free := make(chan struct{})
		rt := &oddRuntime{fakeRuntime: h.rt}
		rt.find = func(ctx context.Context, id string, known *Identity) (Process, error) {
			<-free
			return h.rt.Find(ctx, id, known)
		}
		h.with(rt, h.store, 4)
		h.add(t, h.spec("npd"))
		for _, hash := range []string{"2", "1"} {
			s := h.spec("npd")
			s.Hash = hash
			if _, err := h.Apply(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		close(free)
		after(time.Minute)
		if s := h.want(t, "npd", StateRunning); s.Pid != pid {
			t.Errorf("pid %d → %d", pid, s.Pid)
		}
	})
}
