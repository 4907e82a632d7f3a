package control_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/runcsup/runcsup/internal/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testGroup = 4242

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test gives files to other users: run it as root")
	}
}

func mustListen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := control.Listen(t.Context(), path, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestSocketIsForOwnerAndGroup(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(t.Context(), path, testGroup)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.ModeSocket | 0o660; info.Mode() != want {
		t.Errorf("mode is %v, want %v", info.Mode(), want)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != testGroup {
		t.Errorf("owner is %d:%d, want 0:%d", st.Uid, st.Gid, testGroup)
	}
}

func TestCloseRemovesTheSocket(t *testing.T) {
	dir := t.TempDir()
	l := mustListen(t, filepath.Join(dir, "control.sock"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, dir)
}

func TestCloseLeavesAnotherDaemonsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	old := mustListen(t, path)
	if err := os.Remove(path); err != nil { // by hand
		t.Fatal(err)
	}
	mustListen(t, path)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the new daemon's socket is gone: %v", err)
	}
	_ = conn.Close()
}

func TestDeadSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as after SIGKILL
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	mustListen(t, path)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	wantEmpty(t, dir, "control.sock")
}

func TestListenRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"a living daemon's socket": {func(t *testing.T, path string) { mustListen(t, path) }, "another daemon listens there"},
		"a file": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a socket"},
		"a symbolic link": {func(t *testing.T, path string) {
			if err := os.Symlink("/dev/null", path); err != nil {
				t.Fatal(err)
			}
		}, "not a socket"},
		"while another daemon starts": {func(t *testing.T, path string) {
			dir, err := os.Open(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = dir.Close() })
			if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
				t.Fatal(err)
			}
		}, "another daemon is just starting"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "control.sock")
			tt.prepare(t, path)
			before := names(t, dir)
			l, err := control.Listen(t.Context(), path, -1)
			if err == nil {
				_ = l.Close()
				t.Fatal("it listens")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
			wantEmpty(t, dir, before...)
		})
	}
}

func TestListenInMissingDirectory(t *testing.T) {
	_, err := control.Listen(t.Context(), filepath.Join(t.TempDir(), "none", "control.sock"), -1)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want one of a missing file", err)
	}
}

// An address of a unix socket holds 107 bytes; paths may be longer.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "control.sock")
	l := mustListen(t, path)
	accepted := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.Close()
		}
		accepted <- err
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := control.NewClient(path)
	defer c.Close()
	if _, err := c.List(ctx); code(err) != control.CodeFailed { // it was accepted, and closed without an answer
		t.Errorf("client said %v", err)
	}
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wantEmpty(t, dir)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func wantEmpty(t *testing.T, dir string, but ...string) {
	t.Helper()
	if got := names(t, dir); strings.Join(got, " ") != strings.Join(but, " ") {
		t.Errorf("left in the directory: %q, want %q", got, but)
	}
}

func code(err error) control.Code {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return e.Code
	}
	return ""
}

// A socket that is kept outlives its listener: who connects in between is served by the next one.
func TestKeptSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sock")
	first := mustListen(t, path)
	kept, err := control.Keep(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("nobody can connect between two listeners: %v", err)
	}
	defer func() { _ = conn.Close() }()
	second, err := control.Adopt(kept, path, -1)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = accepted.Close()
	if _, err := control.Listen(t.Context(), path, -1); err == nil {
		t.Error("a second daemon can listen there")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, dir)
}

func TestAdoptRefuses(t *testing.T) {
	dir := t.TempDir()
	notASocket, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Adopt(notASocket, filepath.Join(dir, "control.sock"), -1); err == nil {
		t.Error("adopted a directory")
	}
	path := filepath.Join(dir, "gone.sock")
	l := mustListen(t, path)
	kept, err := control.Keep(l)
	if err == nil {
		err = l.Close()
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Adopt(kept, path, -1); err == nil {
		t.Error("adopted a socket that nobody can find")
	}
}
