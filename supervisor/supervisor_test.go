package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// world runs a test in a bubble of fake time with a supervisor that is closed at its end, and fails on any breach.
func world(t *testing.T, f func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(1)
		defer func() {
			h.Close()
			for _, b := range h.rt.breaches {
				t.Error(b)
			}
			for _, p := range h.rt.there {
				p.end(ExitStatus{})
			}
		}()
		f(t, h)
	})
}

func (h *house) add(t *testing.T, spec *Spec) {
	t.Helper()
	if err := h.Add(t.Context(), spec, Installed{Hash: spec.Hash, Spec: spec}); err != nil {
		t.Fatal(err)
	}
}

func (h *house) want(t *testing.T, name string, state State) Snapshot {
	t.Helper()
	synctest.Wait()
	s, err := h.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	if s.State != state {
		t.Fatalf("%s is %s (%s), want %s", name, s.State, s.Error, state)
	}
	return s
}

// after lets time pass.
func after(d time.Duration) {
	pause(d)
	synctest.Wait()
}

// pause takes its time. In a bubble under the race detector Go 1.26's runtime can crash when it receives from a timer that is
// due at once, so that there is none for no time.
func pause(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

func TestRunsAndRestarts(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.life = func(string) (time.Duration, ExitStatus) { return time.Second, exited(3) }
		h.add(t, h.spec("npd"))
		after(100 * time.Millisecond)
		s := h.want(t, "npd", StateRunning)
		if s.Pid == 0 || s.StartedAt == nil || !s.Ready || s.Restarts != 0 || !h.Settled() {
			t.Errorf("running: %+v", s)
		}
		after(time.Second)
		s = h.want(t, "npd", StateBackoff)
		if s.Pid != 0 || s.NextStartAt == nil || s.LastExit == nil || s.LastExit.Code != 3 || s.LastExit.Reason != ReasonExited {
			t.Errorf("backoff: %+v", s)
		}
		if d := s.NextStartAt.Sub(s.LastExit.At); d != 15*time.Second {
			t.Errorf("next start after %s", d)
		}
		after(14 * time.Second)
		h.want(t, "npd", StateBackoff)
		after(time.Second)
		if s = h.want(t, "npd", StateRunning); s.Restarts != 1 {
			t.Errorf("after the restart: %+v", s)
		}
		if h.rt.removes != 1 {
			t.Errorf("%d removes for one exit: a clean start needs none", h.rt.removes)
		}
	})
}

func TestStopWinsAndLasts(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.stubborn = true })
		h.add(t, h.spec("npd"))
		after(time.Second)
		begin := time.Now()
		if err := h.Stop(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < 10*time.Second || d > 11*time.Second {
			t.Errorf("a container that ignores SIGTERM was down after %s", d)
		}
		s := h.want(t, "npd", StateStopped)
		if s.LastExit.Reason != ReasonStopped || s.LastExit.Signal != "KILL" {
			t.Errorf("last exit: %+v", s.LastExit)
		}
		if !h.store.get("npd").StoppedByHand {
			t.Error("stop returned before it was remembered")
		}
		after(time.Hour)
		h.Close()
		h.open("boot")
		h.add(t, h.spec("npd"))
		after(time.Hour)
		h.want(t, "npd", StateStopped)
		h.Close()
		h.open("next boot")
		h.add(t, h.spec("npd"))
		after(time.Second)
		h.want(t, "npd", StateRunning)
	})
}

func TestDisabled(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		if err := h.SetEnabled(t.Context(), "npd", false); err != nil {
			t.Fatal(err)
		}
		if s := h.want(t, "npd", StateRunning); s.Enabled {
			t.Error("still enabled")
		}
		h.Close()
		h.open("boot")
		h.add(t, h.spec("npd"))
		after(time.Second)
		if s := h.want(t, "npd", StateRunning); s.Enabled || !s.Adopted {
			t.Errorf("after a restart of the daemon: %+v", s)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.Close()
		for _, boot := range []string{"boot", "next boot"} {
			h.open(boot)
			h.add(t, h.spec("npd"))
			after(time.Second)
			h.want(t, "npd", StateStopped)
			if err := h.Start(t.Context(), "npd"); err != nil {
				t.Fatal(err)
			}
			if err := h.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.Close()
		}
		h.open("next boot")
		h.add(t, h.spec("npd"))
		if err := h.SetEnabled(t.Context(), "npd", true); err != nil {
			t.Fatal(err)
		}
		if h.store.get("npd").EnabledOverride != nil {
			t.Error("enable left an override that says what the definition says")
		}
	})
}

