package metrics

import (
	"bytes"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

// world is a daemon with containers whose cgroups are files in a directory.
type world struct {
	dir string

	mu   sync.Mutex
	list []supervisor.Snapshot
}

// cgroupFiles are of a container with limits, on cgroup v2.
var cgroupFiles = map[string]string{
	"cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 30\nnr_throttled 12\nthrottled_usec 1250000\n",
	"cpu.max":  "50000 100000\n", "memory.current": "10485760\n", "memory.peak": "20971520\n", "memory.max": "67108864\n",
	"memory.swap.current": "4096\n", "memory.events": "max 21\noom_kill 2\n",
	"memory.stat":  "anon 4194304\nfile 6291456\nfile_mapped 1048576\ninactive_file 2097152\nactive_file 3145728\npgfault 1000\npgmajfault 7\n",
	"pids.current": "5\n", "pids.max": "100\n", "io.stat": "8:16 rbytes=8192 wbytes=4096 rios=2 wios=1 dbytes=0 dios=0\n",
	"cpu.pressure":    "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n",
	"memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"io.pressure":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
}

func newWorld(t testing.TB) *world { return &world{dir: t.TempDir()} }

func (w *world) snapshots() []supervisor.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]supervisor.Snapshot(nil), w.list...)
}

// run adds a container that runs.
func (w *world) run(t testing.TB, name string) {
	t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, content := range cgroupFiles {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	started := time.Unix(1_800_000_000, 0)
	w.set(supervisor.Snapshot{
		Name: name, Enabled: true, State: supervisor.StateRunning, Pid: 4711, Ready: true, Health: supervisor.HealthHealthy,
		StartedAt: &started, Restarts: 3,
		LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, Code: 3, At: started.Add(-15 * time.Second)},
	})
}

func (w *world) set(s supervisor.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.list {
		if w.list[i].Name == s.Name {
			w.list[i] = s
			return
		}
	}
	w.list = append(w.list, s)
}

func (w *world) exporter(t testing.TB) (*Exporter, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	e, err := New(Config{
		List: w.snapshots,
		Cgroup: func(name string) usage.Cgroup {
			return usage.Cgroup{Path: "/runcsup/" + name, V2: filepath.Join(w.dir, name)}
		},
		Output: func() iter.Seq2[string, Output] {
			return func(yield func(string, Output) bool) {
				for _, c := range w.snapshots() {
					if !yield(c.Name, Output{"stdout", 1234, 56}) || !yield(c.Name, Output{"stderr", 0, 0}) {
						return
					}
				}
			}
		},
		Image:   func(name string) string { return "/srv/" + name },
		Version: "1.2.3", Revision: "abc", Runtime: "runc version 1.1.5", Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, &log
}

// full is a world in which there is something to be said by every metric.
func full(t testing.TB) *Exporter {
	w := newWorld(t)
	w.run(t, "web")
	next := time.Unix(1_800_000_100, 0)
	w.set(supervisor.Snapshot{
		Name: "crash", Enabled: true, State: supervisor.StateBackoff, Health: supervisor.HealthNone, NextStartAt: &next,
		LastExit: &supervisor.Exit{Reason: supervisor.ReasonSignaled, Code: -1, Signal: "SEGV", At: next.Add(-time.Minute)},
	})
	e, _ := w.exporter(t)
	e.ObserveProbe("web", "liveness", ProbeSuccess, 3*time.Millisecond)
	e.ObserveWatchdog(time.Microsecond)
	e.ObserveBuild(time.Second, nil)
	e.ObserveRuntimeCall("run", 40*time.Millisecond, nil)
	e.ObserveReload(next, 0, nil)
	return e
}

func numbered(i int) string { return fmt.Sprintf("container-%03d", i) }
