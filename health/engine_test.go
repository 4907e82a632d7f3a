package health

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// container stands in for one: its answers to exec probes are those of the test.
type container struct {
	t     *testing.T
	mu    sync.Mutex
	asked []time.Duration // since begin
	begin time.Time
	under int // probes under way
	ends  int // that were cut short
	do    func(ctx context.Context, n int) (ExecResult, error)

	statuses []Status
	results  []Result
}

func newContainer(t *testing.T, do func(ctx context.Context, n int) (ExecResult, error)) *container {
	return &container{t: t, begin: time.Now(), do: do}
}

func (c *container) exec(ctx context.Context, _ []string) (ExecResult, error) {
	c.mu.Lock()
	if c.under++; c.under > 1 {
		c.t.Errorf("two probes at once")
	}
	n := len(c.asked)
	c.asked = append(c.asked, time.Since(c.begin))
	c.mu.Unlock()
	r, err := c.do(ctx, n)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under--
	if ctx.Err() != nil {
		c.ends++
	}
	return r, err
}

func (c *container) target(p *Probes) Target {
	return Target{
		Probes: p, Since: c.begin, Exec: c.exec,
		OnStatus: func(s Status, _ State) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.statuses = append(c.statuses, s)
		},
		OnResult: func(_ Role, _ Kind, r Result) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.results = append(c.results, r)
		},
	}
}

// times are when it was asked, since its begin.
func (c *container) times() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

func (c *container) story() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, s := range c.statuses {
		all = append(all, words(s))
	}
	return strings.Join(all, ", ")
}

// probes is an exec probe of a role.
func execProbe(role Role, change ...func(*Probe)) *Probe {
	p := NewProbe(role)
	p.Exec = []string{"check"}
	for _, f := range change {
		f(p)
	}
	return p
}

func always(code int) func(context.Context, int) (ExecResult, error) {
	return func(context.Context, int) (ExecResult, error) { return ExecResult{Code: code}, nil }
}

// hang ends with its context, as an Exec that had to kill its command.
func hang(ctx context.Context, _ int) (ExecResult, error) {
	<-ctx.Done()
	return ExecResult{Output: []byte("so far")}, fmt.Errorf("killed: %w", ErrTimeout)
}

func zero() float64 { return 0 }

func bubble(t *testing.T, f func(t *testing.T, e *Engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Rand: zero})
		defer e.Close()
		f(t, e)
	})
}

// wait lets fake time pass until everything that was to happen by then has.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestProbesKeepTheirBeat(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, func(context.Context, int) (ExecResult, error) {
			<-time.After(300 * time.Millisecond)
			return ExecResult{}, nil
		})
		w := e.Watch(c.target(&Probes{Liveness: execProbe(RoleLiveness, func(p *Probe) { p.InitialDelay = 5 * time.Second })}))
		wait(36 * time.Second)
		want := []time.Duration{5 * time.Second, 15 * time.Second, 25 * time.Second, 35 * time.Second}
		if fmt.Sprint(c.times()) != fmt.Sprint(want) {
			t.Errorf("asked at %v, want %v", c.times(), want)
		}
		r := w.Reports()
		if len(r) != 1 || len(r[0].Results) != 4 || r[0].Results[0].Duration != 300*time.Millisecond || r[0].Due.Sub(c.begin) != 45*time.Second || r[0].Streak != 4 {
			t.Errorf("reports are %+v", r)
		}
		w.Stop()
		wait(time.Minute)
		if len(c.times()) != 4 {
			t.Errorf("asked %d times, also after the end", len(c.times()))
		}
	})
}

// A probe that takes longer than its period is not begun again meanwhile, but at once then.
func TestNeverTwoOfOneProbe(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, func(context.Context, int) (ExecResult, error) {
			<-time.After(2500 * time.Millisecond)
			return ExecResult{}, nil
		})
		e.Watch(c.target(&Probes{Liveness: execProbe(RoleLiveness, func(p *Probe) { p.Period, p.Timeout = time.Second, time.Minute })}))
		wait(7 * time.Second)
		if want := []time.Duration{0, 2500 * time.Millisecond, 5 * time.Second}; fmt.Sprint(c.times()) != fmt.Sprint(want) {
			t.Errorf("asked at %v, want %v", c.times(), want)
		}
	})
}

