package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/uniseg"
	"go.uber.org/goleak"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write testdata anew")

// session is a top at work, in synctest's time.
type session struct {
	*fake
	screen *picture
	ended  chan error
}

func begin(t *testing.T, o Options, width, height int) *session {
	t.Helper()
	utc := func() time.Time { return time.Now().UTC() }
	s := &session{fake: newFake(utc), screen: newScreen(t, width, height), ended: make(chan error, 1)}
	o.Now, o.Delay = utc, 2*time.Second
	first, err := take(t.Context(), s.fake, nil, utc)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		s.ended <- loop(t.Context(), s.fake, o, s.screen, first)
		s.screen.Fini()
	}()
	s.wait(time.Second) // until there are rates
	return s
}

// wait lets time pass.
func (s *session) wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (s *session) press(keys ...any) string {
	for _, k := range keys {
		switch k := k.(type) {
		case rune:
			s.screen.InjectKey(tcell.KeyRune, k, tcell.ModNone)
		case tcell.Key:
			s.screen.InjectKey(k, 0, tcell.ModNone)
		}
		synctest.Wait()
	}
	return s.screen.text()
}

func (s *session) quit(t *testing.T) {
	t.Helper()
	s.press('q')
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
}

// What it looks like at the two sizes that people have: the pictures in testdata.
func TestPictures(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {200, 50}} {
		for _, p := range []struct {
			name string
			keys []any
		}{
			{"table", []any{'s'}},
			{"detail", []any{'s', tcell.KeyEnd, tcell.KeyUp, tcell.KeyEnter}},
		} {
			file := filepath.Join("testdata", fmt.Sprintf("%s-%dx%d.txt", p.name, size[0], size[1]))
			t.Run(filepath.Base(file), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := begin(t, Options{Order: ByName}, size[0], size[1])
					defer s.quit(t)
					got := s.press(p.keys...)
					got = strings.ReplaceAll(got, fmt.Sprintf("of %d00%%", runtime.NumCPU()), "of 200%")
					if *update {
						if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					want, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					if got != string(want) {
						t.Errorf("got\n%s\nwant\n%s", got, want)
					}
				})
			})
		}
	}
}

// lineWith is the line of a container.
func lineWith(text, name string) int {
	for i, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, name+" ") {
			return i
		}
	}
	return -1
}

// Keys sort, and once more the other way round; the selection stays with its container.
func TestKeysSort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t, Options{Order: ByName}, 80, 24)
		defer s.quit(t)
		above := func(text, a, b string) {
			t.Helper()
			if la, lb := lineWith(text, a), lineWith(text, b); la < 0 || lb < 0 || la > lb {
				t.Errorf("%s is not above %s:\n%s", a, b, text)
			}
		}
		above(s.press(), "broken !", "crash")
		above(s.press('n'), "web", "npd")
		text := s.press('c')
		above(text, "web", "npd")
		above(text, "npd", "broken !")
		above(s.press('c'), "npd", "web")
		above(s.press('m'), "web", "npd")
		above(s.press('r'), "crash", "npd")
		above(s.press('u'), "npd", "web")
		above(s.press('R'), "web", "npd")
		above(s.press('s'), "broken !", "web")
	})
}

// A daemon that is away is told; what was seen last stays, and it is asked again.
func TestADaemonThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t, Options{Order: ByName}, 80, 24)
		defer s.quit(t)
		s.set(func(f *fake) { f.fail = errors.New("no daemon listens on /run/x") })
		s.wait(2 * time.Second)
		if text := s.press(); !strings.Contains(text, "! no daemon listens on /run/x") || lineWith(text, "npd") < 0 {
			t.Error(text)
		}
		s.set(func(f *fake) { f.fail = nil })
		s.wait(2 * time.Second)
		if text := s.press(); strings.Contains(text, "no daemon") {
			t.Error(text)
		}
	})
}

// The terminal may become any size, and nothing is drawn beside it.
func TestAnySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t, Options{Order: ByState}, 80, 24)
		defer s.quit(t)
		for _, detail := range []bool{false, true} {
			for _, size := range [][2]int{{1, 1}, {10, 3}, {40, 10}, {79, 24}, {132, 43}, {300, 100}, {80, 2}, {80, 24}} {
				s.screen.SetSize(size[0], size[1])
				_ = s.screen.PostEvent(tcell.NewEventResize(size[0], size[1]))
				s.press(tcell.KeyDown)
			}
			if text := s.press(); strings.Contains(text, "esc back") != detail {
				t.Errorf("detail=%v:\n%s", detail, text)
			}
			s.press(tcell.KeyEnter)
		}
	})
}

