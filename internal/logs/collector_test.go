package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what has to come, however loaded the machine is.
const patience = 30 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeKeeper is a descriptor store that outlives collectors.
type fakeKeeper struct {
	mu    sync.Mutex
	files map[string]*os.File
}

func (k *fakeKeeper) Keep(name string, f *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	fd, err := descriptor(f)
	if err == nil {
		fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err == nil {
		k.files[name] = os.NewFile(uintptr(fd), name)
	}
	return err
}

func (k *fakeKeeper) Drop(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.files[name]; f != nil {
		delete(k.files, name)
		return f.Close()
	}
	return nil
}

func (k *fakeKeeper) Take(name string) *os.File {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.files[name]
	if f == nil {
		return nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

func (k *fakeKeeper) close() {
	for _, f := range k.files {
		_ = f.Close()
	}
}

var fileDriver = Options{Driver: DriverFile, MaxSize: 10 << 20, MaxFiles: 5}

// world is what outlives a collector.
type world struct {
	testing.TB
	dir    string
	keeper Keeper
	c      *Collector
}

func newWorld(t testing.TB, keeper Keeper) *world {
	w := &world{TB: t, dir: t.TempDir(), keeper: keeper}
	w.begin()
	t.Cleanup(func() {
		if w.c != nil {
			must(t, w.c.Close())
		}
	})
	return w
}

func (w *world) begin() {
	w.Helper()
	c, err := New(Config{Dir: filepath.Join(w.dir, "log"), RunDir: filepath.Join(w.dir, "output"), Keeper: w.keeper, Log: slog.New(slog.DiscardHandler)})
	must(w, err)
	w.c = c
}

// open is a container's start.
func (w *world) open(name string) (stdout, stderr *os.File) {
	w.Helper()
	stdout, stderr, err := w.c.Open(name)
	must(w, err)
	return stdout, stderr
}

func (w *world) settle() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(w, w.c.Settle(ctx))
}

// texts returns what a query finds: "stdout F text".
func (w *world) texts(name string, q Query) []string {
	w.Helper()
	var all []string
	must(w, w.c.Read(context.Background(), name, q, func(l Line) error {
		all = append(all, brief(l))
		return nil
	}))
	return all
}

func brief(l Line) string {
	tag := "F"
	if l.Partial {
		tag = "P"
	}
	return l.Stream + " " + tag + " " + string(l.Text)
}

func (w *world) expect(name string, want ...string) {
	w.Helper()
	w.settle()
	if got := w.texts(name, Query{Tail: -1}); strings.Join(got, "\n") != strings.Join(want, "\n") {
		w.Errorf("got %.300q, want %.300q", got, want)
	}
}

func say(t testing.TB, f *os.File, text string) {
	t.Helper()
	_, err := f.WriteString(text)
	must(t, err)
}

func TestStores(t *testing.T) {
	w := newWorld(t, nil)
	must(t, w.c.Configure("npd", fileDriver))
	stdout, stderr := w.open("npd")
	say(t, stdout, "one\ntwo\n\n")
	w.settle()
	say(t, stderr, "bad \xff\x00 bytes\n")
	w.expect("npd", "stdout F one", "stdout F two", "stdout F ", "stderr F bad \xff\x00 bytes")
	must(t, errors.Join(stdout.Close(), stderr.Close()))
	// The next instance goes on in the same file.
	stdout, stderr = w.open("npd")
	say(t, stdout, "three\n")
	w.expect("npd", "stdout F one", "stdout F two", "stdout F ", "stderr F bad \xff\x00 bytes", "stdout F three")
	must(t, errors.Join(stdout.Close(), stderr.Close()))
	stdout, stderr = w.open("npd")
	for _, text := range []string{"four", "five", "six"} { // seen by who asks right after it
		say(t, stdout, text+"\n")
		if got := w.texts("npd", Query{Tail: 1}); len(got) != 1 || got[0] != "stdout F "+text {
			t.Errorf("after %s the last line is %q", text, got)
		}
	}
	must(t, errors.Join(stdout.Close(), stderr.Close()))
	counters := w.c.Counters()["npd"]
	if want := (Counters{Bytes: [2]uint64{29, 13}, Lines: [2]uint64{7, 1}}); counters != want {
		t.Errorf("counters %+v, want %+v", counters, want)
	}
}

// Lines that arrive in pieces, a byte at a time.
func TestPieces(t *testing.T) {
	w := newWorld(t, nil)
	stdout, stderr := w.open("npd")
	text := "slow but whole\nnext\n"
	for i := range text {
		say(t, stdout, text[i:i+1])
		if i%3 == 0 {
			w.settle()
		}
	}
	w.expect("npd", "stdout F slow but whole", "stdout F next")
	must(t, errors.Join(stdout.Close(), stderr.Close()))
}

func TestLongLines(t *testing.T) {
	for _, size := range []int{MaxLine - 1, MaxLine, MaxLine + 1, 2*MaxLine - 1, 2 * MaxLine, 2*MaxLine + 1, 5*MaxLine + 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(t, nil)
			stdout, stderr := w.open("npd")
			line := strings.Repeat("x", size)
			done := make(chan error)
			go func() {
				_, err := stdout.WriteString("before\n" + line + "\nafter\n")
				done <- err
			}()
			must(t, <-done)
			w.settle()
			want := []string{"stdout F before"}
			for rest := size; rest >= 0; {
				n := min(rest, MaxLine)
				tag := "P "
				if rest -= n; rest == 0 {
					rest, tag = -1, "F "
				}
				want = append(want, "stdout "+tag+line[:n])
			}
			w.expect("npd", append(want, "stdout F after")...)
			must(t, errors.Join(stdout.Close(), stderr.Close()))
		})
	}
}

