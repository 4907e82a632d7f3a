package notify

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/health"
)

// shortDir is one in which sockets can be bound and dialled.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// ears take what is told.
type ears struct {
	mu    sync.Mutex
	heard []health.Notification
	came  chan struct{}
}

func newEars() *ears { return &ears{came: make(chan struct{}, 1000)} }

func (e *ears) take(n health.Notification) {
	e.mu.Lock()
	e.heard = append(e.heard, n)
	e.mu.Unlock()
	e.came <- struct{}{}
}

func (e *ears) wait(t *testing.T, n int) []health.Notification {
	t.Helper()
	for range n {
		select {
		case <-e.came:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing is heard")
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard
}

func everybody(int) bool { return true }

func say(t *testing.T, dir, text string) {
	t.Helper()
	conn, err := net.Dial("unixgram", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func listenContainerAt(t *testing.T, dir string) *ContainerSocket {
	t.Helper()
	s, err := ListenContainer(dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestContainerSocket(t *testing.T) {
	dir := filepath.Join(shortDir(t), "notify", "web")
	s := listenContainerAt(t, dir)
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o700, dir: 0o755, filepath.Join(dir, "s"): 0o666} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	say(t, dir, "READY=1\nSTATUS=before anybody listens")
	e, pids := newEars(), make(chan int, 10)
	stop := s.Serve(func(pid int) bool { pids <- pid; return true }, e.take)
	say(t, dir, "\xff")
	say(t, dir, strings.Repeat("x", maxMessage+1))
	say(t, dir, "WATCHDOG=1")
	heard := e.wait(t, 2)
	if !heard[0].Ready || *heard[0].Status != "before anybody listens" || !heard[1].Watchdog {
		t.Errorf("heard %+v", heard)
	}
	if pid := <-pids; pid != os.Getpid() {
		t.Errorf("from %d", pid)
	}
	stop()
	stop()
	say(t, dir, "STOPPING=1")
	stop = s.Serve(everybody, e.take)
	defer stop()
	if heard := e.wait(t, 1); !heard[2].Stopping {
		t.Errorf("heard %+v", heard)
	}
}

// Only the container's own processes are heard.
func TestStrangersAreNotHeard(t *testing.T) {
	dir := filepath.Join(shortDir(t), "web")
	s := listenContainerAt(t, dir)
	e := newEars()
	first := true
	stop := s.Serve(func(int) bool { is := !first; first = false; return is }, e.take)
	defer stop()
	say(t, dir, "READY=1")
	say(t, dir, "STATUS=x")
	if heard := e.wait(t, 1); heard[0].Ready {
		t.Errorf("heard %+v", heard)
	}
}

// The next daemon has what was said while there was none, and a container that runs finds a new socket at the old place.
func TestContainerSocketOutlivesTheDaemon(t *testing.T) {
	dir := filepath.Join(shortDir(t), "web")
	s := listenContainerAt(t, dir)
	kept, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	stop := s.Serve(everybody, func(health.Notification) {})
	stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	say(t, dir, "READY=1")
	next, err := AdoptContainer(kept, dir)
	_ = kept.Close()
	if err != nil {
		t.Fatal(err)
	}
	e := newEars()
	stop = next.Serve(everybody, e.take)
	if heard := e.wait(t, 1); !heard[0].Ready {
		t.Errorf("heard %+v", heard)
	}
	stop()
	_ = next.Close()
	again := listenContainerAt(t, dir)
	say(t, dir, "READY=1")
	defer again.Serve(everybody, e.take)()
	e.wait(t, 1)
}

// Descriptors that are sent are closed, so that a container cannot use this process's up, nor wait for ever for a barrier.
func TestDescriptorsAreNotTaken(t *testing.T) {
	dir := filepath.Join(shortDir(t), "web")
	s := listenContainerAt(t, dir)
	e := newEars()
	defer s.Serve(everybody, e.take)()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Sendmsg(fd, []byte("BARRIER=1"), unix.UnixRights(int(w.Fd())), &unix.SockaddrUnix{Name: filepath.Join(dir, "s")}, 0)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	e.wait(t, 1)
	if _, err := r.Read(make([]byte, 1)); err == nil { // ends as soon as nobody holds the other end
		t.Error("something was written")
	}
}

// A container that talks without end is heard a little at a time, and in the end all the same.
func TestFlood(t *testing.T) {
	dir := filepath.Join(shortDir(t), "web")
	s := listenContainerAt(t, dir)
	e := newEars()
	stop := s.Serve(everybody, e.take)
	defer stop()
	begin := time.Now()
	for i := range burst + 2 {
		say(t, dir, "STATUS="+strconv.Itoa(i))
	}
	e.wait(t, burst+2)
	if took := time.Since(begin); took < burstTime {
		t.Errorf("%d messages within %s", burst+2, took)
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), "web")
	s := listenContainerAt(t, dir)
	defer s.Serve(everybody, func(health.Notification) {})()
	if _, err := os.Stat(filepath.Join(dir, "s")); err != nil {
		t.Error(err)
	}
}

func TestParseNotification(t *testing.T) {
	status := func(s string) *string { return &s }
	for _, tt := range []struct {
		text string
		want health.Notification
	}{
		{"READY=1", health.Notification{Ready: true}},
		{"READY=1\n", health.Notification{Ready: true}},
		{"READY=1\x00", health.Notification{Ready: true}},
		{"READY=0", health.Notification{}},
		{"READY", health.Notification{}},
		{"MAINPID=1\nFDSTORE=1\nX_ANY=thing", health.Notification{}},
		{"STOPPING=1\nREADY=1", health.Notification{Stopping: true}},
		{"WATCHDOG=1", health.Notification{Watchdog: true}},
		{"WATCHDOG=trigger", health.Notification{Trigger: true}},
		{"WATCHDOG_USEC=2000000\nEXTEND_TIMEOUT_USEC=5000", health.Notification{WatchdogTimeout: 2 * time.Second, ExtendTimeout: 5 * time.Millisecond}},
		{"WATCHDOG_USEC=-1\nEXTEND_TIMEOUT_USEC=soon", health.Notification{}},
	} {
		got, err := ParseNotification([]byte(tt.text))
		if err != nil || got != tt.want {
			t.Errorf("%q: got %+v, %v", tt.text, got, err)
		}
	}
	got, err := ParseNotification([]byte("STATUS=a\nSTATUS=b = c"))
	if err != nil || *got.Status != *status("b = c") {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "\xff", "STATUS=a\x00b"} {
		if _, err := ParseNotification([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzParseNotification(f *testing.F) {
	for _, text := range []string{"READY=1\nSTATUS=all well\nWATCHDOG=1", "WATCHDOG_USEC=18446744073709551615", "EXTEND_TIMEOUT_USEC=1", "\x00", "STATUS=\xff", "=\n="} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		n, err := ParseNotification(message)
		if err != nil && n != (health.Notification{}) {
			t.Errorf("%q: %+v and %v", message, n, err)
		}
		if n.WatchdogTimeout < 0 || n.ExtendTimeout < 0 || n.Ready && n.Stopping {
			t.Errorf("%q: %+v", message, n)
		}
	})
}
