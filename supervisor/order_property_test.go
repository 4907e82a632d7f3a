package supervisor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// town is a random graph of containers, its world, and what is known of both from outside the supervisor.
type town struct {
	*house
	mu     sync.Mutex // guards specs
	specs  map[string]*Spec
	oracle *oracle
	faults []string
}

// oracle is a Monitor that makes up how instances are, and knows since when each is up.
type oracle struct {
	mu    sync.Mutex
	rng   *rand.Rand
	calm  bool
	note  func(name string)
	wg    sync.WaitGroup
	ready map[Identity]bool
	// lastUp is when a container was last seen to be up.
	lastUp map[string]time.Time
}

func (o *oracle) Watch(in Instance, report func(Report)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	o.mu.Lock()
	o.ready[in.Identity] = in.Ready
	o.mu.Unlock()
	o.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			o.mu.Lock()
			r := Report{Health: HealthHealthy, Ready: o.calm || o.rng.IntN(3) == 0}
			if !o.calm && o.rng.IntN(8) == 0 {
				r = Report{Health: HealthUnhealthy, Unhealthy: "so it is said"}
			}
			o.mu.Unlock()
			o.note(in.Spec.Name) // it may have been up
			o.mu.Lock()
			o.ready[in.Identity] = r.Ready
			o.mu.Unlock()
			report(r)
		}
	})
	return cancel
}

// up tells, from what the runtime and the oracle know, whether a container is up or was a moment ago.
func (w *town) up(name string, tolerance time.Duration) bool {
	w.note(name)
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	last, ever := w.oracle.lastUp[name]
	return ever && time.Since(last) <= tolerance
}

func (w *town) specOf(name string) *Spec {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.specs[name]
}

// note remembers that a container is up now, if it is.
func (w *town) note(name string) {
	spec := w.specOf(name)
	w.rt.mu.Lock()
	p := w.rt.there[name]
	alive := p != nil && p.alive()
	w.rt.mu.Unlock()
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	up := alive && (!spec.Ready.gated() || w.oracle.ready[p.identity])
	if spec.Oneshot {
		s, err := w.Get(name)
		up = err == nil && s.State == StateExited && s.LastExit.Code == 0
	}
	if up {
		w.oracle.lastUp[name] = time.Now()
	}
}

// Random graphs of containers, of which some are tasks and some have to become ready, with random failures, hangs, ends,
// stops, changed orders and killed daemons:
//   - none starts before what it requires is up;
//   - never two live instances of one, never two calls at once for one (the fake runtime tells);
//   - when the trouble is over all come to rest: up where that is wanted, and down where it was stopped;
//   - a shutdown ends, and ends each after those that need it.
func TestRandomGraphs(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(rt *rapid.T) {
		orders := map[string]Order{}
		for i, n := range names { // each may name those before it: no cycles
			some := func(what string) []string {
				if i == 0 {
					return nil
				}
				return rapid.SliceOfNDistinct(rapid.SampledFrom(names[:i]), 0, 2, rapid.ID[string]).Draw(rt, what)
			}
			orders[n] = Order{After: some("after"), Requires: some("requires"), BindsTo: some("bindsTo")}
		}
		plan := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
			return move{
				What:  rapid.SampledFrom([]string{"start", "stop", "stop", "restart", "kill", "change", "reorder", "crash", "wait", "reset-failed"}).Draw(t, "what"),
				Name:  rapid.SampledFrom(names).Draw(t, "name"),
				Pause: time.Duration(rapid.SampledFrom([]int{0, 1, 20, 60, 1000, 5000, 40000}).Draw(t, "ms")) * time.Millisecond,
				Seed:  rapid.Uint64().Draw(t, "seed"),
			}
		}), 1, 25).Draw(rt, "schedule")
		seed := rapid.Uint64().Draw(rt, "world")
		trouble := rapid.SampledFrom([]float64{0, 0, 0.2, 0.7}).Draw(rt, "trouble")
		var faults []string
		synctest.Test(t, func(t *testing.T) { faults = playGraph(t, names, orders, plan, seed, trouble) })
		if len(faults) > 0 {
			rt.Fatalf("%q\norders %+v", faults, orders)
		}
	})
}