// The last line of an instance may lack its end. It is whole when the instance has ended, and does not run into the next
// one's first, whether a daemon saw the end or not.
func TestLastLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		told bool
		text string
		want []string
	}{
		{"told", true, "a\nend", []string{"stdout F a", "stdout F end"}},
		{"not told", false, "a\nend", []string{"stdout F a", "stdout F end"}},
		{"none", true, "a\n", []string{"stdout F a"}},
		{"long", true, strings.Repeat("x", MaxLine+1), []string{"stdout P " + strings.Repeat("x", MaxLine), "stdout F x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			stdout, stderr := w.open("npd")
			say(t, stdout, tt.text)
			w.settle()
			must(t, errors.Join(stdout.Close(), stderr.Close()))
			if tt.told {
				w.c.Ended("npd")
				w.expect("npd", tt.want...)
			}
			stdout, stderr = w.open("npd")
			say(t, stdout, "next\n")
			w.expect("npd", append(tt.want, "stdout F next")...)
			must(t, errors.Join(stdout.Close(), stderr.Close()))
		})
	}
}

// What a container wrote while no daemon was there is read by the next one; with a keeper also when the container has
// ended meanwhile.
func TestNobodyThere(t *testing.T) {
	for _, ended := range []bool{false, true} {
		t.Run(fmt.Sprintf("ended=%t", ended), func(t *testing.T) {
			k := &fakeKeeper{files: map[string]*os.File{}}
			defer k.close()
			w := newWorld(t, k)
			must(t, w.c.Configure("npd", fileDriver))
			stdout, stderr := w.open("npd")
			say(t, stdout, "before\nhal")
			w.settle()
			must(t, w.c.Close())
			say(t, stdout, "f\nmeanwhile\n")
			say(t, stderr, "error\n")
			if ended {
				must(t, errors.Join(stdout.Close(), stderr.Close()))
			}
			w.begin()
			must(t, w.c.Configure("npd", fileDriver))
			w.settle()
			if ended {
				stdout, stderr = w.open("npd")
			}
			say(t, stdout, "after\n")
			w.expect("npd", "stdout F before", "stdout F half", "stdout F meanwhile", "stderr F error", "stdout F after")
			must(t, errors.Join(stdout.Close(), stderr.Close()))
			must(t, w.c.Remove(context.Background(), "npd"))
			if len(k.files) != 0 {
				t.Errorf("still kept: %v", k.files)
			}
			if _, err := os.Stat(filepath.Join(w.dir, "output", "npd")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("still there: %v", err)
			}
		})
	}
}