func TestAdoption(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		crash := map[string]bool{}
		h.rt.life = func(name string) (time.Duration, ExitStatus) {
			if !crash[name] {
				crash[name] = true
				return time.Second, exited(1)
			}
			return 0, ExitStatus{}
		}
		for i := range 20 {
			h.add(t, h.spec(fmt.Sprint("c", i)))
		}
		after(time.Minute)
		before := h.rt.living()
		if len(before) != 20 {
			t.Fatalf("%d run", len(before))
		}
		h.Close()
		h.open("boot")
		for i := range 20 {
			h.add(t, h.spec(fmt.Sprint("c", i)))
		}
		after(time.Minute)
		if now := h.rt.living(); !maps.Equal(before, now) {
			t.Errorf("pids changed: %v → %v", before, now)
		}
		for i, s := range h.List() {
			if !s.Adopted || s.Restarts != 1 || s.State != StateRunning || s.LastExit.Code != 1 {
				t.Errorf("%d: %+v", i, s)
			}
		}
		// Each then ends, and its status is seen.
		for _, p := range h.rt.there {
			p.end(exited(p.identity.Pid))
		}
		synctest.Wait()
		for _, s := range h.List() {
			if s.State != StateBackoff || s.LastExit.Code != before[s.Name] {
				t.Errorf("%+v", s)
			}
		}
	})
}

// An instance that ended while no daemon was there counts as a failure of unknown kind.
func TestEndedUnseen(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		for _, mode := range []RestartMode{RestartAlways, RestartOnSuccess} {
			spec := h.spec(string(mode))
			spec.Restart.Mode = mode
			h.add(t, spec)
		}
		after(time.Second)
		h.Close()
		for _, p := range h.rt.there {
			p.end(exited(0))
		}
		h.open("boot")
		for _, mode := range []RestartMode{RestartAlways, RestartOnSuccess} {
			spec := h.spec(string(mode))
			spec.Restart.Mode = mode
			h.add(t, spec)
		}
		after(time.Second)
		s := h.want(t, "always", StateBackoff)
		if s.LastExit.Reason != ReasonUnknown || s.LastExit.Code != -1 {
			t.Errorf("last exit: %+v", s.LastExit)
		}
		h.want(t, "on-success", StateExited)
		if left := h.rt.leftovers(); len(left) != 0 {
			t.Errorf("left in the runtime: %v", left)
		}
	})
}

// A wait goes on where it was.
func TestBackoffSurvives(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.life = func(string) (time.Duration, ExitStatus) { return time.Second, exited(3) }
		h.add(t, h.spec("npd"))
		after(3 * time.Second)
		next := h.want(t, "npd", StateBackoff).NextStartAt
		h.Close()
		after(5 * time.Second)
		h.open("boot")
		h.add(t, h.spec("npd"))
		synctest.Wait()
		if s := h.want(t, "npd", StateBackoff); !s.NextStartAt.Equal(*next) {
			t.Errorf("next start moved from %s to %s", next, s.NextStartAt)
		}
	})
}

// A runtime that hangs for one container does not hold up the others, however few may start at once.
func TestHungRuntimeHarmsOnlyItsContainer(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		rt := &oneHangs{fakeRuntime: h.rt, names: "bad"}
		h.Supervisor = New(Config{Runtime: rt, Store: h.store, Output: fakeOutput{}, BootID: "boot", MaxStarts: 2, Rand: func() float64 { return 0 }})
		for i := range 6 {
			h.add(t, h.spec(fmt.Sprint("bad", i)))
		}
		for i := range 20 {
			h.add(t, h.spec(fmt.Sprint("good", i)))
		}
		after(10 * time.Second)
		if n := len(h.rt.living()); n != 20 {
			t.Errorf("%d of 20 good ones run after 10s", n)
		}
		after(27 * time.Second)
		s := h.want(t, "bad0", StateBackoff)
		if s.LastExit.Reason != ReasonStartFailed || !strings.Contains(s.Error, "took longer than 30s") {
			t.Errorf("bad one: %+v", s)
		}
		after(20 * time.Second)
		h.want(t, "bad0", StateStarting)
		begin := time.Now()
		if err := h.Stop(t.Context(), "bad0"); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d > 11*time.Second {
			t.Errorf("stopping a container with a hung runtime took %s", d)
		}
	})
}

