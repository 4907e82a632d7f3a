package supervisor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What could not be removed of a container at rest is removed as soon as that works.
func TestRemovesLaterWhatCouldNotBeRemoved(t *testing.T) {
	for name, life := range map[string]ExitStatus{"exited": exited(0), "failed": {}} {
		world(t, func(t *testing.T, h *house) {
			spec := h.spec(name)
			spec.Restart.Mode = RestartNo
			if life.Known {
				h.rt.life = func(string) (time.Duration, ExitStatus) { return time.Second, life }
				h.add(t, spec)
				after(500 * time.Millisecond)
				h.setTrouble(1, "fails")
			} else {
				h.setTrouble(1, "fails late")
				h.add(t, spec)
			}
			after(8 * time.Second)
			if !h.rt.Exists(name) && life.Known {
				t.Fatal("the test is wrong: it was removed")
			}
			h.setTrouble(0)
			after(time.Minute)
			h.want(t, name, State(name))
			if h.rt.Exists(name) {
				t.Errorf("%s: it is still there", name)
			}
		})
	}
}

// Only starts within the interval count for the limit.
func TestStartLimitForgets(t *testing.T) {
	m := newTestMachine()
	m.policy.Limit = StartLimit{Burst: 2, Interval: time.Minute}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.step(event{kind: evStart, now: now})
	for range 5 {
		now = now.Add(40 * time.Second)
		m.step(event{kind: evStartFailed, gen: m.gen, now: now, clean: true, err: errors.New("no")})
		if m.step(event{kind: evTimer, timer: m.timer, now: now}); m.state != StateStarting {
			t.Fatalf("two starts within a minute are allowed: %s, %v", m.state, m.err)
		}
	}
}

// Restart answers when the new instance runs, and begins to count anew.
func TestRestartByHand(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		lives := 1
		h.rt.life = func(string) (time.Duration, ExitStatus) {
			if lives--; lives >= 0 {
				return time.Second, exited(1)
			}
			return 0, ExitStatus{}
		}
		h.add(t, h.spec("npd"))
		after(time.Minute)
		if s := h.want(t, "npd", StateRunning); s.Restarts != 1 {
			t.Fatalf("%+v", s)
		}
		h.Close()
		h.open("boot")
		h.add(t, h.spec("npd"))
		before := h.want(t, "npd", StateRunning)
		h.rt.set(func() { h.rt.stubborn = true })
		if err := h.Restart(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		s, err := h.Get("npd")
		if err != nil || s.State != StateRunning || s.Pid == before.Pid || s.Restarts != 0 || s.Adopted {
			t.Errorf("restart answered at %+v, %v", s, err)
		}
	})
}

// Ready is not said before the first start came to an end.
func TestSettled(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("npd"))
		after(20 * time.Millisecond)
		if h.Settled() {
			t.Error("settled during the first start")
		}
		after(time.Second)
		if !h.Settled() {
			t.Error("not settled")
		}
	})
}

// Shutdown waits for the removal of what has just ended by itself.
func TestShutdownRightAfterAnEnd(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.life = func(string) (time.Duration, ExitStatus) { return time.Second, exited(0) }
		spec := h.spec("npd")
		spec.Restart.Mode = RestartNo
		h.add(t, spec)
		after(1060 * time.Millisecond) // it ran from 50 ms on, and its remove takes 50 ms
		h.want(t, "npd", StateExited)
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := h.rt.leftovers(); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1, time.Minute)
		take := func(want time.Duration) func(bool) {
			t.Helper()
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
			defer cancel()
			release, err := s.Acquire(ctx)
			if d := time.Since(begin); err != nil || d != want {
				t.Fatalf("a slot after %s (%v), want %s", d, err, want)
			}
			return release
		}
		take(0)(true)
		hung := take(0)
		second := take(time.Minute) // the lease of the one that hangs is over
		hung(false)                 // gives back nothing that is not its own
		take(time.Minute)(true)
		second(false)

		// Where the work takes ten minutes, the lease is four times that: the bound holds on a slow machine.
		slow := take(0)
		<-time.After(10 * time.Minute)
		slow(true)
		slow = take(0)
		next := take(40 * time.Minute)
		slow(false)
		next(false)

		// Not more than four may hang beside the one slot.
		var all []func(bool)
		all = append(all, take(0))
		for range 4 {
			all = append(all, take(40*time.Minute))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour)
		defer cancel()
		if _, err := s.Acquire(ctx); err == nil {
			t.Error("a sixth beside five that hang")
		}
		for _, release := range all {
			release(false)
		}
		take(0)(true)
	})
}