func playGraph(t *testing.T, names []string, orders map[string]Order, plan []move, seed uint64, trouble float64) []string {
	w := &town{house: newHouse(seed), specs: map[string]*Spec{}}
	w.oracle = &oracle{rng: rand.New(rand.NewPCG(seed, 3)), ready: map[Identity]bool{}, lastUp: map[string]time.Time{}}
	w.oracle.note = w.note
	fault := func(format string, args ...any) { w.faults = append(w.faults, fmt.Sprintf(format, args...)) }
	w.Close()
	w.reopen()
	lives := rand.New(rand.NewPCG(seed, 2))
	w.rt.trouble, w.rt.stubborn = trouble, seed%2 == 0
	calm := false
	w.rt.life = func(name string) (time.Duration, ExitStatus) {
		switch oneshot := w.specOf(name).Oneshot; {
		case oneshot && (calm || lives.IntN(2) == 0):
			return time.Second, exited(0)
		case oneshot:
			return time.Second, exited(1)
		case calm || lives.IntN(2) == 0:
			return 0, ExitStatus{}
		}
		return time.Duration(1+lives.IntN(30000)) * time.Millisecond, exited(lives.IntN(3))
	}
	kinds := rand.New(rand.NewPCG(seed, 4))
	wanted := map[string]bool{}
	for _, n := range names {
		s := w.ordered(n, orders[n])
		s.Restart.Delay, s.Restart.MaxDelay = time.Second, 10*time.Second
		switch kinds.IntN(4) {
		case 0:
			s.Oneshot, s.Restart.Mode = true, RestartOnFailure
		case 1:
			s.Ready = ReadyPolicy{On: ReadyProbe, Timeout: 20 * time.Second}
		}
		w.specs[n], wanted[n] = s, true
	}
	// What a start is based on may end between the decision and the call, which waits for what is left of the instance
	// before and for its turn. In a peaceful world that takes the time of one call.
	tolerance := 200 * time.Millisecond
	if trouble > 0 {
		tolerance = 2 * time.Minute
	}
	changed := map[string]time.Time{} // guarded by w.mu; a start may have been decided on by the order before
	w.rt.onRun = func(id string) {
		w.mu.Lock()
		at, ever := changed[id]
		w.mu.Unlock()
		if ever && time.Since(at) <= tolerance {
			return
		}
		for _, needed := range w.specOf(id).Order.Needs() {
			if !w.up(needed, tolerance) {
				w.rt.mu.Lock()
				w.rt.breach("%s starts, and %s is not up", id, needed)
				w.rt.mu.Unlock()
			}
		}
	}
	w.rt.onEnd = w.note
	add := func() {
		w.Expect(names...)
		for _, n := range slices.Backward(names) { // the needed ones last
			if err := w.Add(t.Context(), w.specs[n], Installed{Hash: w.specs[n].Hash, Spec: w.specs[n]}); err != nil {
				fault("add %s: %v", n, err)
			}
		}
	}
	add()
	var pending []chan struct{}
	async := func(f func(ctx context.Context)) {
		done := make(chan struct{})
		pending = append(pending, done)
		go func() { defer close(done); f(t.Context()) }()
	}
	settle := func() {
		for _, d := range pending {
			<-d
		}
		pending = nil
	}
	graph := func() Graph {
		g := Graph{}
		for n, s := range w.specs {
			g[n] = s.Order
		}
		return g
	}
	for _, m := range plan {
		synctest.Wait()
		for _, n := range names {
			w.note(n)
		}
		sup, name := w.Supervisor, m.Name
		switch m.What {
		case "start", "restart":
			for _, n := range append(graph().Needed(name), name) {
				wanted[n] = true
			}
			async(func(ctx context.Context) {
				if m.What == "start" {
					_ = sup.Start(ctx, name)
				} else {
					_ = sup.Restart(ctx, name)
				}
			})
		case "stop":
			wanted[name] = false
			for _, n := range graph().Dependents(name) {
				if s, err := w.Get(n); err == nil && s.State != StateStopped && s.State != StateFailed && (s.State != StateExited || s.Ready) {
					wanted[n] = false
				}
			}
			async(func(ctx context.Context) { _ = sup.Stop(ctx, name) })
		case "kill":
			async(func(ctx context.Context) { _ = sup.Kill(ctx, name, 9, m.Seed%2 == 0) })
		case "reset-failed":
			async(func(ctx context.Context) { _ = sup.ResetFailed(ctx, name) })
		case "change", "reorder":
			s := *w.specs[name]
			if s.Hash = fmt.Sprint(m.Seed); m.What == "reorder" {
				s.Hash, s.Order = w.specs[name].Hash, orders[names[m.Seed%uint64(len(names))]]
			}
			g := graph()
			g[name] = s.Order
			if cyclic := g.Cycle(name) != nil; cyclic {
				if _, err := sup.Apply(t.Context(), &s); err == nil {
					fault("a cycle was taken")
				}
				continue
			}
			w.mu.Lock()
			if w.specs[name] = &s; m.What == "reorder" {
				changed[name] = time.Now()
			}
			w.mu.Unlock()
			async(func(ctx context.Context) { _, _ = sup.Apply(ctx, &s) })
		case "crash":
			synctest.Wait()
			before := w.rt.living()
			w.Close()
			settle()
			w.oracle.wg.Wait()
			after := w.rt.living()
			for n, pid := range before {
				if other, there := after[n]; there && other != pid {
					fault("the end of the daemon replaced %s", n)
				}
			}
			w.reopen()
			add()
		}
		synctest.Wait()
		pause(m.Pause)
	}
	w.rt.set(func() { w.rt.trouble, w.rt.stubborn, calm = 0, false, true })
	w.oracle.mu.Lock()
	w.oracle.calm = true
	w.oracle.mu.Unlock()
	<-time.After(10 * time.Minute)
	settle()
	synctest.Wait()
	g := graph()
	for _, n := range names {
		s, err := w.Get(n)
		if err != nil {
			fault("%v", err)
			continue
		}
		missing := slices.ContainsFunc(g.Needed(n), func(other string) bool { return !wanted[other] })
		up := s.Ready && (s.State == StateRunning || s.State == StateExited)
		switch {
		case !wanted[n] && s.State != StateStopped:
			fault("%s is stopped, and %s", n, s.State)
		case wanted[n] && missing && !up && (s.State != StateWaiting || s.Error == ""):
			fault("%s lacks what it needs, and is %s: %q", n, s.State, s.Error)
		case wanted[n] && !missing && !up:
			fault("%s is wanted, and %s for %v: %q", n, s.State, s.WaitingFor, s.Error)
		case w.store.get(n).StoppedByHand == wanted[n]:
			fault("%s is wanted %v, and remembered as stopped %v", n, wanted[n], !wanted[n])
		}
	}
	alive := w.rt.living()
	w.wrote()
	if err := w.Shutdown(t.Context()); err != nil {
		fault("shutdown: %v", err)
	}
	w.wroteInReverse(g, alive, fault)
	if left := w.rt.leftovers(); len(left) != 0 {
		fault("left after shutdown: %v", left)
	}
	w.Close()
	w.oracle.wg.Wait()
	return append(w.faults, w.rt.breaches...)
}

// wroteInReverse looks at the order in which all that lived has ended.
func (w *town) wroteInReverse(g Graph, alive map[string]int, fault func(string, ...any)) {
	w.rt.mu.Lock()
	defer w.rt.mu.Unlock()
	at := map[string]int{}
	for i, line := range w.rt.journal {
		at[line[1:]] = i
		if line[0] == '+' {
			fault("%s was started by the shutdown", line[1:])
		}
	}
	for n := range alive {
		for _, other := range g[n].Names() {
			if _, both := alive[other]; both && at[other] < at[n] {
				fault("%s ended before %s, which names it", other, n)
			}
		}
	}
}

// reopen begins another daemon's life.
func (w *town) reopen() {
	w.Supervisor = New(Config{
		Runtime: w.rt, Store: w.store, Output: fakeOutput{}, Monitor: w.oracle, BootID: "boot", MaxStarts: 16,
		Rand: func() float64 { return 0 },
	})
}
