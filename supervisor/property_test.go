package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// move is one thing that somebody does to the supervisor in a random schedule.
type move struct {
	What  string
	Name  string
	Pause time.Duration // after it
	Seed  uint64
}

var moves = []string{"start", "stop", "restart", "change", "limits", "kill", "reset-failed", "crash", "leave", "wait", "remove"}

// Random schedules of commands, exits, crashes of the daemon and changes of definitions, over a runtime that fails,
// hangs and races:
//   - never two live instances of one container, never two calls at once for one (the fake runtime tells);
//   - a stop always wins; a crash of the daemon costs no instance;
//   - when the trouble is over, everything comes to rest in the state that was asked for, and nothing is left behind.
func TestRandomSchedules(t *testing.T) {
	names := []string{"a", "b", "c"}
	schedule := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
		return move{
			What: rapid.SampledFrom(moves).Draw(t, "what"), Name: rapid.SampledFrom(names).Draw(t, "name"),
			Pause: time.Duration(rapid.SampledFrom([]int{0, 1, 20, 60, 1000, 40000}).Draw(t, "ms")) * time.Millisecond,
			Seed:  rapid.Uint64().Draw(t, "seed"),
		}
	}), 1, 25)
	rapid.Check(t, func(rt *rapid.T) {
		plan := schedule.Draw(rt, "schedule")
		seed := rapid.Uint64().Draw(rt, "world")
		trouble := rapid.SampledFrom([]float64{0, 0.1, 0.5, 0.9}).Draw(rt, "trouble")
		var fault string
		synctest.Test(t, func(t *testing.T) { fault = play(t, plan, names, seed, trouble) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// play runs a schedule and returns what went wrong.
func play(t *testing.T, plan []move, names []string, seed uint64, trouble float64) (fault string) {
	h := newHouse(seed)
	lives := rand.New(rand.NewPCG(seed, 2))
	h.rt.trouble, h.rt.stubborn, h.rt.keeps = trouble, seed%2 == 0, seed%3 != 0
	calm := false
	h.rt.life = func(string) (time.Duration, ExitStatus) {
		if calm || lives.IntN(2) == 0 {
			return 0, ExitStatus{}
		}
		return time.Duration(lives.IntN(30000)) * time.Millisecond, exited(lives.IntN(3))
	}
	// What users asked for last.
	up := map[string]bool{}
	specs := map[string]*Spec{}
	installed := map[string]Installed{}
	add := func(name string) {
		if err := h.Add(t.Context(), specs[name], installed[name]); err != nil {
			fault = err.Error()
		}
		installed[name] = Installed{Hash: specs[name].Hash, Spec: specs[name]}
	}
	for _, n := range names {
		specs[n], up[n] = h.spec(n), true
		add(n)
	}
	var pending []chan struct{}
	async := func(f func(ctx context.Context)) {
		done := make(chan struct{})
		pending = append(pending, done)
		go func() { defer close(done); f(t.Context()) }()
	}
	for _, m := range plan {
		sup, name := h.Supervisor, m.Name
		if _, there := specs[name]; !there && m.What != "crash" && m.What != "leave" {
			specs[name], up[name] = h.spec(name), true
			add(name)
			continue
		}
		switch m.What {
		case "start":
			up[name] = true
			async(func(ctx context.Context) { _ = sup.Start(ctx, name) })
		case "restart":
			up[name] = true
			async(func(ctx context.Context) { _ = sup.Restart(ctx, name) })
		case "stop":
			up[name] = false
			async(func(ctx context.Context) { _ = sup.Stop(ctx, name) })
		case "change":
			s := *specs[name]
			s.Hash = fmt.Sprint(m.Seed)
			specs[name] = &s
			installed[name] = Installed{Hash: s.Hash, Spec: &s}
			async(func(ctx context.Context) { _, _ = sup.Apply(ctx, &s) })
		case "limits":
			s := *specs[name]
			s.Resources = memoryLimit(int64(m.Seed >> 1))
			specs[name] = &s
			async(func(ctx context.Context) { _, _ = sup.Apply(ctx, &s) })
		case "kill":
			async(func(ctx context.Context) { _ = sup.Kill(ctx, name, 9, m.Seed%2 == 0) })
		case "reset-failed":
			async(func(ctx context.Context) { _ = sup.ResetFailed(ctx, name) })
		case "remove":
			delete(specs, name)
			async(func(ctx context.Context) { _ = sup.Remove(ctx, name) })
			for _, d := range pending {
				<-d
			}
			delete(installed, name)
		case "crash", "leave":
			synctest.Wait() // commands have reached their loops: what a user was told about is not lost
			before := h.rt.living()
			if m.What == "leave" {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				_, _ = h.Hold(ctx)
				cancel()
			}
			h.Close()
			if lost := h.lost(); len(lost) > 0 {
				fault = fmt.Sprintf("heard how it ended and told nobody: %v", lost)
			}
			for _, d := range pending {
				<-d
			}
			pending = nil
			after := h.rt.living()
			for n, pid := range before {
				if other, there := after[n]; there && other != pid {
					fault = fmt.Sprintf("the end of the daemon replaced %s", n)
				}
			}
			h.open("boot")
			for n := range specs {
				add(n)
			}
		}
		synctest.Wait()
		pause(m.Pause)
	}
	// Peace: everything must come to rest.
	h.rt.set(func() { h.rt.trouble, h.rt.stubborn, calm = 0, false, true })
	<-time.After(2 * time.Hour)
	for _, d := range pending {
		<-d
	}
	synctest.Wait()
	living := h.rt.living()
	for name := range specs {
		s, err := h.Get(name)
		record := h.store.get(name)
		switch {
		case err != nil:
			fault = err.Error()
		case record.StoppedByHand == (s.State == StateRunning):
			fault = fmt.Sprintf("%s: stopped by hand %v, and %s", name, record.StoppedByHand, s.State)
		case up[name] != (s.State == StateRunning):
			fault = fmt.Sprintf("%s: wanted up %v, and %s (%s)", name, up[name], s.State, s.Error)
		case (s.State == StateRunning) != (living[name] != 0) || s.Pid != living[name]:
			fault = fmt.Sprintf("%s is %s with pid %d, the runtime has %v", name, s.State, s.Pid, living)
		case s.State == StateStopped && h.rt.Exists(name):
			fault = fmt.Sprintf("%s is stopped and left something behind", name)
		}
		delete(living, name)
	}
	if len(living) != 0 {
		fault = fmt.Sprintf("unsupervised: %v", living)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		fault = err.Error()
	}
	if left := h.rt.leftovers(); len(left) != 0 {
		fault = fmt.Sprintf("left after shutdown: %v", left)
	}
	h.Close()
	if len(h.rt.breaches) != 0 {
		fault = fmt.Sprint(h.rt.breaches)
	}
	return fault
}