func TestDriverNone(t *testing.T) {
	w := newWorld(t, nil)
	must(t, w.c.Configure("npd", Options{Driver: DriverNone}))
	stdout, stderr := w.open("npd")
	if stdout != nil || stderr != nil {
		t.Errorf("got %v, %v", stdout, stderr)
	}
	// An instance that was started with a driver, and has none now, is not held back.
	must(t, w.c.Configure("npd", fileDriver))
	stdout, stderr = w.open("npd")
	say(t, stdout, "kept\n")
	w.settle()
	must(t, w.c.Configure("npd", Options{Driver: DriverNone}))
	say(t, stdout, strings.Repeat("discarded\n", 50000))
	w.settle()
	must(t, w.c.Configure("npd", fileDriver))
	say(t, stdout, "kept again\n")
	w.expect("npd", "stdout F kept", "stdout F kept again")
	must(t, errors.Join(stdout.Close(), stderr.Close()))
}

// What the container inherits, and what it can do with it.
func TestDescriptorsOfContainers(t *testing.T) {
	w := newWorld(t, nil)
	stdout, stderr := w.open("npd")
	for _, f := range []*os.File{stdout, stderr} {
		fd, err := descriptor(f)
		must(t, err)
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		must(t, err)
		if flags&unix.O_NONBLOCK != 0 || flags&unix.O_ACCMODE != unix.O_RDWR {
			t.Errorf("%s: flags %#o", f.Name(), flags)
		}
		if fdFlags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || fdFlags&unix.FD_CLOEXEC == 0 {
			t.Error("other children inherit it")
		}
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", stdout.Fd()), os.O_WRONLY|os.O_TRUNC, 0) // >/dev/stdout
	must(t, err)
	say(t, again, "by another descriptor\n")
	must(t, again.Close())
	w.expect("npd", "stdout F by another descriptor")
	// A FIFO that the container has made small, or uses for packets.
	_, err = unix.FcntlInt(stdout.Fd(), unix.F_SETPIPE_SZ, 4096)
	must(t, err)
	say(t, stdout, strings.Repeat("y", 10000)+"\n")
	w.expect("npd", "stdout F by another descriptor", "stdout F "+strings.Repeat("y", 10000))
	_, err = unix.FcntlInt(stderr.Fd(), unix.F_SETFL, unix.O_DIRECT)
	must(t, err)
	for range 40 {
		say(t, stderr, "z")
	}
	say(t, stderr, "\nnext\n")
	w.settle()
	if got, want := w.texts("npd", Query{Tail: -1, Stream: Stderr}), []string{"stderr F " + strings.Repeat("z", 40), "stderr F next"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	must(t, errors.Join(stdout.Close(), stderr.Close()))
}

func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	w := newWorld(t, nil)
	stdout, stderr := w.open("npd")
	say(t, stdout, "x\n")
	w.settle()
	for path, want := range map[string]fs.FileMode{
		"log": fs.ModeDir | 0o750, "log/npd.log": 0o640, "output": fs.ModeDir | 0o700, "output/npd": fs.ModeDir | 0o700, "output/npd/stdout": fs.ModeNamedPipe | 0o600,
	} {
		info, err := os.Stat(filepath.Join(w.dir, path))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s: %v, want %v", path, info.Mode(), want)
		}
	}
	must(t, errors.Join(stdout.Close(), stderr.Close()))
}

