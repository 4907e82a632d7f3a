package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// written is a log that is being written in a world of its own.
type written struct {
	*Log
	said   *said
	cancel context.CancelFunc
	done   chan struct{}
}

// begin opens the history in dir and writes it until the test ends or end is called.
func begin(t *testing.T, dir string) *written {
	t.Helper()
	w := &written{said: &said{}, done: make(chan struct{})}
	w.Log = Open(dir, slog.New(slog.NewTextHandler(w.said, nil)), func() {})
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	go func() { defer close(w.done); w.Run(ctx) }()
	return w
}

// said is what the log has said.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (w *written) end() { w.cancel(); <-w.done }

func (w *written) whys(t *testing.T, q Query) []string {
	t.Helper()
	entries, err := w.Read(q)
	if err != nil {
		t.Fatal(err)
	}
	return whys(entries)
}

func whys(entries []Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Container+":"+e.Why)
	}
	return out
}

func note(container string, n int) Entry {
	return Entry{Container: container, Type: "exited", Why: fmt.Sprint(n)}
}

func TestQueries(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, dir)
		w.Add(Entry{Type: TypeBoot, Why: "boot"})
		for n := range 3 {
			w.Add(note("web", n))
			w.Add(note("npd", n))
			<-time.After(time.Minute)
		}
		w.Add(Entry{Type: TypeReload, Why: "reload"})
		synctest.Wait()
		all, err := w.Read(Query{})
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			q    Query
			want []string
		}{
			"all":     {Query{}, []string{":boot", "web:0", "npd:0", "web:1", "npd:1", "web:2", "npd:2", ":reload"}},
			"one":     {Query{Containers: []string{"web"}}, []string{":boot", "web:0", "web:1", "web:2"}},
			"unknown": {Query{Containers: []string{"nope"}}, []string{":boot"}},
			"newest":  {Query{Limit: 2}, []string{"npd:2", ":reload"}},
			"since":   {Query{Since: time.Now().Add(-90 * time.Second)}, []string{"web:2", "npd:2", ":reload"}},
			"after":   {Query{After: all[4].ID}, []string{"web:2", "npd:2", ":reload"}},
			"none":    {Query{Limit: -1}, nil},
		} {
			if got := w.whys(t, c.q); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
			if files, err := Read(dir, c.q); err != nil || !slices.Equal(whys(files), c.want) {
				t.Errorf("%s: the files have %v, %v", name, whys(files), err)
			}
		}
		if _, err := w.Read(Query{Containers: []string{"../web"}}); err == nil {
			t.Error("a path is taken for a name")
		}
		w.end()
	})
}

// IDs grow over a restart, also with a clock that was set back meanwhile.
func TestIDsGrow(t *testing.T) {
	dir := t.TempDir()
	w := begin(t, dir)
	w.Add(note("web", 1))
	w.end()
	first, err := w.Read(Query{})
	if err != nil || len(first) != 1 {
		t.Fatalf("%v, %v", first, err)
	}
	synctest.Test(t, func(t *testing.T) { // where it is the year 2000
		w := begin(t, dir)
		w.Add(note("npd", 2))
		w.end()
		all, err := w.Read(Query{})
		if err != nil || len(all) != 2 || all[1].ID <= first[0].ID || all[1].Container != "npd" {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

// The removal of a container takes its history with it, but not that it was removed.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	w := begin(t, dir)
	w.Add(note("web", 1))
	w.Add(note("npd", 1))
	w.Add(Entry{Container: "web", Type: string(supervisor.EventRemoved), Why: "removed"})
	w.Forget("web")
	w.Add(note("npd", 2))
	w.end()
	if got, want := w.whys(t, Query{Containers: []string{"web"}}), []string{"web:removed"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if names, err := w.Containers(); err != nil || !slices.Equal(names, []string{"npd"}) {
		t.Errorf("%v, %v", names, err)
	}
	if got := w.whys(t, Query{Containers: []string{"npd"}}); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// What cannot be written is kept, said once, and written in order when that is possible; other containers do not suffer.
func TestTroubleIsWaitedOut(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, dir)
		obstacle := containerPath(dir, "web")
		if err := os.MkdirAll(obstacle, 0o700); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			w.Add(note("web", n))
			w.Add(note("npd", n))
			<-time.After(time.Minute)
		}
		synctest.Wait()
		if err := w.Err(); err == nil || !strings.Contains(err.Error(), obstacle) {
			t.Errorf("the error is %v", err)
		}
		if said := w.said.String(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, obstacle) {
			t.Errorf("said:\n%s", said)
		}
		if files, err := Read(dir, Query{Containers: []string{"npd"}}); err != nil || len(files) != 3 {
			t.Errorf("of npd there is %v, %v", whys(files), err)
		}
		if err := os.Remove(obstacle); err != nil {
			t.Fatal(err)
		}
		<-time.After(writeAgain + time.Second)
		synctest.Wait()
		want := []string{"web:0", "web:1", "web:2"}
		if files, err := Read(dir, Query{Containers: []string{"web"}}); err != nil || !slices.Equal(whys(files), want) {
			t.Errorf("of web there is %v, %v", whys(files), err)
		}
		if w.Err() != nil || strings.Count(w.said.String(), "can be written again") != 1 {
			t.Errorf("said:\n%s\nerror: %v", w.said, w.Err())
		}
		w.end()
	})
}

// Beyond what is kept in memory entries are lost, and the history says so.
func TestLossIsTold(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, dir)
		obstacle := containerPath(dir, "web")
		if err := os.MkdirAll(obstacle, 0o700); err != nil {
			t.Fatal(err)
		}
		for n := range maxQueued + 10 {
			w.Add(note("web", n))
		}
		if err := os.Remove(obstacle); err != nil {
			t.Fatal(err)
		}
		<-time.After(writeAgain + time.Second)
		w.end()
		files, err := Read(dir, Query{Containers: []string{"web"}})
		if err != nil {
			t.Fatal(err)
		}
		last := files[len(files)-1]
		if last.Type != TypeGap || !strings.HasPrefix(last.Why, "10 entries are lost") || files[len(files)-2].Why != fmt.Sprint(maxQueued-1) {
			t.Errorf("it ends with %+v", files[len(files)-2:])
		}
	})
}

