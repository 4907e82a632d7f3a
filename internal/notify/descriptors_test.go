package notify

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// store is a service manager as far as its descriptor store goes.
type store struct {
	conn *net.UnixConn
	max  int
	fds  []*os.File // newest first, as systemd has them
}

func newStore(t *testing.T, limit int) (*store, *Notifier) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &store{conn: conn, max: limit}
	t.Cleanup(func() {
		for _, f := range s.fds {
			_ = f.Close()
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	n, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	return s, n
}

// read handles all messages that have come.
func (s *store) read(t *testing.T) {
	t.Helper()
	for {
		buf, oob := make([]byte, 4096), make([]byte, 4096)
		if err := s.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if os.IsTimeout(err) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		vars := map[string]string{}
		for _, line := range strings.Split(string(buf[:n]), "\n") {
			k, v, _ := strings.Cut(line, "=")
			vars[k] = v
		}
		name := vars["FDNAME"]
		if vars["FDSTOREREMOVE"] == "1" {
			s.fds = slices.DeleteFunc(s.fds, func(f *os.File) bool { return f.Name() == name && f.Close() == nil })
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil || len(fds) != 1 || vars["FDSTORE"] != "1" || vars["FDPOLL"] != "0" {
				t.Fatalf("%q with %d descriptors: %v", buf[:n], len(fds), err)
			}
			f := os.NewFile(uintptr(fds[0]), name)
			if len(s.fds) >= s.max {
				_ = f.Close()
				continue
			}
			s.fds = append([]*os.File{f}, s.fds...)
		}
	}
}

func (s *store) names(t *testing.T) string {
	t.Helper()
	s.read(t)
	var names []string
	for _, f := range s.fds {
		names = append(names, f.Name())
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// handOut is what the next daemon gets.
func (s *store) handOut(t *testing.T) []*os.File {
	t.Helper()
	s.read(t)
	var out []*os.File
	for _, f := range s.fds {
		fd, err := duplicate(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, os.NewFile(uintptr(fd), f.Name()))
	}
	return out
}

// fileOf makes a file with a text.
func fileOf(t *testing.T, text string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// textOf is the text of a file from fileOf, wherever its descriptor came from.
func textOf(t *testing.T, f *os.File) string {
	t.Helper()
	if f == nil {
		return "nothing"
	}
	defer f.Close()
	buf := make([]byte, 100)
	n, err := f.ReadAt(buf, 0)
	if n == 0 {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestDescriptorsSurviveTheDaemon(t *testing.T) {
	s, n := newStore(t, 100)
	first := NewDescriptors(n, nil, quiet())
	for _, name := range []string{"out.npd", "err.npd", "pidfd.npd.4711.99"} {
		if err := first.Keep(name, fileOf(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := first.Take("out.npd"); got != nil {
		t.Error("took what this daemon has put there itself")
	}
	if err := first.Drop("err.npd"); err != nil {
		t.Error(err)
	}
	if got := s.names(t); got != "out.npd pidfd.npd.4711.99" {
		t.Fatalf("stored: %s", got)
	}
	first.Close()

	second := NewDescriptors(n, s.handOut(t), quiet())
	defer second.Close()
	if got := strings.Join(second.Names(), " "); got != "out.npd pidfd.npd.4711.99" {
		t.Errorf("names: %s", got)
	}
	f := second.Take("out.npd")
	if got := textOf(t, f); got != "out.npd" {
		t.Errorf("took %q", got)
	}
	if got := second.Take("out.npd"); got != nil {
		t.Error("taken twice")
	}
	if got := second.Take("err.npd"); got != nil {
		t.Error("took what was dropped")
	}
	if got := s.names(t); got != "out.npd pidfd.npd.4711.99" {
		t.Errorf("taking changed the store: %s", got)
	}
	// A stale one, which nobody takes.
	if err := second.Drop("pidfd.npd.4711.99"); err != nil {
		t.Error(err)
	}
	if got := s.names(t); got != "out.npd" {
		t.Errorf("stored: %s", got)
	}
}

func TestKeepReplaces(t *testing.T) {
	s, n := newStore(t, 100)
	d := NewDescriptors(n, nil, quiet())
	defer d.Close()
	old, next := fileOf(t, "old"), fileOf(t, "new")
	for _, f := range []*os.File{old, old, next, next} {
		if err := d.Keep("out.npd", f); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.names(t); got != "out.npd" { // and not twice
		t.Errorf("stored: %s", got)
	}
	again := NewDescriptors(n, s.handOut(t), quiet())
	defer again.Close()
	// What is left and then kept again is one and the same.
	if err := again.Keep("out.npd", next); err != nil {
		t.Fatal(err)
	}
	if again.Take("out.npd") != nil {
		t.Error("took what this daemon keeps")
	}
	if got := s.names(t); got != "out.npd" {
		t.Errorf("stored: %s", got)
	}
}

func TestDescriptorsOfOneName(t *testing.T) {
	_, n := newStore(t, 100)
	var left []*os.File
	for _, text := range []string{"newest", "older"} {
		fd, err := duplicate(fileOf(t, text))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, os.NewFile(uintptr(fd), "out.npd"))
	}
	d := NewDescriptors(n, left, quiet())
	defer d.Close()
	if got := textOf(t, d.Take("out.npd")); got != "newest" {
		t.Errorf("took %q", got)
	}
}

func TestDescriptorNames(t *testing.T) {
	s, n := newStore(t, 100)
	d := NewDescriptors(n, nil, quiet())
	defer d.Close()
	f := fileOf(t, "x")
	for _, name := range []string{"", "a:b", "a b", "a\nFDSTOREREMOVE=1", "ä", strings.Repeat("x", 256)} {
		if err := d.Keep(name, f); err == nil {
			t.Errorf("kept as %q", name)
		}
	}
	if err := d.Keep(strings.Repeat("x", 255), f); err != nil {
		t.Error(err)
	}
	if got := s.names(t); len(got) != 255 {
		t.Errorf("stored: %s", got)
	}
	if err := d.Drop("a:b"); err != nil { // nothing is kept under it
		t.Error(err)
	}
}

func TestFullStoreIsReportedOnce(t *testing.T) {
	s, n := newStore(t, 2)
	var out bytes.Buffer
	d := NewDescriptors(n, nil, slog.New(slog.NewTextHandler(&out, nil)))
	defer d.Close()
	d.SetLimit(2)
	for i := range 5 {
		if err := d.Keep(fmt.Sprint("out.", i), fileOf(t, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "is full"); got != 1 {
		t.Errorf("reported %d times:\n%s", got, out.String())
	}
	// All are there for a new program in this process, and those without room are stored when there is.
	if got := len(d.Names()); got != 5 {
		t.Errorf("%d kept", got)
	}
	stored := strings.Fields(s.names(t))
	if len(stored) != 2 {
		t.Fatalf("stored: %v", stored)
	}
	if err := d.Drop(stored[0]); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(s.names(t)); len(got) != 2 || slices.Contains(got, stored[0]) {
		t.Errorf("stored: %v", got)
	}
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
}

// That there is no room may be known only later than that some have no room.
func TestFullStoreIsNoticedLate(t *testing.T) {
	s, n := newStore(t, 2)
	var out bytes.Buffer
	d := NewDescriptors(n, nil, slog.New(slog.NewTextHandler(&out, nil)))
	defer d.Close()
	for i := range 5 {
		if err := d.Keep(fmt.Sprint("out.", i), fileOf(t, "x")); err != nil {
			t.Fatal(err)
		}
	}
	s.read(t)
	d.SetLimit(2)
	if got := strings.Count(out.String(), "is full"); got != 1 {
		t.Errorf("reported %d times:\n%s", got, out.String())
	}
	if got := strings.Fields(s.names(t)); len(got) != 2 {
		t.Errorf("stored: %v", got)
	}
	// Those that had no room get it.
	for _, name := range strings.Fields(s.names(t)) {
		if err := d.Drop(name); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Fields(s.names(t)); len(got) != 2 {
		t.Errorf("stored then: %v", got)
	}
}

func TestServiceManagerThatStoresNothing(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nobody")
	n, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	d := NewDescriptors(n, nil, slog.New(slog.NewTextHandler(&out, nil)))
	defer d.Close()
	for i := range 3 {
		if err := d.Keep(fmt.Sprint("out.", i), fileOf(t, "x")); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
	// It is there now, and gets what it missed.
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &store{conn: conn, max: 10}
	defer conn.Close()
	if err := d.Keep("out.3", fileOf(t, "x")); err != nil {
		t.Error(err)
	}
	if got := s.names(t); got != "out.0 out.1 out.2 out.3" {
		t.Errorf("stored: %s", got)
	}
	for _, f := range s.fds {
		_ = f.Close()
	}
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
}

func TestDescriptorsWithoutServiceManager(t *testing.T) {
	d := NewDescriptors(nil, nil, quiet())
	defer d.Close()
	if err := d.Keep("out.npd", fileOf(t, "x")); err != nil {
		t.Error(err)
	}
	if got := d.Names(); !slices.Equal(got, []string{"out.npd"}) {
		t.Errorf("kept: %v", got)
	}
	var none *Descriptors
	if none.Keep("x", nil) != nil || none.Drop("x") != nil || none.Take("x") != nil || none.Names() != nil {
		t.Error("nil keeps something")
	}
	none.SetLimit(1)
	none.Close()
}

// The process that the service manager starts gets the descriptors as 3 and up. It is this test's own program.
func TestDescriptorsComeWithTheEnvironment(t *testing.T) {
	if os.Getenv("RUNCSUP_TEST_LISTEN") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDescriptorsComeWithTheEnvironment$", "-test.v")
		cmd.ExtraFiles = []*os.File{fileOf(t, "first"), fileOf(t, "second"), fileOf(t, "third")}
		cmd.Env = append(os.Environ(), "RUNCSUP_TEST_LISTEN=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for k, v := range map[string]string{"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "out.a:pidfd.b.1.2:out.a"} {
		t.Setenv(k, v)
	}
	env, err := TakeEnvironment()
	if err != nil || len(env.Descriptors) != 3 {
		t.Fatalf("%+v, %v", env, err)
	}
	d := NewDescriptors(nil, env.Descriptors, quiet())
	defer d.Close()
	if got := d.Names(); !slices.Equal(got, []string{"out.a", "pidfd.b.1.2"}) {
		t.Errorf("names: %v", got)
	}
	for _, k := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if v, there := os.LookupEnv(k); there {
			t.Errorf("%s=%s is still there for children", k, v)
		}
	}
	if got := textOf(t, d.Take("out.a")); got != "first" {
		t.Errorf("took %q", got)
	}
	// No child may inherit any: neither what was handed over, which is closed by now, nor the copies.
	fds := []int{3, 4, 5}
	for _, k := range d.kept {
		fds = append(fds, k.fd)
	}
	for _, fd := range fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d would be inherited", fd)
		}
	}
}
