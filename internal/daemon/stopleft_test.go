package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/notify"
	"github.com/runcsup/runcsup/internal/records"
	"github.com/runcsup/runcsup/internal/watch"
	"github.com/runcsup/runcsup/supervisor"
)

// What is left running is left alone unless it is certain that the service is being stopped and that nobody else sees to it.
func TestStopLeftLeavesAlone(t *testing.T) {
	job := func(job string) func(context.Context) (notify.Unit, error) {
		return func(context.Context) (notify.Unit, error) {
			return notify.Unit{Name: "runcsup.service", Job: job}, nil
		}
	}
	for name, c := range map[string]struct {
		ask     func(context.Context) (notify.Unit, error)
		setting config.OnTerminate
		tidy    bool // the daemon was
		lives   bool
		fails   string
	}{
		"nothing is left": {ask: func(context.Context) (notify.Unit, error) { panic("asked") }, tidy: true},
		"a crash":         {ask: job("")},
		"a start":         {ask: job("start")},
		"a restart":       {ask: job("restart")},
		"no answer":       {ask: func(context.Context) (notify.Unit, error) { return notify.Unit{}, errors.New("nobody there") }, fails: "nobody there"},
		"onTerminate":     {ask: job("stop"), setting: config.TerminateLeave},
		"a daemon":        {ask: job("stop"), lives: true},
		"a stop":          {ask: job("stop"), fails: "cannot stop the containers"}, // in this test it gets no further
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// A runtime directory that cannot be opened: whoever goes on fails.
			s := config.Settings{RunDir: dir, StateDir: dir + "/state", OnTerminate: c.setting, SocketGroup: "none"}
			if !c.tidy {
				if err := os.WriteFile(runtimeDir(s), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.lives {
				lock, err := records.Lock(s.StateDir, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer lock.Close()
			}
			err := stopLeft(t.Context(), Options{Settings: s, Log: slog.New(slog.DiscardHandler)}, c.ask)
			if err != nil != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got %v, want an error with %q", err, c.fails)
			}
		})
	}
}

// A SIGTERM of which no signal tells counts as one, and together with the signal it is still only one.
func TestMissedSignal(t *testing.T) {
	for name, signals := range map[string][]os.Signal{"missed": nil, "and heard, too": {unix.SIGTERM}} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t.Context(), Options{Settings: config.Settings{OnTerminate: config.TerminateLeave}, Log: slog.New(slog.DiscardHandler)})
			d.supervisor = supervisor.New(supervisor.Config{})
			defer d.supervisor.Close()
			d.watcher = watch.New(d.log, watch.Options{})
			heard := make(chan os.Signal, 1)
			for _, s := range signals {
				heard <- s
			}
			d.noteMissed()
			d.noteMissed()
			if err := d.loop(heard, nil, nil, nil); !errors.Is(err, errLeave) {
				t.Errorf("the loop ends with %v", err)
			}
			d.wg.Wait()
		})
	}
}
