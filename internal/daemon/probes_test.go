package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/health"
	"github.com/runcsup/runcsup/internal/runtime"
	"github.com/runcsup/runcsup/supervisor"
)

// fakeInside answers commands as told.
type fakeInside struct {
	mu      sync.Mutex
	result  runtime.ExecResult
	err     error
	strange bool // whoever tells something is no process of the container
	asked   chan struct{}
}

func (f *fakeInside) Exec(context.Context, string, runtime.ExecRequest, int) (runtime.ExecResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.result, f.err
}

func (f *fakeInside) Owns(string, int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked <- struct{}{}
	return !f.strange
}

// fakeKeeper is a descriptor store.
type fakeKeeper struct {
	mu   sync.Mutex
	kept map[string]*os.File
}

func (k *fakeKeeper) Keep(name string, f *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return err
	}
	if old := k.kept[name]; old != nil {
		_ = old.Close()
	}
	k.kept[name] = os.NewFile(uintptr(fd), name)
	return nil
}

func (k *fakeKeeper) Drop(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.kept[name]; old != nil {
		_ = old.Close()
	}
	delete(k.kept, name)
	return nil
}

func (k *fakeKeeper) Take(name string) *os.File {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.kept[name]
	delete(k.kept, name)
	return f
}

// ward is a monitor with all around it, and the reports it gives.
type ward struct {
	t       *testing.T
	m       *monitor
	inside  *fakeInside
	keeper  *fakeKeeper
	dir     string
	reports chan supervisor.Report
}

func newWard(t *testing.T) *ward {
	dir, err := os.MkdirTemp("", "w") // short: there are sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &ward{t: t, inside: &fakeInside{asked: make(chan struct{}, 10)}, keeper: &fakeKeeper{kept: map[string]*os.File{}}, dir: dir}
	w.next()
	t.Cleanup(func() { w.m.Close() })
	return w
}

// next is another daemon.
func (w *ward) next() {
	if w.m != nil {
		w.m.Close()
	}
	log := slog.New(slog.DiscardHandler)
	sockets := newNotifySockets(func(name string) string { return filepath.Join(w.dir, "notify", name) }, w.keeper, log)
	w.reports = make(chan supervisor.Report, 100)
	w.m = newMonitor(w.inside, sockets, filepath.Join(w.dir, "health"), nil, log)
}

func (w *ward) watch(in supervisor.Instance) (stop func()) {
	return w.m.Watch(in, func(r supervisor.Report) { w.reports <- r })
}

// wait waits for a report.
func (w *ward) wait(what string, is func(supervisor.Report) bool) supervisor.Report {
	w.t.Helper()
	for {
		select {
		case r := <-w.reports:
			if is(r) {
				return r
			}
		case <-time.After(30 * time.Second):
			w.t.Fatalf("no report: %s", what)
		}
	}
}

