package runtime

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// shelf is a Keeper that keeps across Runtimes, as the service manager does across daemons.
type shelf struct {
	mu   sync.Mutex
	fds  map[string]int
	left map[string]bool
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{fds: map[string]int{}, left: map[string]bool{}}
	t.Cleanup(func() {
		for _, fd := range s.fds {
			_ = unix.Close(fd)
		}
	})
	return s
}

func (s *shelf) Keep(name string, f *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var fd int
	var dupErr error
	if err := errors.Join(rc.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) }), dupErr); err != nil {
		return err
	}
	if old, there := s.fds[name]; there {
		_ = unix.Close(old)
	}
	s.fds[name], s.left[name] = fd, false
	return nil
}

func (s *shelf) Drop(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fd, there := s.fds[name]; there {
		_ = unix.Close(fd)
		delete(s.fds, name)
	}
	return nil
}

func (s *shelf) Take(name string) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.left[name] {
		return nil
	}
	s.left[name] = false
	fd, err := unix.FcntlInt(uintptr(s.fds[name]), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

func (s *shelf) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.fds))
}

// nextDaemon makes all that is there something that an earlier daemon left.
func (s *shelf) nextDaemon() {
	for name := range s.fds {
		s.left[name] = true
	}
}

func (s *shelf) want(t *testing.T, names ...string) {
	t.Helper()
	slices.Sort(names)
	if got := s.Names(); !slices.Equal(got, names) {
		t.Errorf("kept: %v, want %v", got, names)
	}
}

// putOn keeps the pidfd of an instance that another process started.
func (s *shelf) putOn(t *testing.T, id string, of supervisor.Identity) {
	t.Helper()
	fd, err := openPidfd(of.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fd.close() }()
	if err := s.Keep(keptName(id, initRecord{of.Pid, of.StartTime}), fd.f); err != nil {
		t.Fatal(err)
	}
}

// endedOf is how an instance ended according to Find.
func endedOf(t *testing.T, r *Runtime, id string, known *supervisor.Identity) supervisor.EndedError {
	t.Helper()
	p, err := r.Find(soon(t), id, known)
	var ended *supervisor.EndedError
	if !errors.As(err, &ended) || !isNotFound(err) || p != nil {
		t.Fatalf("got %v, %v; want how it ended", p, err)
	}
	return *ended
}

// A container that ended, and was reaped by somebody else, while no daemon was there.
func TestStatusOfAKeptInstance(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		kill   syscall.Signal
		want   supervisor.ExitStatus
	}{
		"code":   {"trap 'exit 42' TERM; while :; do sleep 0.05; done", syscall.SIGTERM, exited(42)},
		"signal": {"while :; do sleep 0.05; done", syscall.SIGKILL, signaled(syscall.SIGKILL)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t, "runc")
			s := newShelf(t)
			r.kept = s
			d := startElsewhere(t, r, "npd", shell(c.script))
			s.putOn(t, "npd", d.identity)
			watcher, err := openPidfd(d.identity.Pid)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = watcher.close() }()
			eventually(t, "the end of the container", func() bool {
				if err := watcher.signal(c.kill, 0); err != nil {
					t.Fatal(err)
				}
				return watcher.ended()
			})
			d.reap(t)
			s.nextDaemon()
			want := c.want
			if !kernelTellsStrangers(t) {
				want = supervisor.ExitStatus{} // nobody can know, so nobody says
			}
			got := endedOf(t, r, "npd", &d.identity)
			got.Status.MemoryPeak = 0
			if got.Status != want || got.Identity != d.identity {
				t.Errorf("got %+v, want %+v", got, want)
			}
			// Until its end is recorded the next daemon may need it as well.
			s.want(t, keptName("npd", initRecord{d.identity.Pid, d.identity.StartTime}))
			r.Forget("npd", d.identity)
			s.want(t)
			remove(t, r, "npd")
		})
	}
}

// Every instance is kept from its start on, and only the last of a container.
func TestInstancesAreKept(t *testing.T) {
	r := newRuntime(t, "runc")
	s := newShelf(t)
	r.kept = s
	p := start(t, r, "a.b", container{args: []string{"/bin/sleep", "1000"}})
	id := p.Identity()
	name := keptName("a.b", initRecord{id.Pid, id.StartTime})
	s.want(t, name)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	s.nextDaemon()
	// An earlier instance, and another container that begins in the same way.
	stale := supervisor.Identity{BootID: id.BootID, Pid: os.Getpid(), StartTime: 1}
	s.putOn(t, "a.b", stale)
	s.putOn(t, "a.b.c", stale)
	got, err := r.Find(soon(t), "a.b", &id)
	if err != nil || got.Identity() != id {
		t.Fatalf("got %v, %v", got, err)
	}
	s.want(t, keptName("a.b.c", initRecord{stale.Pid, 1}), name)
	r.DropKept(func(name string) bool { return name == "a.b" }, "out.")
	s.want(t, name)
}