// oneHangs is a runtime whose runs hang for some containers.
type oneHangs struct {
	*fakeRuntime
	names string
}

func (r *oneHangs) Run(ctx context.Context, req RunRequest) (Process, error) {
	if strings.HasPrefix(req.ID, r.names) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return r.fakeRuntime.Run(ctx, req)
}

func TestApply(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		h.add(t, h.spec("other"))
		after(time.Second)
		before := h.rt.living()
		apply := func(want Outcome, change func(*Spec)) {
			t.Helper()
			spec := h.spec("npd")
			change(spec)
			got, err := h.Apply(t.Context(), spec)
			if err != nil || got != want {
				t.Fatalf("%s, %v; want %s", got, err, want)
			}
			after(time.Second)
		}
		limit := int64(1 << 20)
		limits := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		apply(OutcomeUnchanged, func(*Spec) {})
		apply(OutcomeUpdated, func(s *Spec) { s.Restart.Delay = time.Hour })
		apply(OutcomeUpdated, func(s *Spec) { s.Resources = limits })
		apply(OutcomeUnchanged, func(s *Spec) { s.Resources = limits })
		if h.rt.updates["npd"] != 1 || h.rt.living()["npd"] != before["npd"] {
			t.Errorf("limits: %d updates, pid %d → %d", h.rt.updates["npd"], before["npd"], h.rt.living()["npd"])
		}
		apply(OutcomeRestarted, func(s *Spec) { s.Hash, s.Resources = "2", limits })
		if h.rt.living()["npd"] == before["npd"] || h.rt.runs["npd"] != 2 {
			t.Errorf("not replaced: %v", h.rt.living())
		}
		if h.rt.living()["other"] != before["other"] {
			t.Error("the other one was touched")
		}
		if err := h.Stop(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		apply(OutcomeChanged, func(s *Spec) { s.Hash = "3" })
		h.want(t, "npd", StateStopped)
	})
}

// A mended definition does not wait for the end of a delay, and a removed one ends its container.
func TestApplyInBackoffAndRemove(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.trouble, h.rt.faults = 1, []string{"fails"} })
		h.add(t, h.spec("npd"))
		after(10 * time.Minute)
		h.want(t, "npd", StateBackoff)
		h.rt.set(func() { h.rt.trouble = 0 })
		spec := h.spec("npd")
		spec.Hash = "2"
		h.want(t, "npd", StateBackoff)
		if got, err := h.Apply(t.Context(), spec); err != nil || got != OutcomeStarted {
			t.Fatal(got, err)
		}
		after(time.Second)
		h.want(t, "npd", StateRunning)
		if err := h.Remove(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Get("npd"); !errors.Is(err, ErrNoContainer) {
			t.Error("still there")
		}
		if len(h.rt.leftovers()) != 0 || len(h.store.records) != 0 {
			t.Errorf("left: %v, %v", h.rt.leftovers(), h.store.records)
		}
	})
}

// What ran with another definition than the one there is now is replaced after adoption.
func TestAdoptedWithOtherDefinition(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		pid := h.rt.living()["npd"]
		h.Close()
		h.open("boot")
		spec := h.spec("npd")
		spec.Hash = "2"
		if err := h.Add(t.Context(), spec, Installed{Hash: "1"}); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		h.want(t, "npd", StateRunning)
		if now := h.rt.living()["npd"]; now == pid {
			t.Error("the instance of the old definition runs on")
		}
	})
}

func TestRefusedDefinitionShows(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		if err := h.Refuse(t.Context(), "npd", "npd.yaml:7:3: unknown key"); err != nil {
			t.Fatal(err)
		}
		if s := h.want(t, "npd", StateRunning); s.Error != "npd.yaml:7:3: unknown key" {
			t.Errorf("error %q", s.Error)
		}
		if _, err := h.Apply(t.Context(), h.spec("npd")); err != nil {
			t.Fatal(err)
		}
		if s := h.want(t, "npd", StateRunning); s.Error != "" {
			t.Errorf("error %q after it was mended", s.Error)
		}
	})
}