func (w *ward) tell(text string) {
	w.t.Helper()
	conn, err := net.Dial("unixgram", filepath.Join(w.dir, "notify", "web", bundle.NotifySocket))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func instance(pid int, probes *health.Probes) supervisor.Instance {
	return supervisor.Instance{
		Spec: &supervisor.Spec{Name: "web", Health: probes}, Identity: supervisor.Identity{BootID: "b", Pid: pid, StartTime: 1}, StartedAt: time.Now(),
	}
}

func execLiveness() *health.Probes {
	p := health.NewProbe(health.RoleLiveness)
	p.Exec, p.Period, p.Timeout, p.Failures, p.OnFailure = []string{"check"}, 10*time.Millisecond, 30*time.Second, 1, health.ActionStop
	return &health.Probes{Liveness: p}
}

func isReady(r supervisor.Report) bool { return r.Ready }

// What a command in the container did is what the supervisor is told.
func TestExecProbeReports(t *testing.T) {
	for _, tt := range []struct {
		name   string
		result runtime.ExecResult
		err    error
		want   string // why it is unhealthy
	}{
		{"exit code", runtime.ExecResult{Status: supervisor.ExitStatus{Known: true, Wait: 3 << 8}, Output: []byte("no database\n")}, nil, "liveness probe: exit code 3; no database"},
		{"signal", runtime.ExecResult{Status: supervisor.ExitStatus{Known: true, Wait: 9}}, nil, "liveness probe: exit code 137"},
		{"deadline", runtime.ExecResult{Output: []byte("so far")}, errors.Join(runtime.ErrNotInTime, context.DeadlineExceeded), "liveness probe: did not end within 30s; so far"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWard(t)
			w.inside.result, w.inside.err = tt.result, tt.err
			stop := w.watch(instance(1, execLiveness()))
			defer stop()
			r := w.wait("unhealthy", func(r supervisor.Report) bool { return r.Unhealthy != "" })
			if r.Unhealthy != tt.want || r.Health != supervisor.HealthUnhealthy || r.OnFailure != supervisor.OnFailureStop || r.Ready {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// Probes that cannot be carried out are shown, and make nobody unhealthy.
func TestUnknownIsShown(t *testing.T) {
	w := newWard(t)
	w.inside.err = errors.New("the runtime hangs")
	in := instance(7, execLiveness())
	stop := w.watch(in)
	var s supervisor.Snapshot
	for deadline := time.Now().Add(30 * time.Second); ; {
		s = supervisor.Snapshot{Name: "web", Pid: 7}
		w.m.describe(&s)
		if len(s.Probes) == 1 && len(s.Probes[0].Results) == health.MaxResults || time.Now().After(deadline) {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	if len(s.Probes) != 1 || s.Probes[0].Streak != 0 || s.Probes[0].Results[0].Outcome != "unknown" || !strings.Contains(s.Probes[0].Results[0].Output, "the runtime hangs") {
		t.Errorf("got %+v", s.Probes)
	}
	other := supervisor.Snapshot{Name: "web", Pid: 8}
	if w.m.describe(&other); other.Probes != nil {
		t.Error("probes of another instance are shown")
	}
	stop()
	after := supervisor.Snapshot{Name: "web", Pid: 7}
	if w.m.describe(&after); after.Probes != nil {
		t.Error("probes are shown after the end")
	}
}

func notified() *health.Probes {
	p := health.NewProbe(health.RoleStartup)
	p.Notify, p.Timeout, p.Period, p.Failures = true, time.Hour, 0, 1
	return &health.Probes{Startup: p}
}

// What is said before anybody listens counts, what an earlier instance or a stranger said does not, and a daemon knows what
// was said to the one before, or to nobody.
func TestWhatContainersTell(t *testing.T) {
	w := newWard(t)
	if err := w.m.sockets.renew("web"); err != nil {
		t.Fatal(err)
	}
	w.tell("READY=1\nSTATUS=first")
	if err := w.m.sockets.renew("web"); err != nil { // of the next instance
		t.Fatal(err)
	}
	w.inside.strange = true
	in := instance(1, notified())
	stop := w.watch(in)
	w.tell("READY=1\nSTATUS=stranger")
	if r := w.wait("the first", func(supervisor.Report) bool { return true }); r.Ready || r.Health != supervisor.HealthStarting {
		t.Errorf("got %+v", r)
	}
	<-w.inside.asked
	stop()
	w.inside.strange = false

	w.next()
	w.tell("READY=1\nSTATUS=all well") // while no daemon listens
	in.Adopted = true
	stop = w.watch(in)
	w.wait("ready", isReady)
	s := supervisor.Snapshot{Name: "web", Pid: 1}
	if w.m.describe(&s); s.StatusText != "all well" {
		t.Errorf("status is %q", s.StatusText)
	}
	stop()

	w.next()
	if err := os.RemoveAll(filepath.Join(w.dir, "notify")); err != nil { // nobody kept it either
		t.Fatal(err)
	}
	w.keeper.kept = map[string]*os.File{}
	stop = w.watch(in)
	w.wait("still ready", isReady)
	w.tell("STOPPING=1") // to a socket that was made anew
	stop()

	// Another instance knows nothing of it, and nothing is left of the last one.
	other := w.watch(instance(2, notified()))
	if r := w.wait("another", func(r supervisor.Report) bool { return r.Health == supervisor.HealthStarting }); r.Ready {
		t.Errorf("got %+v", r)
	}
	other()
	if err := errors.Join(w.m.sockets.remove("web"), w.m.states.forget("web")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"notify/web", "health/web.json"} {
		if _, err := os.Stat(filepath.Join(w.dir, path)); !os.IsNotExist(err) {
			t.Errorf("%s is left", path)
		}
	}
	if len(w.keeper.kept) > 0 {
		t.Errorf("descriptors are left: %v", w.keeper.kept)
	}
}

// A file that is damaged costs what was in it, and nothing else.
func TestDamagedProbeState(t *testing.T) {
	w := newWard(t)
	if err := os.MkdirAll(filepath.Join(w.dir, "health"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "health", "web.json"), []byte(`{"instance":`), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := w.watch(instance(1, execLiveness()))
	defer stop()
	w.inside.mu.Lock()
	w.inside.result.Status.Known = true
	w.inside.mu.Unlock()
	w.wait("healthy", func(r supervisor.Report) bool { return r.Health == supervisor.HealthHealthy })
}
