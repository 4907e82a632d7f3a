package main

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/supervisor"
)

var update = flag.Bool("update", false, "write golden files and docs/cli.md anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result is what a run of the program did.
type result struct {
	code           int
	stdout, stderr string
}

// noon is the time in all tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// runWith runs the program with an environment.
func runWith(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := &program{
		stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr,
		getenv: func(key string) string { return env[key] },
		now:    func() time.Time { return noon },
	}
	code := p.run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

// run runs the program against the backend's daemon.
func run(t *testing.T, b *controltest.Backend, args ...string) result {
	t.Helper()
	return runWith(t, map[string]string{socketEnv: serve(t, b)}, args...)
}

func serve(t *testing.T, b control.Backend) (socket string) {
	t.Helper()
	return controltest.Serve(t, b, slog.New(slog.DiscardHandler))
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s\nwant\n%s", file, got, want)
	}
}

func ago(d time.Duration) *time.Time {
	at := noon.Add(-d)
	return &at
}

// fleet has a container in each situation that an operator meets.
func fleet() []supervisor.Snapshot {
	const day = 24 * time.Hour
	return []supervisor.Snapshot{
		{Name: "broken", Enabled: true, State: supervisor.StateRunning, Pid: 4713, Ready: true, Health: supervisor.HealthNone,
			StartedAt: ago(5 * time.Minute), Bundle: "/srv/broken",
			Error: "broken.yaml:7:3: unknown key \"comand\"\n   7 |   comand: [x]\n     |   ^\nhint: did you mean \"command\"?"},
		{Name: "given-up", Enabled: true, State: supervisor.StateFailed, Health: supervisor.HealthNone, Restarts: 5,
			LastExit: &supervisor.Exit{Reason: supervisor.ReasonOOM, Code: -1, Signal: "KILL", At: *ago(90 * time.Minute)},
			Error:    "start limit hit: 5 starts in 10m"},
		{Name: "npd", Enabled: true, State: supervisor.StateRunning, Pid: 4711, Ready: true, Health: supervisor.HealthNone,
			StartedAt: ago(3*day + 2*time.Hour), Restarts: 3, Adopted: true,
			LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, Code: 3, At: *ago(3*day + 2*time.Hour + 15*time.Second)},
			Bundle:   "/var/lib/runcsup/bundles/npd"},
		{Name: "redis", Enabled: false, State: supervisor.StateStopped, Health: supervisor.HealthNone,
			LastExit: &supervisor.Exit{Reason: supervisor.ReasonStopped, Code: 0, At: *ago(42 * time.Second)}},
		{Name: "worker", Enabled: true, State: supervisor.StateBackoff, Health: supervisor.HealthNone, Restarts: 12,
			NextStartAt: ago(-12 * time.Second),
			LastExit:    &supervisor.Exit{Reason: supervisor.ReasonSignaled, Code: -1, Signal: "SEGV", At: *ago(3 * time.Second)}},
	}
}