// A follower gets what there is and what comes, each once and in order, however the two meet.
func TestFollowMissesNothing(t *testing.T) {
	w := begin(t, t.TempDir())
	const n = 500
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var got []string
			var last, lastID int64
			err := w.Follow(t.Context(), Query{Containers: []string{"web"}}, func(e Entry) error {
				if e.ID <= lastID {
					t.Errorf("%d after %d", e.ID, lastID)
				}
				last, lastID = last+1, e.ID
				got = append(got, e.Why)
				if last == n {
					return errEnough
				}
				return nil
			})
			for errors.Is(err, ErrTooSlow) {
				err = w.Follow(t.Context(), Query{Containers: []string{"web"}, After: lastID}, func(e Entry) error {
					last, lastID = last+1, e.ID
					got = append(got, e.Why)
					if last == n {
						return errEnough
					}
					return nil
				})
			}
			if !errors.Is(err, errEnough) {
				t.Errorf("after %d: %v", last, err)
			}
			for i, why := range got {
				if why != fmt.Sprint(i) {
					t.Errorf("number %d is %s", i, why)
					break
				}
			}
		})
	}
	for i := range n {
		w.Add(note("npd", i))
		w.Add(note("web", i))
	}
	wg.Wait()
	w.end()
}

var errEnough = errors.New("enough")

// One who does not read costs nobody anything: it is cut off, and finds the rest when it asks again.
func TestSlowFollowerIsCutOff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, dir)
		w.Add(note("web", 0))
		synctest.Wait()
		wait, got := make(chan struct{}), 0
		var last int64
		ended := make(chan error, 1)
		go func() {
			ended <- w.Follow(t.Context(), Query{}, func(e Entry) error {
				<-wait
				got++
				last = e.ID
				return nil
			})
		}()
		synctest.Wait()
		const more = maxBehind + 50
		for n := range more {
			w.Add(note("web", n+1))
		}
		close(wait)
		if err := <-ended; !errors.Is(err, ErrTooSlow) {
			t.Errorf("it ended with %v", err)
		}
		if got != maxBehind+1 {
			t.Errorf("it got %d before", got)
		}
		rest, err := w.Read(Query{After: last})
		if err != nil || len(rest) != more-maxBehind {
			t.Errorf("%d are left, %v", len(rest), err)
		}
		if len(w.hub.followers) != 0 {
			t.Error("it is still there")
		}
		w.end()
		if err := w.Follow(t.Context(), Query{}, nil); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestFollowEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, dir)
		nothing := func(Entry) error { return nil }
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- w.Follow(ctx, Query{}, nothing) }()
		synctest.Wait()
		cancel(errEnough)
		if err := <-ended; !errors.Is(err, errEnough) {
			t.Errorf("left: %v", err)
		}
		go func() { ended <- w.Follow(t.Context(), Query{}, nothing) }()
		synctest.Wait()
		w.end()
		if err := <-ended; !errors.Is(err, ErrEnded) {
			t.Errorf("the log ended: %v", err)
		}
	})
}

func TestEventBecomesAnEntry(t *testing.T) {
	at := time.Date(2026, 11, 25, 3, 1, 12, 123_456_789, time.UTC)
	next := at.Add(15 * time.Second)
	e := Of(supervisor.Event{
		Type: supervisor.EventExited, At: at, Ran: 61_500 * time.Millisecond, MemoryPeak: 4096, Err: errors.New(strings.Repeat("é", 2000)),
		Snapshot: supervisor.Snapshot{Name: "web", Pid: 7, NextStartAt: &next, LastExit: &supervisor.Exit{Reason: supervisor.ReasonOOM, Code: -1, Signal: "KILL"}},
	})
	e.tidy()
	if e.At.Nanosecond() != 123_000_000 || e.RanSeconds != 61.5 || *e.Exit != (Exit{"oom", -1, "KILL"}) || e.Pid != 0 || e.NextStartAt != nil {
		t.Errorf("%+v", e)
	}
	if len(e.Error) > maxText || !strings.HasSuffix(e.Error, "é…") {
		t.Errorf("a text of %d bytes that ends with %q", len(e.Error), e.Error[len(e.Error)-8:])
	}
	r := Of(supervisor.Event{Type: supervisor.EventRestart, At: at, Why: "policy always", Attempt: 2, Snapshot: supervisor.Snapshot{Name: "web", NextStartAt: &next}})
	if r.NextStartAt == nil || r.Attempt != 2 || r.Why != "policy always" {
		t.Errorf("%+v", r)
	}
}
