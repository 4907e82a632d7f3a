package supervisor

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// slowFind is a runtime whose finds hang until released.
type slowFind struct {
	*fakeRuntime
	free chan struct{}
}

func (r *slowFind) Find(ctx context.Context, id string, known *Identity) (Process, error) {
	select {
	case <-r.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return r.fakeRuntime.Find(ctx, id, known)
}

func (h *house) reopen(rt Runtime, boot string) {
	h.Close()
	h.Supervisor = New(Config{Runtime: rt, Store: h.store, Output: fakeOutput{}, BootID: boot, MaxStarts: 4, Rand: func() float64 { return 0 }})
}

// A changed definition does not start a container that is disabled (or exited), also while it is still being found out what runs.
func TestApplyDuringFindStartsDisabled(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		off := func(hash string) *Spec { s := h.spec("npd"); s.Enabled = false; s.Hash = hash; return s }
		slow := &slowFind{h.rt, make(chan struct{})}
		h.rt.there["npd"] = &fakeProcess{r: h.rt, id: "npd", ended: make(chan struct{})}
		h.rt.there["npd"].end(exited(0)) // something is left, so the runtime is asked
		h.reopen(slow, "boot")
		h.add(t, off("1"))
		if _, err := h.Apply(t.Context(), off("2")); err != nil {
			t.Fatal(err)
		}
		close(slow.free)
		after(time.Minute)
		h.want(t, "npd", StateStopped)
		if h.rt.runs["npd"] != 0 {
			t.Error("started")
		}
	})
}

// a disabled container whose find is interrupted by the end of the daemon is not started by the next one.
func TestDisabledStartedAfterCrashDuringFind(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		off := func() *Spec { s := h.spec("npd"); s.Enabled = false; return s }
		slow := &slowFind{h.rt, make(chan struct{})}
		h.rt.there["npd"] = &fakeProcess{r: h.rt, id: "npd", ended: make(chan struct{})}
		h.rt.there["npd"].end(exited(0))
		h.reopen(slow, "boot")
		h.add(t, off())
		if err := h.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.reopen(h.rt, "boot")
		h.add(t, off())
		after(time.Minute)
		h.want(t, "npd", StateStopped)
		if h.rt.runs["npd"] != 0 {
			t.Error("a disabled container was started")
		}
	})
}

// limits changed while the instance happens to end are taken over, not refused.
func TestLimitsRefusedBecauseInstanceEnded(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.life = func(string) (time.Duration, ExitStatus) { return time.Second, exited(1) }
		h.add(t, h.spec("npd"))
		after(1030 * time.Millisecond) // 50ms start; ends at 1.05s
		h.want(t, "npd", StateRunning)
		spec := h.spec("npd")
		spec.Resources = memoryLimit(1 << 20)
		out, err := h.Apply(t.Context(), spec)
		if err != nil {
			t.Errorf("refused: %v (%s)", err, out)
		}
		after(time.Minute)
	})
}

// enable and disable win over the file only until it says the same.
func TestOverrideOutlivesAgreement(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(time.Second)
		if err := h.SetEnabled(t.Context(), "npd", false); err != nil {
			t.Fatal(err)
		}
		for _, enabled := range []bool{false, true} {
			spec := h.spec("npd")
			spec.Enabled = enabled
			if _, err := h.Apply(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		}
		if s := h.want(t, "npd", StateRunning); !s.Enabled {
			t.Error("the file said disabled, then enabled: still disabled by an override that had been agreed to")
		}
	})
}

// a file that is enabled and otherwise changed in one edit starts its container.
func TestEnabledTogetherWithAnotherChange(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		spec := h.spec("npd")
		spec.Enabled = false
		h.add(t, spec)
		h.want(t, "npd", StateStopped)
		spec = h.spec("npd")
		spec.Hash = "2"
		out, err := h.Apply(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if out != OutcomeStarted {
			t.Errorf("outcome %s", out)
		}
		after(time.Second)
		h.want(t, "npd", StateRunning)
	})
}

// changing a running container's definition does not run it into its start limit.
func TestReplaceHitsStartLimit(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		make := func(hash string) *Spec {
			s := h.spec("npd")
			s.Hash = hash
			s.Restart.Limit = StartLimit{Burst: 3, Interval: 10 * time.Minute}
			return s
		}
		h.add(t, make("0"))
		for _, hash := range []string{"1", "2", "3"} {
			after(time.Second)
			if _, err := h.Apply(t.Context(), make(hash)); err != nil {
				t.Fatal(err)
			}
		}
		after(time.Second)
		h.want(t, "npd", StateRunning)
	})
}

// a shutdown that says all is down has left nothing, also of a container that was at rest.
func TestShutdownLeavesWhatCouldNotBeRemoved(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		spec := h.spec("npd")
		spec.Restart.Mode = RestartNo
		h.rt.life = func(string) (time.Duration, ExitStatus) { return time.Second, exited(0) }
		h.add(t, spec)
		after(500 * time.Millisecond)
		h.rt.set(func() { h.rt.trouble, h.rt.faults = 1, []string{"fails"} })
		after(time.Second)
		h.want(t, "npd", StateExited)
		healed := time.AfterFunc(time.Second, func() { h.rt.mu.Lock(); h.rt.trouble = 0; h.rt.mu.Unlock() })
		defer healed.Stop()
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := h.rt.leftovers(); len(left) != 0 {
			t.Errorf("shutdown returned and left %v", left)
		}
	})
}