// The record of an instance did not reach the disk, and neither did the runtime's state; the one before is known.
func TestKeptInstanceThatNothingElseTellsOf(t *testing.T) {
	r := newRuntime(t, "runc")
	s := newShelf(t)
	r.kept = s
	first := start(t, r, "npd", shell("exit 3"))
	wait(t, first)
	before := first.Identity()
	remove(t, r, "npd")
	p := start(t, r, "npd", container{args: []string{"/bin/sleep", "1000"}})
	s.nextDaemon()
	r.cfg.Command = script(t, "exec sleep 1000") // it hangs
	for name, known := range map[string]*supervisor.Identity{"nothing": nil, "the one before": &before} {
		got, err := r.Find(soon(t), "npd", known)
		if err != nil || got.Identity() != p.Identity() {
			t.Errorf("known is %s: got %v, %v", name, got, err)
		}
	}
	r.cfg.Command = "runc"
}

// What is kept under the name of an instance and is no pidfd is not used.
func TestKeptRubbish(t *testing.T) {
	r := newRuntime(t, "runc")
	s := newShelf(t)
	r.kept = s
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	known := supervisor.Identity{BootID: r.bootID, Pid: 4194303, StartTime: 9}
	if err := s.Keep(keptName("npd", initRecord{known.Pid, known.StartTime}), f); err != nil {
		t.Fatal(err)
	}
	s.nextDaemon()
	p, err := r.Find(soon(t), "npd", &known)
	if !isNotFound(err) || p != nil || errors.As(err, new(*supervisor.EndedError)) {
		t.Errorf("got %v, %v", p, err)
	}
}

func TestKeptNames(t *testing.T) {
	for _, id := range []string{"a", "a.b", "a.1.2", "1.2", "x-_y.3"} {
		got, init, ok := parseKeptName(keptName(id, initRecord{4711, 99}))
		if !ok || got != id || init != (initRecord{4711, 99}) {
			t.Errorf("%s: got %q, %v, %v", id, got, init, ok)
		}
	}
	for _, name := range []string{"", "pidfd.", "pidfd.a", "pidfd.a.2", "out.a.2.3", "pidfd..2.3", "pidfd.a.1.3", "pidfd.a.02.3", "pidfd.a.2.x", "pidfd.a/b.2.3"} {
		if id, init, ok := parseKeptName(name); ok {
			t.Errorf("%s: got %q, %v", name, id, init)
		}
	}
	if long := keptName(strings.Repeat("x", 128), initRecord{1 << 22, 1<<64 - 1}); len(long) > 255 {
		t.Errorf("%d characters", len(long))
	}
}

// Children of an earlier program in this process are reaped as soon as they end, containers are not.
func TestInheritedChildren(t *testing.T) {
	r := newRuntime(t, "runc")
	s := newShelf(t)
	r.kept = s
	start := func() *exec.Cmd {
		cmd := exec.Command("/bin/sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // which may have been done
		})
		return cmd
	}
	stranger, container := start(), start()
	st, err := readStat(container.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s.putOn(t, "npd", supervisor.Identity{Pid: container.Process.Pid, StartTime: st.start})
	sweeper := NewSweeper(r, time.Hour)
	if err := sweeper.Inherit(); err != nil {
		t.Fatal(err)
	}
	later := start()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); sweeper.Run(ctx) }()
	for _, cmd := range []*exec.Cmd{later, container, stranger} {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the stranger is reaped", func() bool {
		_, err := readStat(stranger.Process.Pid)
		return err != nil
	})
	cancel()
	<-done
	for what, cmd := range map[string]*exec.Cmd{"a container": container, "what this program has started": later} {
		if err := cmd.Wait(); err == nil || errors.Is(err, unix.ECHILD) || cmd.ProcessState == nil {
			t.Errorf("%s was reaped by the sweeper: %v", what, err)
		}
	}
}

// A zombie that a later Find may ask for is not swept.
func TestSweeperLeavesKeptInstances(t *testing.T) {
	r := newRuntime(t, "runc")
	s := newShelf(t)
	r.kept = s
	cmd := exec.Command("/bin/true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	st, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s.putOn(t, "npd", supervisor.Identity{Pid: cmd.Process.Pid, StartTime: st.start})
	eventually(t, "a zombie", func() bool {
		st, err := readStat(cmd.Process.Pid)
		return err == nil && st.state == 'Z'
	})
	sweeper := NewSweeper(r, 0)
	for range 3 {
		if _, err := sweeper.look(time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("somebody else has reaped it: %v", err)
	}
}
