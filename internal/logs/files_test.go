package logs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newFiles(t *testing.T) *Files {
	t.Helper()
	f, err := New(filepath.Join(t.TempDir(), "log", "runcsup"))
	must(t, err)
	return f
}

// write opens a container's output, writes to both of its files in turn, and closes them.
func write(t *testing.T, f *Files, name, out, err string) {
	t.Helper()
	stdout, stderr, errOpen := f.Open(name)
	must(t, errOpen)
	_, errOut := stdout.WriteString(out)
	_, errErr := stderr.WriteString(err)
	must(t, errors.Join(errOut, errErr, stdout.Close(), stderr.Close()))
}

func content(t *testing.T, f *Files, name string) string {
	t.Helper()
	b, err := os.ReadFile(f.Path(name))
	must(t, err)
	return string(b)
}

func TestAppends(t *testing.T) {
	f := newFiles(t)
	write(t, f, "npd", "one\n", "two\n")
	write(t, f, "npd", "three\n", "four\n")
	write(t, f, "redis", "other\n", "")
	if got := content(t, f, "npd"); got != "one\ntwo\nthree\nfour\n" {
		t.Errorf("got %q", got)
	}
	if got := content(t, f, "redis"); got != "other\n" {
		t.Errorf("got %q", got)
	}
}

func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	f := newFiles(t)
	write(t, f, "npd", "x", "")
	for path, want := range map[string]fs.FileMode{f.dir: fs.ModeDir | 0o750, f.Path("npd"): 0o640} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s: %v, want %v", path, info.Mode(), want)
		}
	}
}

// What the container inherits: append mode, so that a truncation (logrotate's copytruncate) leaves no hole, and blocking.
func TestFlags(t *testing.T) {
	f := newFiles(t)
	stdout, stderr, err := f.Open("npd")
	must(t, err)
	for _, file := range []*os.File{stdout, stderr} {
		must(t, control(file, func(fd uintptr) error {
			flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
			if flags&unix.O_APPEND == 0 || flags&unix.O_NONBLOCK != 0 || flags&unix.O_ACCMODE != unix.O_WRONLY {
				t.Errorf("%s: flags %#o", file.Name(), flags)
			}
			fdFlags, errFd := unix.FcntlInt(fd, unix.F_GETFD, 0)
			if fdFlags&unix.FD_CLOEXEC == 0 {
				t.Error("other children inherit it")
			}
			return errors.Join(err, errFd)
		}))
		must(t, file.Close())
	}
}

func TestDriverNone(t *testing.T) {
	f := newFiles(t)
	f.SetDriver("npd", "none")
	stdout, stderr, err := f.Open("npd")
	if stdout != nil || stderr != nil || err != nil {
		t.Errorf("got %v, %v, %v", stdout, stderr, err)
	}
	if _, err := os.Lstat(f.Path("npd")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
	write(t, f, "redis", "other", "")
	f.SetDriver("npd", "file")
	write(t, f, "npd", "again", "")
}

func TestPlanted(t *testing.T) {
	for name, plant := range map[string]func(path, victim string) error{
		"a link to a file":    func(path, victim string) error { return os.Symlink(victim, path) },
		"a link to nothing":   func(path, victim string) error { return os.Symlink(victim+".new", path) },
		"a FIFO":              func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
		"a FIFO with readers": plantReadFIFO(t),
		"a directory":         func(path, _ string) error { return os.Mkdir(path, 0o755) },
		"a device":            func(path, _ string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			victim := filepath.Join(t.TempDir(), "victim")
			must(t, os.WriteFile(victim, []byte("precious"), 0o600))
			must(t, plant(f.Path("npd"), victim))
			stdout, stderr, err := f.Open("npd")
			if err == nil || stdout != nil || stderr != nil {
				t.Fatalf("got %v, %v, %v", stdout, stderr, err)
			}
			if !strings.Contains(err.Error(), `"npd"`) {
				t.Errorf("the error does not name the container: %v", err)
			}
			b, err := os.ReadFile(victim)
			must(t, err)
			if string(b) != "precious" {
				t.Errorf("written through the link: %q", b)
			}
			if _, err := os.Lstat(victim + ".new"); !errors.Is(err, fs.ErrNotExist) {
				t.Error("made through the link")
			}
		})
	}
}

func plantReadFIFO(t *testing.T) func(path, victim string) error {
	return func(path, _ string) error {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return err
		}
		reader, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			t.Cleanup(func() { must(t, reader.Close()) })
		}
		return err
	}
}

func TestRemovedAndRenamed(t *testing.T) {
	f := newFiles(t)
	write(t, f, "npd", "one", "")
	must(t, os.Rename(f.Path("npd"), f.Path("npd")+".1"))
	write(t, f, "npd", "two", "")
	if got := content(t, f, "npd"); got != "two" {
		t.Errorf("after a rename: %q", got)
	}
	must(t, os.RemoveAll(f.dir))
	write(t, f, "npd", "three", "")
	if got := content(t, f, "npd"); got != "three" {
		t.Errorf("after the directory was removed: %q", got)
	}
}

func TestNames(t *testing.T) {
	f := newFiles(t)
	for _, name := range []string{"", ".", "..", "../npd", "a/b", "/etc/passwd"} {
		if stdout, _, err := f.Open(name); err == nil {
			t.Errorf("Open(%q) gave %s", name, stdout.Name())
		}
	}
}