// What somebody put where the log is to be is not touched, the container is told of, and nothing is lost.
func TestPlanted(t *testing.T) {
	for name, plant := range map[string]func(path, victim string) error{
		"a link to a file":  func(path, victim string) error { return os.Symlink(victim, path) },
		"a link to nothing": func(path, victim string) error { return os.Symlink(victim+".new", path) },
		"a FIFO":            func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":       func(path, _ string) error { return os.Mkdir(path, 0o755) },
		"a device":          func(path, _ string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			victim := filepath.Join(t.TempDir(), "victim")
			must(t, os.WriteFile(victim, []byte("precious"), 0o600))
			must(t, plant(w.c.Path("npd"), victim))
			stdout, stderr := w.open("npd")
			say(t, stdout, "x\n")
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			for w.c.Trouble("npd") == "" && ctx.Err() == nil {
				must(t, w.c.find("npd").whenIdle(ctx))
			}
			if text := w.c.Trouble("npd"); !strings.Contains(text, "npd.log") {
				t.Errorf("trouble: %q", text)
			}
			b, err := os.ReadFile(victim)
			must(t, err)
			if string(b) != "precious" {
				t.Errorf("written through the link: %q", b)
			}
			if _, err := os.Lstat(victim + ".new"); !errors.Is(err, fs.ErrNotExist) {
				t.Error("made through the link")
			}
			must(t, os.RemoveAll(w.c.Path("npd")))
			w.expect("npd", "stdout F x")
			if text := w.c.Trouble("npd"); text != "" {
				t.Errorf("still in trouble: %s", text)
			}
			must(t, errors.Join(stdout.Close(), stderr.Close()))
		})
	}
}

func TestRemovedRenamedAndTruncated(t *testing.T) {
	w := newWorld(t, nil)
	stdout, stderr := w.open("npd")
	say(t, stdout, "one\n")
	w.settle()
	must(t, os.Rename(w.c.Path("npd"), w.c.Path("npd")+".aside"))
	say(t, stdout, "two\n")
	w.expect("npd", "stdout F two")
	must(t, os.Truncate(w.c.Path("npd"), 0))
	say(t, stdout, "three\n")
	w.expect("npd", "stdout F three")
	must(t, os.RemoveAll(filepath.Dir(w.c.Path("npd"))))
	say(t, stdout, "four\n")
	w.expect("npd", "stdout F four")
	must(t, errors.Join(stdout.Close(), stderr.Close()))
}

func TestNames(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"", ".", "..", "../npd", "a/b", "/etc/passwd"} {
		if stdout, _, err := w.c.Open(name); err == nil {
			t.Errorf("Open(%q) gave %s", name, stdout.Name())
		}
	}
}

// One container whose output has no place is no matter for another.
func TestOthersDoNotWait(t *testing.T) {
	w := newWorld(t, nil)
	must(t, os.Mkdir(w.c.Path("bad"), 0o755))
	bad, bad2 := w.open("bad")
	good, good2 := w.open("good")
	stuck := make(chan error, 1)
	go func() {
		_, err := bad.Write(bytes.Repeat([]byte("y\n"), 1<<20))
		stuck <- err
	}()
	say(t, good, strings.Repeat("fine\n", 100000))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, w.c.find("good").settle(ctx))
	if n := len(w.texts("good", Query{Tail: -1})); n != 100000 {
		t.Errorf("%d lines", n)
	}
	select {
	case err := <-stuck:
		t.Errorf("more was taken than the FIFO can hold, and is not stored: %v", err)
	default:
	}
	must(t, os.Remove(w.c.Path("bad")))
	must(t, <-stuck)
	w.settle()
	if n := len(w.texts("bad", Query{Tail: -1})); n != 1<<20 {
		t.Errorf("%d lines", n)
	}
	for _, f := range []io.Closer{bad, bad2, good, good2} {
		must(t, f.Close())
	}
}