// What hangs is found within failures × period + timeout, whenever it begins to hang.
func TestHangIsFoundInTime(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, func(ctx context.Context, n int) (ExecResult, error) {
			if n == 0 {
				return ExecResult{}, nil
			}
			return hang(ctx, n)
		})
		w := e.Watch(c.target(&Probes{Liveness: execProbe(RoleLiveness)}))
		wait(31*time.Second - 1)
		if got := w.Status(); got.Health != Healthy {
			t.Errorf("too early: %+v", got)
		}
		wait(1)
		got := w.Status()
		if got.Health != Unhealthy || got.Action != ActionRestart || got.Unhealthy != "liveness probe: did not end within 1s; so far" {
			t.Errorf("got %+v", got)
		}
		if r := w.Reports()[0].Results; r[3].Duration != time.Second || r[3].Outcome != Failure {
			t.Errorf("results are %+v", r)
		}
		wait(time.Minute)
		if len(c.times()) != 4 {
			t.Errorf("asked %d times, also after the verdict", len(c.times()))
		}
		if got := c.story(); !strings.HasSuffix(got, "healthy ready, unhealthy restart") {
			t.Errorf("told: %s", got)
		}
	})
}

func TestStartupHoldsTheOthersBack(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		start := newContainer(t, func(_ context.Context, n int) (ExecResult, error) { return ExecResult{Code: 3 - n}, nil })
		live := newContainer(t, always(0))
		target := start.target(&Probes{
			Startup:   execProbe(RoleStartup, func(p *Probe) { p.Exec, p.Period, p.Failures = []string{"start"}, 2*time.Second, 30 }),
			Liveness:  execProbe(RoleLiveness),
			Readiness: execProbe(RoleReadiness),
		})
		target.Exec = func(ctx context.Context, command []string) (ExecResult, error) {
			if command[0] == "start" {
				return start.exec(ctx, command)
			}
			live.mu.Lock()
			defer live.mu.Unlock()
			live.asked = append(live.asked, time.Since(live.begin))
			return ExecResult{}, nil
		}
		w := e.Watch(target)
		wait(6*time.Second - 1)
		if len(live.times()) != 0 || w.Status().Ready {
			t.Errorf("the others were asked at %v; %+v", live.times(), w.Status())
		}
		wait(time.Second)
		if want := "[6s 6s]"; fmt.Sprint(live.times()) != want {
			t.Errorf("the others were asked at %v, want %s", live.times(), want)
		}
		wait(time.Minute)
		if len(start.times()) != 4 {
			t.Errorf("startup was asked %d times", len(start.times()))
		}
		if got := start.story(); !strings.HasPrefix(got, "starting, ") || !strings.HasSuffix(got, "healthy ready") {
			t.Errorf("told: %s", got)
		}
	})
}

// A result that comes after the end of the watch is dropped, and the probe is told to end.
func TestLateResultChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, func(ctx context.Context, _ int) (ExecResult, error) {
			<-ctx.Done()
			<-time.After(10 * time.Second) // it takes its time
			return ExecResult{Code: 1}, nil
		})
		w := e.Watch(c.target(&Probes{Liveness: execProbe(RoleLiveness, func(p *Probe) { p.Failures, p.Timeout = 1, time.Hour })}))
		wait(time.Second)
		w.Stop()
		wait(20 * time.Second)
		if c.under != 0 || c.ends != 1 {
			t.Errorf("%d under way, %d cut short", c.under, c.ends)
		}
		if got := c.story(); got != "starting ready" || len(c.results) != 0 {
			t.Errorf("told: %s; results: %v", got, c.results)
		}
	})
}

// Whoever is told may take as long as he likes, and may stop the watch: nobody else waits, and he is told the last state.
func TestSlowListenerHoldsNothingUp(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, func(_ context.Context, n int) (ExecResult, error) { return ExecResult{Code: n % 2}, nil })
		target := c.target(&Probes{Liveness: execProbe(RoleLiveness, func(p *Probe) { p.Period, p.Failures, p.OnFailure = time.Second, 1, ActionNone })})
		tell := target.OnStatus
		target.OnStatus = func(s Status, state State) {
			<-time.After(10500 * time.Millisecond)
			tell(s, state)
		}
		w := e.Watch(target)
		wait(35 * time.Second)
		if len(c.times()) != 36 {
			t.Errorf("asked %d times", len(c.times()))
		}
		if got := c.story(); strings.Count(got, ",") != 2 {
			t.Errorf("told %s", got)
		}
		w.Stop()
		wait(time.Minute)
		if got := c.story(); strings.Count(got, ",") != 3 { // the call that was under way
			t.Errorf("told %s", got)
		}
	})
}