// The selected container is followed in the detail view; one that is removed is said to be gone.
func TestDetailOfOneThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begin(t, Options{Order: ByName}, 80, 24)
		defer s.quit(t)
		if text := s.press(tcell.KeyDown, tcell.KeyDown, tcell.KeyEnter); !strings.Contains(text, "nothing is known of it") {
			t.Error(text)
		}
		if text := s.press(tcell.KeyDown); !strings.Contains(text, "Memory    24.0M (38% of the limit, 64.0M)") || strings.Contains(text, "nothing is known of it") {
			t.Error(text)
		}
		s.set(func(f *fake) {
			f.list = slices.DeleteFunc(f.list, func(s supervisor.Snapshot) bool { return s.Name == "npd" })
		})
		s.wait(2 * time.Second)
		if text := s.press(); !strings.Contains(text, "npd is gone") {
			t.Error(text)
		}
		if text := s.press(tcell.KeyEscape); lineWith(text, "npd") >= 0 || lineWith(text, "web") < 0 {
			t.Error(text)
		}
	})
}

// It is the context that ends it, too.
func TestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, screen := newFake(time.Now), newScreen(t, 80, 24)
		defer screen.Fini()
		first, err := take(t.Context(), f, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := loop(ctx, f, Options{Order: ByName, Delay: time.Second, Now: time.Now}, screen, first); err != nil {
			t.Error(err)
		}
		if f.looks < 60 {
			t.Errorf("%d looks in a minute", f.looks)
		}
	})
}

// Rates are between two looks at one instance, and unknown otherwise.
func TestRates(t *testing.T) {
	at := time.Unix(1000, 0)
	one := func(pid int, cpu float64, after time.Duration) *sample {
		return &sample{
			containers: []supervisor.Snapshot{{Name: "a", Pid: pid}},
			stats:      map[string]control.Stats{"a": {Name: "a", Pid: pid, Usage: usage.Usage{At: at.Add(after), CPU: &usage.CPU{UsageSeconds: cpu}}}},
		}
	}
	for name, c := range map[string]struct {
		before, now *sample
		want        string
	}{
		"half a processor": {one(1, 10, 0), one(1, 11, 2*time.Second), "50.0"},
		"idle":             {one(1, 10, 0), one(1, 10, time.Second), "0.0"},
		"first look":       {nil, one(1, 10, 0), "-"},
		"new instance":     {one(1, 10, 0), one(2, 20, time.Second), "-"},
		"same pid again":   {one(1, 10, 0), one(1, 5, time.Second), "-"},
		"no time passed":   {one(1, 10, 0), one(1, 11, 0), "-"},
	} {
		if got := percentOf(rows(c.before, c.now)[0].CPUPercent); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The columns of every width fit into it, and a wider terminal never has fewer.
func TestColumnsFit(t *testing.T) {
	all := rows(nil, &sample{containers: newFake(time.Now).list})
	before := 0
	for width := 70; width < 300; width++ {
		fit := fitting(width, all)
		total := -gap
		for _, c := range fit {
			total += c.width + gap
		}
		if total > width {
			t.Errorf("%d columns take %d of %d", len(fit), total, width)
		}
		if len(fit) < before {
			t.Errorf("fewer columns at %d", width)
		}
		before = len(fit)
	}
	if before != len(columns) {
		t.Errorf("%d columns at most", before)
	}
}

// --once prints what is known, as wide as it is asked to be.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(time.Now)
		all, at, err := Once(t.Context(), f, Options{Order: ByCPU, Delay: 5 * time.Second, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		text := Text(all, at, 80)
		lines := strings.Split(text, "\n")
		if !strings.HasPrefix(lines[0], "NAME") || !strings.HasPrefix(lines[1], "web ") || !strings.Contains(lines[1], "50.0") || !strings.HasPrefix(lines[2], "npd ") {
			t.Error(text)
		}
		for _, l := range lines {
			if uniseg.StringWidth(l) > 80 {
				t.Errorf("too wide: %q", l)
			}
		}
		if wide := Text(all, at, 0); !strings.Contains(wide, "LAST EXIT") || !strings.Contains(wide, "SIGSEGV, 4m ago") {
			t.Error(wide)
		}
		f.fail = errors.New("no daemon")
		if _, _, err := Once(t.Context(), f, Options{Now: time.Now}); !errors.Is(err, f.fail) {
			t.Error(err)
		}
	})
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"abc", 0, ""}, {"", 0, ""}} {
		if got := cut(c.text, c.width); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
