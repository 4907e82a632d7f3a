package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/supervisor"
)

// night is what happened to npd, with everything that an operator can meet.
func night() []history.Entry {
	at := noon.Add(-9 * time.Hour)
	id := int64(100)
	then := func(d time.Duration, e history.Entry) history.Entry {
		at = at.Add(d)
		id++
		e.ID, e.At = id, at
		if e.Container == "" && !strings.HasPrefix(e.Type, "daemon") && e.Type != history.TypeBoot && e.Type != history.TypeReload {
			e.Container = "npd"
		}
		return e
	}
	next := func(d time.Duration) *time.Time { t := at.Add(d); return &t }
	exit := func(reason string, code int, signal string) *history.Exit {
		return &history.Exit{Reason: reason, Code: code, Signal: signal}
	}
	event := func(t supervisor.EventType) string { return string(t) }
	return []history.Entry{
		then(0, history.Entry{Type: history.TypeBoot, BootID: "4b481bbf-5611-483d-965e-22304dda927b", Why: "the machine went down without the daemon being told to stop"}),
		then(0, history.Entry{Type: history.TypeDaemonStarted, Pid: 812, Version: "0.3.0"}),
		then(time.Second, history.Entry{Type: event(supervisor.EventLost), Why: "it ended with the machine"}),
		then(0, history.Entry{Type: event(supervisor.EventStarted), Cause: "daemon", Pid: 4711}),
		then(61500*time.Millisecond, history.Entry{Type: event(supervisor.EventExited), Exit: exit("exited", 3, ""), RanSeconds: 61.5, MemoryPeakBytes: 12_910_592}),
		then(0, history.Entry{Type: event(supervisor.EventRestart), Why: "policy always", Attempt: 1, NextStartAt: next(15 * time.Second)}),
		then(15*time.Second, history.Entry{Type: event(supervisor.EventStarted), Cause: "policy", Pid: 4712}),
		then(80*time.Millisecond, history.Entry{Type: event(supervisor.EventExited), Exit: exit("oom", -1, "KILL"), RanSeconds: 0.08, MemoryPeakBytes: 64 << 20}),
		then(0, history.Entry{Type: event(supervisor.EventRestart), Why: "policy always", Attempt: 2, NextStartAt: next(40 * time.Second)}),
		then(10*time.Second, history.Entry{Type: event(supervisor.EventCancelled), Cause: "hand"}),
		then(time.Minute, history.Entry{Type: event(supervisor.EventStarted), Cause: "hand", Pid: 4713}),
		then(time.Minute, history.Entry{Type: history.TypeRefused, Error: "npd.yaml:7:3: unknown key \"comand\"\n   7 | comand: [x]\n     | ^"}),
		then(time.Minute, history.Entry{Type: history.TypeApplied, Action: "restarted", Why: "env TZ changed"}),
		then(time.Second, history.Entry{Type: event(supervisor.EventStopped), Cause: "definition", Exit: exit("stopped", -1, "KILL"), RanSeconds: 121,
			MemoryPeakBytes: 12_910_592, Why: "it did not end within 10s of SIGTERM"}),
		then(0, history.Entry{Type: event(supervisor.EventStarted), Cause: "definition", Pid: 4714}),
		then(time.Minute, history.Entry{Type: event(supervisor.EventSignal), Cause: "hand", Why: "SIGHUP"}),
		then(time.Hour, history.Entry{Type: event(supervisor.EventAdopted), Pid: 4714, RanSeconds: 3700}),
		then(time.Hour, history.Entry{Type: event(supervisor.EventExited), Exit: exit("exited", 0, ""), RanSeconds: 7300, MemoryPeakBytes: 3 << 30}),
		then(0, history.Entry{Type: event(supervisor.EventNoRestart), Why: "policy on-failure, after a clean end (code 0)"}),
		then(time.Minute, history.Entry{Type: event(supervisor.EventStartFailed), Exit: exit("start-failed", -1, ""), Error: "exec: \"/bin/nope\": no such file\nor directory"}),
		then(0, history.Entry{Type: event(supervisor.EventFailed), Why: "policy no", Error: "exec: \"/bin/nope\": no such file\nor directory"}),
		then(time.Minute, history.Entry{Type: history.TypeDamaged, Why: "one line of npd.jsonl cannot be read"}),
		then(0, history.Entry{Type: history.TypeGap, Why: "3 entries are lost: the history could not be written"}),
		then(0, history.Entry{Type: event(supervisor.EventError), Error: "cannot remember its state: no space left on device"}),
		then(0, history.Entry{Container: "web", Type: event(supervisor.EventRemoved)}),
		then(0, history.Entry{Type: history.TypeReload, Cause: "hand", Why: "1 removed, 1 unchanged"}),
		then(0, history.Entry{Type: "something-new", Cause: "whatever", Why: "a \x1b[31mlater daemon"}),
	}
}

