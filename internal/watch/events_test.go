package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// fakeSource says what the test tells it to.
type fakeSource struct {
	events chan fsnotify.Event
	errors chan error

	mu      sync.Mutex
	full    bool // no room for watches
	watched []string
	closed  bool
}

func newFakeSource() *fakeSource {
	return &fakeSource{events: make(chan fsnotify.Event), errors: make(chan error)}
}

func (f *fakeSource) Add(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return syscall.ENOSPC
	}
	f.watched = append(f.watched, path)
	return nil
}

func (f *fakeSource) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched = slices.DeleteFunc(f.watched, func(p string) bool { return p == path })
	return nil
}

func (f *fakeSource) WatchList() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.watched)
}

func (f *fakeSource) Events() <-chan fsnotify.Event { return f.events }
func (f *fakeSource) Errors() <-chan error          { return f.errors }

func (f *fakeSource) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.events)
		close(f.errors)
	}
	return nil
}

// inBubble runs a Watcher of one existing file with a fake source, in time that passes at once.
func inBubble(t *testing.T, test func(t *testing.T, w *Watcher, src *fakeSource, d tree)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := tree{t, dir}
		d.write("a", "1")
		src := newFakeSource()
		w := New(slog.New(slog.DiscardHandler), Options{})
		w.open = func() (source, error) { return src, nil }
		w.Set([]string{d.path("a")})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		<-w.Changed()
		test(t, w, src, d)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}

// took returns how long it takes until Changed, at most a minute.
func took(t *testing.T, w *Watcher) time.Duration {
	t.Helper()
	begin := time.Now()
	select {
	case <-w.Changed():
	case <-time.After(time.Minute):
		t.Fatal("no Changed")
	}
	return time.Since(begin)
}

func TestOverflow(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Watcher, src *fakeSource, d tree) {
		d.write("a", "2")
		src.errors <- fsnotify.ErrEventOverflow
		if d := took(t, w); d > time.Second {
			t.Errorf("Changed after %v", d)
		}
	})
}

func TestLostEventsAreFoundByTheRegularLook(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Watcher, _ *fakeSource, d tree) {
		d.write("a", "2")
		if d := took(t, w); d > 60*time.Second || d < 30*time.Second {
			t.Errorf("Changed after %v", d)
		}
	})
}

func TestEventsWaitForQuietButNotForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Watcher, src *fakeSource, d tree) {
		d.write("a", "2")
		src.events <- fsnotify.Event{Name: d.path("a"), Op: fsnotify.Write}
		if d := took(t, w); d != 250*time.Millisecond {
			t.Errorf("one event: Changed after %v, want 250ms", d)
		}

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			tick := time.NewTicker(170 * time.Millisecond) // never at the same moment as a look
			defer tick.Stop()
			for i := 0; ; i++ {
				if err := os.WriteFile(d.path("a"), fmt.Append(nil, "steady ", i), 0o600); err != nil {
					t.Error(err)
				}
				select {
				case src.events <- fsnotify.Event{Name: d.path("a"), Op: fsnotify.Write}:
				case <-ctx.Done():
					return
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
			}
		}()
		for range 5 {
			if d := took(t, w); d > 1170*time.Millisecond || d < 900*time.Millisecond {
				t.Errorf("a steady stream: Changed after %v, want about 1s", d)
			}
		}
		cancel()
		<-done
	})
}

func TestPollingWithoutInotify(t *testing.T) {
	for name, without := range map[string]func() (source, error){
		"no instance left": func() (source, error) { return nil, os.NewSyscallError("inotify_init1", syscall.EMFILE) },
		"no watch left": func() (source, error) {
			src := newFakeSource()
			src.full = true
			return src, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				d := tree{t, dir}
				var out lockedBuffer
				var room atomic.Bool
				w := New(slog.New(slog.NewTextHandler(&out, nil)), Options{})
				w.open = func() (source, error) {
					if room.Load() {
						return newFakeSource(), nil
					}
					return without()
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				w.Set([]string{d.path("a")})
				go func() { done <- w.Run(ctx) }()
				<-w.Changed()
				for i := range 3 {
					d.write("a", strings.Repeat("x", i+1))
					if d := took(t, w); d > time.Second {
						t.Errorf("Changed after %v", d)
					}
				}
				if n := strings.Count(out.String(), "level=WARN"); n != 1 || !strings.Contains(out.String(), "fs.inotify") {
					t.Errorf("%d warnings, want one that says what to do: %s", n, out.String())
				}
				room.Store(true)
				<-time.After(2 * time.Second)
				if !strings.Contains(out.String(), "again") {
					t.Errorf("inotify was not tried again: %s", out.String())
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestSourceThatEndsIsOpenedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Watcher, src *fakeSource, d tree) {
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
		d.write("a", "2")
		if d := took(t, w); d > time.Second {
			t.Errorf("Changed after %v", d)
		}
	})
}

// Watches of what is no longer on the way are given back, and nothing is watched beside the way.
func TestWatchedDirectories(t *testing.T) {
	d := tree{t, t.TempDir()}
	d.mkdir("x/v1")
	d.mkdir("x/v2")
	d.mkdir("y")
	d.write("x/v1/a", "1")
	d.symlink("v1", "x/live")
	src := newFakeSource()
	e := startEvents(src, slog.New(slog.DiscardHandler))
	defer func() {
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	}()
	below := func() []string {
		var dirs []string
		for _, p := range src.WatchList() {
			if rel, ok := strings.CutPrefix(p, d.dir); ok {
				dirs = append(dirs, rel)
			}
		}
		slices.Sort(dirs)
		return dirs
	}
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() {}, []string{"/x", "/x/v1"}},
		{func() { d.remove("x/live"); d.symlink("../y", "x/live") }, []string{"", "/x", "/y"}},
		{func() { d.remove("y") }, []string{"", "/x"}},
		{func() { d.remove("x") }, []string{""}},
		{func() { d.mkdir("x/live") }, []string{"/x", "/x/live"}},
	} {
		step.do()
		if _, err := e.follow(findTrail([]string{d.path("x/live/a")})); err != nil {
			t.Fatal(err)
		}
		if got := below(); !slices.Equal(got, step.want) {
			t.Errorf("watched %q, want %q", got, step.want)
		}
	}
}