// More than a number of exec probes do not run at one time; the others wait their turn, and time out from when they begin.
func TestProbesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Rand: zero, MaxExec: 3})
		defer e.Close()
		var mu sync.Mutex
		under, most, begun := 0, 0, 0
		exec := func(ctx context.Context, _ []string) (ExecResult, error) {
			mu.Lock()
			under++
			begun++
			most = max(most, under)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			under--
			mu.Unlock()
			return ExecResult{}, ErrTimeout
		}
		var watches []*Watch
		for range 10 {
			watches = append(watches, e.Watch(Target{Probes: &Probes{Liveness: execProbe(RoleLiveness)}, Exec: exec}))
		}
		wait(3500 * time.Millisecond)
		mu.Lock()
		if most != 3 || begun != 10 {
			t.Errorf("%d at most, %d begun", most, begun)
		}
		mu.Unlock()
		for _, w := range watches {
			w.Stop()
		}
		wait(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if begun != 10 {
			t.Errorf("%d begun", begun)
		}
		if len(e.exec.waiting) != 0 || e.exec.running != 0 || len(e.queue) != 0 {
			t.Errorf("left: %+v, queue of %d", e.exec, len(e.queue))
		}
	})
}

// What cannot be carried out is unknown, told, and changes nothing.
func TestUnknown(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, func(context.Context, int) (ExecResult, error) { return ExecResult{}, fmt.Errorf("runc exec: it hangs") })
		w := e.Watch(c.target(&Probes{Liveness: execProbe(RoleLiveness, func(p *Probe) { p.Failures = 1 })}))
		wait(time.Minute)
		if got := words(w.Status()); got != "starting ready" {
			t.Errorf("got %s", got)
		}
		r := w.Reports()[0].Results
		if len(r) != MaxResults || r[0].Outcome != Unknown || r[0].Output != "runc exec: it hangs" || len(c.results) != 6 && len(c.results) != 7 {
			t.Errorf("results are %+v, told %d", r, len(c.results))
		}
	})
}

// First probes of instances that an earlier daemon started are spread over a whole period, those of new ones come soon.
func TestFirstProbesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		part := 0.0
		e := New(Config{Rand: func() float64 { part += 0.125; return part }})
		defer e.Close()
		var fresh, adopted []time.Duration
		for i := range 7 {
			c := newContainer(t, always(0))
			target := c.target(&Probes{Readiness: execProbe(RoleReadiness)})
			target.Adopted = i > 3
			e.Watch(target)
			defer func() {
				if target.Adopted {
					adopted = append(adopted, c.times()...)
				} else {
					fresh = append(fresh, c.times()...)
				}
			}()
		}
		wait(9 * time.Second)
		t.Cleanup(func() {
			if fmt.Sprint(fresh) != "[250ms 187.5ms 125ms 62.5ms]" || fmt.Sprint(adopted) != "[8.75s 7.5s 6.25s]" {
				t.Errorf("fresh %v, adopted %v", fresh, adopted)
			}
		})
	})
}

// Probes that hang for long keep others from being carried out for a while only.
func TestHungProbesGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Rand: zero, MaxExec: 1})
		defer e.Close()
		long := func(p *Probe) { p.Timeout = time.Hour }
		for range 3 {
			e.Watch(newContainer(t, hang).target(&Probes{Liveness: execProbe(RoleLiveness, long)}))
		}
		c := newContainer(t, always(0))
		wait(time.Millisecond)
		e.Watch(c.target(&Probes{Liveness: execProbe(RoleLiveness)}))
		wait(3*ExecLease + time.Second)
		if want := []time.Duration{3 * ExecLease}; fmt.Sprint(c.times()) != fmt.Sprint(want) {
			t.Errorf("asked at %v, want %v", c.times(), want)
		}
	})
}