func TestPast(t *testing.T) {
	b := &controltest.Backend{Containers: fleet(), Entries: night()}
	for _, tt := range []struct{ golden, args string }{
		{"history.txt", "history npd -n 100"},
		{"history-few.txt", "history npd -n 3"},
		{"history.json", "history npd -n 2 -o json"},
		{"events.txt", "events"},
		{"events-named.txt", "events web --since 10h"},
		{"events.json", "events -n 2 -o json"},
	} {
		got := run(t, b, strings.Fields(tt.args)...)
		if got.code != 0 || got.stderr != "" {
			t.Errorf("%s: code %d, %s", tt.args, got.code, got.stderr)
		}
		golden(t, tt.golden, got.stdout)
		if strings.Contains(got.stdout, "\x1b") {
			t.Errorf("%s: what came from elsewhere commands the terminal", tt.args)
		}
	}
	for args, code := range map[string]int{
		"history": 2, "history npd web": 2, "history nope": 4, "history npd -n -1": 2, "history npd --since soon": 2, "events -n x": 2,
	} {
		if got := run(t, b, strings.Fields(args)...); got.code != code || got.stdout != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := run(t, b, "history", "redis"); got.code != 0 || !strings.Contains(got.stdout, "boot id") {
		t.Errorf("of one to which nothing happened: %+v", got)
	}
}

// Without a daemon its files are read, if it is known where they are.
func TestPastWithoutADaemon(t *testing.T) {
	dir := t.TempDir()
	l := history.Open(filepath.Join(dir, "history"), slog.New(slog.DiscardHandler), func() {})
	for _, e := range night() {
		l.Add(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.Run(ctx)
	env := map[string]string{socketEnv: filepath.Join(dir, "control.sock")}
	for _, args := range []string{"history npd", "events"} {
		got := runWith(t, env, append(strings.Fields(args), "--state-dir", dir)...)
		if got.code != 0 || !strings.Contains(got.stdout, "policy always") || !strings.Contains(got.stderr, "from its files") {
			t.Errorf("%s: %+v", args, got)
		}
		if got := runWith(t, env, strings.Fields(args)...); got.code != exitNoDaemon || !strings.Contains(got.stderr, "--state-dir") {
			t.Errorf("%s, and nobody said where: %+v", args, got)
		}
		if got := runWith(t, env, append(strings.Fields(args), "--state-dir", "/nonexistent")...); got.code != exitNoDaemon {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := runWith(t, env, "history", "nope", "--state-dir", dir); got.code != exitNoSuchContainer {
		t.Errorf("%+v", got)
	}
	if got := runWith(t, env, "events", "-f", "--state-dir", dir); got.code != exitNoDaemon {
		t.Errorf("nobody is there to be followed: %+v", got)
	}
}

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	written chan struct{}
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// waitFor waits until something was written.
func (l *lockedBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	for limit := time.After(time.Minute); !strings.Contains(l.String(), text); {
		select {
		case <-l.written:
		case <-limit:
			t.Fatalf("%q does not come; there is:\n%s", text, l)
		}
	}
}

// Followed events go on when the daemon has cut the reader off, and when it was restarted; none is missing or doubled.
func TestEventsAreFollowed(t *testing.T) {
	entry := func(id int64) history.Entry {
		return history.Entry{ID: id, At: noon, Container: "npd", Type: "started", Why: fmt.Sprintf("number %d", id)}
	}
	socket := filepath.Join(t.TempDir(), "control.sock")
	first := &controltest.Backend{Entries: []history.Entry{entry(1), entry(2)}, Live: make(chan history.Entry)}
	stop := controltest.ServeAt(t, socket, first, slog.New(slog.DiscardHandler))
	out, errs := &lockedBuffer{written: make(chan struct{}, 1)}, &lockedBuffer{written: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &program{stdout: out, stderr: errs, getenv: func(string) string { return socket }, now: func() time.Time { return noon }}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, []string{"events", "-f", "-n", "1", "-o", "json"}) }()
	out.waitFor(t, "number 2")
	first.Live <- entry(3)
	out.waitFor(t, "number 3")
	stop()
	errs.waitFor(t, "waiting for it")
	// The next daemon cuts off at once, and has more the time after.
	second := &controltest.Backend{Entries: []history.Entry{entry(1), entry(2), entry(3), entry(4)}, Live: make(chan history.Entry)}
	stop = controltest.ServeAt(t, socket, second, slog.New(slog.DiscardHandler))
	out.waitFor(t, "number 4")
	second.Live <- entry(5)
	out.waitFor(t, "number 5")
	close(second.Live)
	stop()
	cancel()
	if code := <-ended; code != exitInterrupted {
		t.Errorf("the exit code is %d", code)
	}
	var ids []int64
	for line := range strings.Lines(out.String()) {
		var e history.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		ids = append(ids, e.ID)
	}
	if fmt.Sprint(ids) != "[2 3 4 5]" {
		t.Errorf("printed %v", ids)
	}
}

func TestSince(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"10m":                  now.Add(-10 * time.Minute),
		"1h30m":                now.Add(-90 * time.Minute),
		"2d":                   now.Add(-48 * time.Hour),
		"0.5d":                 now.Add(-12 * time.Hour),
		"03:00":                time.Date(2026, 11, 25, 3, 0, 0, 0, zone),
		"03:00:30":             time.Date(2026, 11, 25, 3, 0, 30, 0, zone),
		"2026-11-24":           time.Date(2026, 11, 24, 0, 0, 0, 0, zone),
		"2026-11-24 03:00":     time.Date(2026, 11, 24, 3, 0, 0, 0, zone),
		"2026-11-24T03:00:00Z": time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC),
		"today":                time.Date(2026, 11, 25, 0, 0, 0, 0, zone),
		"yesterday":            time.Date(2026, 11, 24, 0, 0, 0, 0, zone),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "-10m", "10", "25:00", "2026-13-01", "-1d"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
