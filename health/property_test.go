package health

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens: at most one run of a probe at a time, none after the end, and the last status told is the last there
// was.
func TestRandomSchedules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type plan struct {
			takes   time.Duration
			outcome int // 0 success, 1 failure, 2 unknown
		}
		plans := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) plan {
			return plan{rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 3 * time.Second}).Draw(rt, "takes"), rapid.IntRange(0, 2).Draw(rt, "outcome")}
		}), 1, 30).Draw(rt, "plans")
		stopAfter := time.Duration(rapid.IntRange(0, 40000).Draw(rt, "stop")) * time.Millisecond
		slow := time.Duration(rapid.IntRange(0, 5).Draw(rt, "slow")) * time.Second
		action := rapid.SampledFrom([]Action{ActionNone, ActionRestart}).Draw(rt, "action")
		synctest.Test(t, func(t *testing.T) {
			e := New(Config{})
			defer e.Close()
			c := newContainer(t, func(ctx context.Context, n int) (ExecResult, error) {
				p := plans[n%len(plans)]
				select {
				case <-time.After(p.takes):
				case <-ctx.Done():
					return ExecResult{}, ErrTimeout
				}
				if p.outcome == 2 {
					return ExecResult{}, fmt.Errorf("cannot")
				}
				return ExecResult{Code: p.outcome}, nil
			})
			target := c.target(&Probes{Liveness: execProbe(RoleLiveness, func(p *Probe) { p.Period, p.Failures, p.OnFailure = time.Second, 2, action })})
			tell := target.OnStatus
			target.OnStatus = func(s Status, state State) {
				tell(s, state)
				<-time.After(slow)
			}
			w := e.Watch(target)
			wait(stopAfter)
			last := w.Status()
			w.Stop()
			asked := len(c.times())
			wait(time.Minute)
			if len(c.times()) != asked {
				t.Errorf("asked after the end")
			}
			if slow == 0 && len(c.statuses) > 0 && c.statuses[len(c.statuses)-1] != last {
				t.Errorf("told %+v last, but it was %+v", c.statuses[len(c.statuses)-1], last)
			}
			for i := 1; i < len(c.statuses); i++ {
				if c.statuses[i] == c.statuses[i-1] {
					t.Errorf("told twice: %+v", c.statuses[i])
				}
			}
		})
	})
}