// Once a shutdown has begun nothing is started any more: not by hand, not by a changed definition. And it is no intent: the
// next daemon starts what ran.
func TestNothingStartsDuringShutdown(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.stubborn = true })
		h.add(t, h.spec("runs"))
		failed := h.spec("failed")
		failed.Restart.Mode = RestartNo
		after(time.Second)
		h.setTrouble(1, "fails")
		h.add(t, failed)
		after(100 * time.Millisecond)
		h.setTrouble(0)
		after(time.Minute)
		h.want(t, "failed", StateFailed)
		down := begin(func() error { return h.Shutdown(t.Context()) })
		for _, name := range []string{"runs", "failed"} {
			if err := h.Start(t.Context(), name); !errors.Is(err, ErrClosed) {
				t.Errorf("start of %s: %v", name, err)
			}
			mended := h.spec(name)
			mended.Hash = "2"
			if _, err := h.Apply(t.Context(), mended); err != nil {
				t.Error(err)
			}
		}
		if err := <-down; err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if n := h.rt.living(); len(n) != 0 || h.rt.runs["runs"] != 1 || h.rt.runs["failed"] != 0 {
			t.Errorf("living %v, starts %v", n, h.rt.runs)
		}
		h.Close()
		h.open("boot")
		h.add(t, h.spec("runs"))
		after(time.Second)
		h.want(t, "runs", StateRunning)
	})
}

// With no time to end in, the stop signal is not sent at all.
func TestStopTimeoutOfZero(t *testing.T) {
	m := newTestMachine()
	m.stop.Timeout = 0
	m.step(event{kind: evStart})
	m.step(event{kind: evStarted, gen: m.gen})
	if got := actionsText(m.step(event{kind: evStop})); got != "kill-all set-timer(5s)" {
		t.Errorf("%q", got)
	}
}

// A start by hand, and a mended definition, forget the delays; the latter forgets the start limit, too.
func TestDelaysBeginAnew(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.setTrouble(1, "fails")
		h.add(t, h.spec("npd"))
		limited := h.spec("limited")
		limited.Restart.Limit = StartLimit{Burst: 3, Interval: 24 * time.Hour}
		h.add(t, limited)
		delay := func() time.Duration {
			t.Helper()
			s := h.want(t, "npd", StateBackoff)
			return s.NextStartAt.Sub(s.LastExit.At)
		}
		after(time.Hour + 7*time.Second)
		h.want(t, "limited", StateFailed)
		if d := delay(); d != 5*time.Minute {
			t.Fatalf("after an hour: %s", d)
		}
		_ = h.Start(t.Context(), "npd")
		if d := delay(); d != 15*time.Second {
			t.Errorf("after a start by hand: %s", d)
		}
		after(time.Hour + 7*time.Second)
		for _, name := range []string{"npd", "limited"} {
			mended := h.spec(name)
			mended.Hash, mended.Restart = "2", h.spec(name).Restart
			if name == "limited" {
				mended.Restart = limited.Restart
			}
			if out, err := h.Apply(t.Context(), mended); err != nil || out != OutcomeStarted {
				t.Fatal(out, err)
			}
		}
		after(time.Second)
		if d := delay(); d != 15*time.Second {
			t.Errorf("after the definition was mended: %s", d)
		}
		h.want(t, "limited", StateBackoff)
	})
}

// A start that waits for its turn is given up at once.
func TestStopOfWhatWaitsForItsTurn(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		rt := &oneHangs{fakeRuntime: h.rt, names: "bad"}
		h.with(rt, h.store, 1)
		h.add(t, h.spec("bad"))
		synctest.Wait()
		h.add(t, h.spec("npd"))
		synctest.Wait()
		h.want(t, "npd", StateStarting)
		begun := time.Now()
		if err := h.Stop(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d > time.Second || h.rt.runs["npd"] != 0 {
			t.Errorf("stopped after %s, %d starts", d, h.rt.runs["npd"])
		}
	})
}

// The error of a failed start goes when a start succeeds.
func TestErrorGoes(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.setTrouble(1, "fails")
		h.add(t, h.spec("npd"))
		after(time.Second)
		if s := h.want(t, "npd", StateBackoff); s.Error == "" {
			t.Error("no error")
		}
		h.setTrouble(0)
		after(time.Minute)
		if s := h.want(t, "npd", StateRunning); s.Error != "" {
			t.Errorf("error %q", s.Error)
		}
	})
}
