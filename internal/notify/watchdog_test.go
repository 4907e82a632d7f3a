package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// loop is a supervisor's loop as a check sees it.
type loop struct {
	asked chan chan struct{}
	hang  chan bool // true: stop answering, false: answer again
}

func startLoop(ctx context.Context) *loop {
	l := &loop{asked: make(chan chan struct{}), hang: make(chan bool)}
	go func() {
		asked := l.asked
		for {
			select {
			case answer := <-asked:
				close(answer)
			case hang := <-l.hang:
				asked = l.asked
				if hang {
					asked = nil
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

func (l *loop) check(ctx context.Context) error {
	answer := make(chan struct{})
	select {
	case l.asked <- answer:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("container npd does not answer: %w", ctx.Err())
	}
}

// pings collects when pings came, in seconds since the start.
type pings struct {
	start time.Time
	at    []float64
}

func (p *pings) ping() error {
	p.at = append(p.at, time.Since(p.start).Seconds())
	return nil
}

func TestWatchdogPingsWhileTheLoopAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := startLoop(ctx)
		p := &pings{start: time.Now()}
		var out bytes.Buffer
		done := make(chan struct{})
		go func() {
			defer close(done)
			NewWatchdog(30*time.Second, l.check, p.ping, slog.New(slog.NewTextHandler(&out, nil))).Run(ctx)
		}()

		after(t, 25*time.Second)
		if want := []float64{0, 10, 20}; !slices.Equal(p.at, want) {
			t.Errorf("pings at %v, want %v", p.at, want)
		}
		l.hang <- true
		after(t, 60*time.Second)
		if len(p.at) != 3 {
			t.Errorf("pings at %v although the loop hangs since 25", p.at)
		}
		if !strings.Contains(out.String(), "container npd does not answer") {
			t.Errorf("the log does not name the loop that hangs: %s", out.String())
		}
		l.hang <- false
		after(t, 30*time.Second)
		if len(p.at) < 5 {
			t.Errorf("pings at %v although the loop answers again since 85", p.at)
		}
		if !strings.Contains(out.String(), "again") {
			t.Errorf("the log does not say that it is over: %s", out.String())
		}
		cancel()
		<-done
	})
}

// after lets the bubble's time pass.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}

// Whatever a check that answers in time takes, two pings are never further apart than the interval.
func TestSlowChecksKeepTheInterval(t *testing.T) {
	for _, takes := range []time.Duration{0, time.Millisecond, 5 * time.Second, 9999 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			p := &pings{start: time.Now()}
			check := func(ctx context.Context) error {
				select {
				case <-time.After(takes):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			NewWatchdog(30*time.Second, check, p.ping, slog.New(slog.DiscardHandler)).Run(ctx)
			last := 0.0
			for _, at := range append(p.at, 600) {
				if at-last > 30 {
					t.Errorf("a check of %v: no ping between %v and %v", takes, last, at)
				}
				last = at
			}
		})
	}
}

// A check that ignores its context is never begun a second time, sends no ping, and holds up nobody's end.
func TestSilentCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := &pings{start: time.Now()}
		var out bytes.Buffer
		begun := 0
		release := make(chan struct{})
		check := func(context.Context) error {
			begun++
			<-release
			return nil
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			NewWatchdog(30*time.Second, check, p.ping, slog.New(slog.NewTextHandler(&out, nil))).Run(ctx)
		}()
		after(t, 5*time.Minute)
		if begun != 1 || len(p.at) != 0 {
			t.Errorf("%d checks begun, pings at %v", begun, p.at)
		}
		if !strings.Contains(out.String(), errSilent.Error()) {
			t.Errorf("log: %s", out.String())
		}
		cancel()
		<-done // although the check has not returned
		close(release)
	})
}

// A check that says all is well after its deadline does not count: the loop took too long.
func TestLateAnswerIsNoPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		p := &pings{start: time.Now()}
		check := func(context.Context) error {
			<-time.After(11 * time.Second)
			return nil
		}
		NewWatchdog(30*time.Second, check, p.ping, slog.New(slog.DiscardHandler)).Run(ctx)
		if len(p.at) != 0 {
			t.Errorf("pings at %v", p.at)
		}
		<-time.After(time.Minute) // the last check ends
	})
}

func TestWatchdogFailedPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		tries := 0
		ping := func() error { tries++; return errors.New("socket is full") }
		var out bytes.Buffer
		NewWatchdog(30*time.Second, func(context.Context) error { return nil }, ping,
			slog.New(slog.NewTextHandler(&out, nil))).Run(ctx)
		if tries != 3 || !strings.Contains(out.String(), "socket is full") {
			t.Errorf("%d tries; log: %s", tries, out.String())
		}
	})
}

func TestWatchdogNotWanted(t *testing.T) {
	check := func(context.Context) error { t.Error("checked"); return nil }
	NewWatchdog(0, check, nil, slog.New(slog.DiscardHandler)).Run(t.Context())
}

func TestWatchdogOverASocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	next := listen(t, socket)
	n, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewWatchdog(300*time.Millisecond, func(context.Context) error { return nil }, n.Ping,
			slog.New(slog.DiscardHandler)).Run(ctx)
	}()
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Errorf("got %q", got)
		}
	}
	cancel()
	<-done
}
