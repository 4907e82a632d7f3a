package daemon

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/notify"
)

func TestWhatSIGTERMMeans(t *testing.T) {
	job := func(job string) func(context.Context) (notify.Unit, error) {
		return func(context.Context) (notify.Unit, error) {
			return notify.Unit{Name: "runcsup.service", Job: job}, nil
		}
	}
	for name, c := range map[string]struct {
		setting config.OnTerminate
		ask     func(context.Context) (notify.Unit, error)
		leave   bool
		why     string
	}{
		"systemctl restart":     {config.TerminateAuto, job("restart"), true, "restart runcsup.service"},
		"systemctl try-restart": {config.TerminateAuto, job("try-restart"), true, "try-restart"},
		"systemctl stop":        {config.TerminateAuto, job("stop"), false, "stop runcsup.service"},
		"kill, no job":          {config.TerminateAuto, job(""), false, "no job"},
		"a job of the future":   {config.TerminateAuto, job("reincarnate"), false, "reincarnate"},
		"no systemd": {config.TerminateAuto, func(context.Context) (notify.Unit, error) {
			return notify.Unit{}, errors.New("nobody there")
		}, false, "nobody there"},
		"no answer": {config.TerminateAuto, func(ctx context.Context) (notify.Unit, error) {
			<-ctx.Done()
			return notify.Unit{}, context.Cause(ctx)
		}, false, "no answer within 1s"},
		"told to stop":  {config.TerminateStop, job("restart"), false, "onTerminate: stop"},
		"told to leave": {config.TerminateLeave, job("stop"), true, "onTerminate: leave"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &Daemon{ctx: t.Context(), log: slog.New(slog.DiscardHandler), askUnit: c.ask}
				d.settings.OnTerminate = c.setting
				d.askJob = func(ctx context.Context, unit string) (string, error) {
					u, err := c.ask(ctx)
					return u.Job, err
				}
				for _, known := range []string{"", "runcsup.service"} {
					if known != "" {
						d.unit.Store(&known)
					}
					begin := time.Now()
					leave, why := d.isToLeave()
					if leave != c.leave || !strings.Contains(why, c.why) {
						t.Errorf("unit %q: leave %v, because %s", known, leave, why)
					}
					if took := time.Since(begin); took > time.Second {
						t.Errorf("unit %q: took %s", known, took)
					}
				}
				if end := <-d.asksToEnd(); errors.Is(end, errLeave) != c.leave || end != nil && !c.leave {
					t.Errorf("the loop is told %v", end)
				}
				d.wg.Wait()
			})
		})
	}
}