// A full disk stops nothing, is told, and heals.
func TestRecordsCannotBeSaved(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.store.fail = true
		h.add(t, h.spec("npd"))
		after(time.Second)
		if s := h.want(t, "npd", StateRunning); !strings.Contains(s.Error, "no space left") {
			t.Errorf("error %q", s.Error)
		}
		if err := h.Stop(t.Context(), "npd"); err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("stop that cannot be remembered: %v", err)
		}
		h.want(t, "npd", StateStopped)
		h.store.mu.Lock()
		h.store.fail = false
		h.store.mu.Unlock()
		after(10 * time.Second)
		if s := h.want(t, "npd", StateStopped); s.Error != "" || !h.store.get("npd").StoppedByHand {
			t.Errorf("after the disk has space: %+v, %+v", s, h.store.get("npd"))
		}
	})
}

// The watchdog's question is answered only if every loop runs.
func TestPingNoticesAHungLoop(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		h.add(t, h.spec("other"))
		after(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := h.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		if _, err := h.send(ctx, "npd", hang(release)); err != nil {
			t.Fatal(err)
		}
		if err := h.Ping(ctx); err == nil || !strings.Contains(err.Error(), `"npd"`) {
			t.Errorf("a hung loop: %v", err)
		}
		if n := len(h.List()); n != 2 {
			t.Errorf("list says %d", n)
		}
		close(release)
	})
}

// hang is a command that blocks the loop.
type hang chan struct{}

func (h hang) do(*container) { <-h }

func TestKillAndReset(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		if err := h.Kill(t.Context(), "npd", syscall.SIGKILL, false); err != nil {
			t.Fatal(err)
		}
		s := h.want(t, "npd", StateBackoff)
		if s.LastExit.Reason != ReasonSignaled || s.LastExit.Signal != "KILL" {
			t.Errorf("%+v", s.LastExit)
		}
		var down *NotRunningError
		if err := h.Kill(t.Context(), "npd", syscall.SIGHUP, false); !errors.As(err, &down) {
			t.Errorf("kill of what does not run: %v", err)
		}
		after(16 * time.Second)
		if s := h.want(t, "npd", StateRunning); s.Restarts != 1 {
			t.Errorf("restarts %d", s.Restarts)
		}
		if err := h.ResetFailed(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if s := h.want(t, "npd", StateRunning); s.Restarts != 0 {
			t.Errorf("restarts %d after reset-failed", s.Restarts)
		}
		if err := h.Start(t.Context(), "nobody"); !errors.Is(err, ErrNoContainer) {
			t.Error(err)
		}
	})
}

func TestStartSaysWhyNot(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		spec := h.spec("npd")
		spec.Enabled = false
		spec.Restart.Limit = StartLimit{Burst: 2, Interval: time.Minute}
		h.add(t, spec)
		h.rt.set(func() { h.rt.trouble, h.rt.faults = 1, []string{"fails"} })
		h.want(t, "npd", StateStopped)
		err := h.Start(t.Context(), "npd")
		if err == nil || !strings.HasPrefix(err.Error(), `cannot start "npd": `) {
			t.Fatal(err)
		}
		_ = h.Start(t.Context(), "npd")
		var limit *StartLimitError
		if err := h.Start(t.Context(), "npd"); !errors.As(err, &limit) {
			t.Errorf("third start: %v", err)
		}
		h.want(t, "npd", StateFailed)
	})
}

// A daemon that is told to end while it still takes over containers ends those, too, and starts none.
func TestAddedDuringShutdown(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("runs"))
		after(time.Second)
		h.Close()
		h.open("boot")
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.add(t, h.spec("runs"))
		h.add(t, h.spec("new"))
		after(time.Minute)
		for _, name := range []string{"runs", "new"} {
			h.want(t, name, StateStopped)
		}
		if left := h.rt.leftovers(); len(left) != 0 || h.rt.runs["new"] != 0 {
			t.Errorf("left: %v, starts: %v", left, h.rt.runs)
		}
		if err := h.Start(t.Context(), "new"); !errors.Is(err, ErrClosed) {
			t.Errorf("start during shutdown: %v", err)
		}
	})
}