// the same for a removed definition of a stopped one.
func TestRemoveLeaves(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.there["npd"] = &fakeProcess{r: h.rt, id: "npd", ended: make(chan struct{})}
		h.rt.there["npd"].end(exited(0))
		spec := h.spec("npd")
		spec.Enabled = false
		rt := &failRemove{fakeRuntime: h.rt, fails: 1}
		h.reopen(rt, "boot")
		h.add(t, spec)
		after(time.Second)
		h.want(t, "npd", StateStopped)
		if err := h.Remove(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if left := h.rt.leftovers(); len(left) != 0 {
			t.Errorf("remove returned and left %v", left)
		}
	})
}

type failRemove struct {
	*fakeRuntime
	fails int
}

func (r *failRemove) Remove(ctx context.Context, id string) error {
	if r.fails > 0 {
		r.fails--
		return errFake
	}
	return r.fakeRuntime.Remove(ctx, id)
}

// copies of secrets go when a start fails after Install.
type countBundle struct {
	fakeBundle
	installed *bool
}

func (b countBundle) Install(context.Context) (string, error) {
	*b.installed = true
	return b.path, nil
}
func (b countBundle) Released() error { *b.installed = false; return nil }

type noOutput struct{}

func (noOutput) Ended(string) {}

func (noOutput) Open(string) (stdout, stderr *os.File, err error) {
	return nil, nil, errors.New("no space")
}

func TestSecretsStayWhenOutputFails(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.Close()
		h.Supervisor = New(Config{Runtime: h.rt, Store: h.store, Output: noOutput{}, BootID: "boot", MaxStarts: 4})
		spec := h.spec("npd")
		var there bool
		spec.Bundle = countBundle{fakeBundle{"/b"}, &there}
		h.add(t, spec)
		after(time.Second)
		h.want(t, "npd", StateBackoff)
		if err := h.Stop(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if there {
			t.Error("what Install made for the instance is still there after a stop")
		}
	})
}

// a failed container whose definition was mended while no daemon was there is started by the next one.
func TestFailedStaysFailedAfterMend(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		spec := h.spec("npd")
		spec.Restart.Mode = RestartNo
		h.rt.set(func() { h.rt.trouble, h.rt.faults = 1, []string{"fails"} })
		h.add(t, spec)
		after(time.Minute)
		h.want(t, "npd", StateFailed)
		h.rt.set(func() { h.rt.trouble = 0 })
		h.Close()
		h.open("boot")
		mended := h.spec("npd")
		mended.Restart.Mode = RestartNo
		mended.Hash = "2"
		if err := h.Add(t.Context(), mended, Installed{Hash: "1"}); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		h.want(t, "npd", StateRunning)
	})
}

// A record that cannot be read is told.
type badStore struct{ *fakeStore }

func (badStore) Load(string) (Record, error) {
	return Record{}, errors.New("written by a newer runcsup")
}

func TestUnreadableRecordIsTold(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.Close()
		var told []error
		h.Supervisor = New(Config{Runtime: h.rt, Store: badStore{h.store}, Output: fakeOutput{}, BootID: "boot", MaxStarts: 4,
			OnEvent: func(e Event) {
				if e.Type == EventError {
					told = append(told, e.Err)
				}
			}})
		h.add(t, h.spec("npd"))
		after(time.Second)
		if s := h.want(t, "npd", StateRunning); s.Error == "" && len(told) == 0 {
			t.Errorf("nobody was told: %+v", s)
		}
	})
}

// an enabled: true that comes during the find starts the container
func TestEnableDuringFind(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		off := h.spec("npd")
		off.Enabled = false
		slow := &slowFind{h.rt, make(chan struct{})}
		h.rt.there["npd"] = &fakeProcess{r: h.rt, id: "npd", ended: make(chan struct{})}
		h.rt.there["npd"].end(exited(0))
		h.reopen(slow, "boot")
		h.add(t, off)
		if _, err := h.Apply(t.Context(), h.spec("npd")); err != nil {
			t.Fatal(err)
		}
		close(slow.free)
		after(time.Minute)
		h.want(t, "npd", StateRunning)
	})
}

// ended unseen after a long run: the delay begins anew
func TestUnseenEndKeepsAttempt(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		n := 0
		h.rt.life = func(string) (time.Duration, ExitStatus) {
			if n++; n <= 5 {
				return time.Second, exited(1)
			}
			return 0, ExitStatus{}
		}
		h.add(t, h.spec("npd"))
		after(time.Hour)
		h.want(t, "npd", StateRunning)
		after(24 * time.Hour)
		h.Close()
		for _, p := range h.rt.there {
			p.end(exited(1))
		}
		h.open("boot")
		h.add(t, h.spec("npd"))
		after(time.Second)
		s := h.want(t, "npd", StateBackoff)
		if d := s.NextStartAt.Sub(s.LastExit.At); d != 15*time.Second {
			t.Errorf("after a day's run, next start after %s", d)
		}
	})
}

// Starts that a clock which was set back puts in the future do not count for the limit.
func TestStartsInTheFuture(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		spec := func() *Spec {
			s := h.spec("npd")
			s.Restart.Limit = StartLimit{Burst: 2, Interval: time.Minute}
			return s
		}
		future := time.Now().Add(1000 * time.Hour)
		h.store.records["npd"] = Record{Version: 1, BootID: "boot", State: StateStopped, Starts: []time.Time{future, future}}
		h.add(t, spec())
		after(time.Second)
		h.want(t, "npd", StateRunning)
	})
}
