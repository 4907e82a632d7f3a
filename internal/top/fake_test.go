package top

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

// fake is a daemon with containers that use more with every look.
type fake struct {
	now func() time.Time

	mu    sync.Mutex
	looks int
	fail  error
	list  []supervisor.Snapshot
}

func ago(now time.Time, d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

func newFake(now func() time.Time) *fake {
	at := now()
	return &fake{now: now, list: []supervisor.Snapshot{
		{Name: "npd", Enabled: true, State: supervisor.StateRunning, Pid: 4711, Ready: true, Health: supervisor.HealthHealthy, StartedAt: ago(at, 3*time.Hour+12*time.Minute), Restarts: 3,
			LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, Code: 3, At: *ago(at, 3*time.Hour+13*time.Minute)}},
		{Name: "web", Enabled: true, State: supervisor.StateRunning, Pid: 4712, Ready: false, Health: supervisor.HealthUnhealthy, StartedAt: ago(at, 45*time.Second), Adopted: true},
		{Name: "crash", Enabled: true, State: supervisor.StateBackoff, Health: supervisor.HealthNone, NextStartAt: ago(at, -42*time.Second), Restarts: 7,
			LastExit: &supervisor.Exit{Reason: supervisor.ReasonSignaled, Signal: "SEGV", Code: -1, At: *ago(at, 4*time.Minute)}},
		{Name: "broken", Enabled: true, State: supervisor.StateFailed, Health: supervisor.HealthNone, Error: "broken.yaml:7:3: unknown key \"comand\"\n  7 | comand: x\n"},
		{Name: "idle", State: supervisor.StateStopped, Health: supervisor.HealthNone},
	}}
}

func (f *fake) List(context.Context, ...string) ([]supervisor.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	return append([]supervisor.Snapshot(nil), f.list...), f.fail
}

func (f *fake) Stats(context.Context, ...string) ([]control.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.now()
	used := at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()
	return []control.Stats{
		{Name: "npd", Pid: 4711, Usage: usage.Usage{At: at, CPU: &usage.CPU{UsageSeconds: used * 0.123}, Memory: &usage.Memory{WorkingSet: 24 << 20, RSS: 20 << 20, Cache: 4 << 20, Peak: 31 << 20, Limit: 64 << 20},
			Pids: &usage.Pids{Current: 5, Limit: 100}, IO: []usage.Device{{Major: 8, ReadBytes: uint64(used * 4096), WriteBytes: 1 << 20}}}},
		{Name: "web", Pid: 4712, Usage: usage.Usage{At: at, CPU: &usage.CPU{UsageSeconds: used * 0.5, Limit: 0.5, ThrottledSeconds: used * 0.25}, Memory: &usage.Memory{WorkingSet: 127 << 20, RSS: 120 << 20, Limit: 128 << 20},
			Pids: &usage.Pids{Current: 12}, Pressure: &usage.Pressure{CPU: &usage.Stall{SomePercent: 12.5}, Memory: &usage.Stall{}, IO: &usage.Stall{SomePercent: 3}}}},
	}, nil
}

func (f *fake) Details(_ context.Context, name string) Details {
	if name == "idle" {
		return Details{EventsErr: errors.New("nothing is known of it")}
	}
	d := Details{Probes: []string{
		"liveness (http): succeeded, next in 1s", "  1s ago  success  4ms",
		"readiness (exec): failed 5 times in a row", "  5s ago  failure  1s", "  4s ago  failure  1s", "  3s ago  failure  1s", "  2s ago  failure  1s", "  1s ago  failure  1s",
	}}
	for i := range 40 {
		d.Events = append(d.Events, "event "+strings.Repeat("x", i))
		d.Output = append(d.Output, "line \x1b[2J "+strings.Repeat("y", i))
	}
	return d
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// screenText is what is on the screen.
func screenText(s tcell.SimulationScreen) string {
	cells, width, height := s.GetContents()
	var b strings.Builder
	for y := range height {
		var line strings.Builder
		for x := 0; x < width; x++ {
			runes := cells[y*width+x].Runes
			if len(runes) == 0 {
				runes = []rune{' '}
			}
			line.WriteString(string(runes))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// picture is a screen that remembers what it showed last.
type picture struct {
	tcell.SimulationScreen

	mu    sync.Mutex
	shown string
}

func (p *picture) Show() {
	p.SimulationScreen.Show()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = screenText(p.SimulationScreen)
}

func (p *picture) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shown
}

func newScreen(t *testing.T, width, height int) *picture {
	t.Helper()
	s := tcell.NewSimulationScreen("UTF-8")
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	s.SetSize(width, height)
	return &picture{SimulationScreen: s}
}
