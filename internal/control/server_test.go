package control_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/supervisor"
)

func at(t *testing.T, s string) *time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return &parsed
}

// npd is the container of design.md, with times that need rounding and moving to UTC.
func npd(t *testing.T) supervisor.Snapshot {
	return supervisor.Snapshot{
		Name: "npd", Enabled: true, State: supervisor.StateRunning, Pid: 4711, Ready: true, Health: supervisor.HealthHealthy,
		StartedAt: at(t, "2026-11-23T06:05:00.987654321+01:00"), Restarts: 3,
		LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, Code: 3, At: *at(t, "2026-11-23T06:04:45.5+01:00")},
		Bundle:   "/var/lib/runcsup/bundles/npd",
	}
}

const npdJSON = `{"name":"npd","enabled":true,"state":"running","pid":4711,"ready":true,"health":"healthy",` +
	`"startedAt":"2026-11-23T05:05:00Z","restarts":3,"nextStartAt":null,` +
	`"lastExit":{"reason":"exited","code":3,"signal":"","at":"2026-11-23T05:04:45Z"},` +
	`"bundle":"/var/lib/runcsup/bundles/npd","adopted":false,"error":""}`

var quiet = slog.New(slog.DiscardHandler)

// ask sends a request as curl would, and returns status and body.
func ask(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	client := httpClient(socket)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := "application/json"
	if (strings.HasPrefix(path, "/v1/events") || strings.Contains(path, "/logs")) && resp.StatusCode == http.StatusOK {
		want = "application/x-ndjson"
	}
	if got := resp.Header.Get("Content-Type"); got != want {
		t.Errorf("%s %s: Content-Type is %q", method, path, got)
	}
	return resp.StatusCode, strings.TrimSuffix(string(b), "\n")
}

func httpClient(socket string) *http.Client {
	var d net.Dialer
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", socket)
	}}}
}

func TestAnswers(t *testing.T) {
	typed := &control.Error{Code: control.CodeStartLimit, Message: "started 5 times", Hint: "reset-failed"}
	b := &controltest.Backend{
		Containers: []supervisor.Snapshot{{Name: "web", State: supervisor.StateStopped}, npd(t)},
		Changes:    []control.Change{{Name: "web", Action: control.ActionUnchanged}, {Name: "npd", Action: control.ActionRestarted, Why: []string{"env TZ changed"}}},
		Fail: map[string]error{
			"start web":             fmt.Errorf(`cannot start "web": %w`, typed),
			"restart web":           errors.New(`cannot start "web": runc run: no <rootfs>`),
			"stop web":              controltest.Panic("a bug"),
			"enable web now=false":  fmt.Errorf("cannot start: %w", &supervisor.StartLimitError{Name: "web", Limit: supervisor.StartLimit{Burst: 5, Interval: time.Minute}}),
			"disable web now=false": &supervisor.NotRunningError{Name: "web", State: supervisor.StateStopped},
			"reset-failed web":      fmt.Errorf("%q: %w", "web", supervisor.ErrNoContainer),
			"kill web 15 all=false": supervisor.ErrClosed,
			"build web":             &control.Error{Code: control.CodeRefused, Message: "web.yaml:1:1: no"},
		},
	}
	socket := controltest.Serve(t, b, quiet)
	long := strings.Repeat("x", 100<<10)
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string // whole answer, or a part in …
	}{
		{"GET", "/v1/containers/npd", "", 200, npdJSON},
		{"GET", "/v1/containers?name=npd", "", 200, "[" + npdJSON + "]"},
		{"GET", "/v1/containers", "", 200, "…[" + npdJSON + `,{"name":"web"…`}, // sorted
		{"GET", "/v1/containers/none", "", 404, `{"error":{"code":"no-such-container","message":"no such container \"none\"","hint":"runcsup list shows all"}}`},
		{"GET", "/v1/containers?name=none", "", 404, `…"no-such-container"…`},
		{"GET", "/v1/containers/npd/definition", "", 200, `…"name":"npd"…`},
		{"POST", "/v1/containers/npd/start", "", 200, `…"name":"npd"…`},
		{"POST", "/v1/containers/npd/start", "{}", 200, `…"name":"npd"…`},
		{"POST", "/v1/containers/npd/start", `{"wait":false}`, 202, `…"name":"npd"…`},
		{"POST", "/v1/containers/none/start", `{"wait":false}`, 404, `…"no-such-container"…`},
		{"POST", "/v1/containers/npd/kill", `{"signal":"sighup","all":true}`, 200, `…"name":"npd"…`},
		{"POST", "/v1/containers/npd/kill", `{"signal":"NOPE"}`, 400, `{"error":{"code":"usage","message":"cannot kill \"npd\": unknown signal \"NOPE\""}}`},
		{"POST", "/v1/containers/npd/enable", `{"now":true}`, 200, `…"enabled":true…`},
		{"POST", "/v1/containers/npd/disable", ``, 200, `…"enabled":false…`},
		{"POST", "/v1/containers/npd/reset-failed", ``, 200, `…"restarts":0…`},
		{"POST", "/v1/containers/npd/build", ``, 200, `{"name":"npd","path":"/var/lib/runcsup/bundles/npd"}`},
		{"POST", "/v1/reload", `{"names":[]}`, 200, `[{"name":"npd","action":"restarted","why":["env TZ changed"],"error":""},{"name":"web","action":"unchanged","why":[],"error":""}]`},
		{"POST", "/v1/reload", `{"names":["other"]}`, 200, `[]`},
		{"GET", "/v1/diff?name=web", ``, 200, `[{"name":"web","action":"unchanged","why":[],"error":""}]`},
		// errors of the backend
		{"POST", "/v1/containers/web/start", "", 409, `{"error":{"code":"start-limit","message":"cannot start \"web\": started 5 times","hint":"reset-failed"}}`},
		{"POST", "/v1/containers/web/restart", "", 500, `{"error":{"code":"failed","message":"cannot start \"web\": runc run: no <rootfs>"}}`},
		{"POST", "/v1/containers/web/enable", "", 409, `…"code":"start-limit"…`},
		{"POST", "/v1/containers/web/disable", "", 409, `…"code":"conflict"…`},
		{"POST", "/v1/containers/web/reset-failed", "", 404, `…"code":"no-such-container"…`},
		{"POST", "/v1/containers/web/kill", "", 503, `…"code":"unavailable"…`},
		{"POST", "/v1/containers/web/stop", "", 500, `…"code":"internal"…`},
		{"POST", "/v1/containers/web/build", "", 422, `…"code":"refused"…`},
		// wrong requests
		{"GET", "/", "", 404, `…"code":"no-such-route"…`},
		{"GET", "/v1/containers/", "", 404, `…"code":"no-such-route"…`},
		{"POST", "/v1/nonsense", "", 404, `…"code":"no-such-route"…`},
		{"DELETE", "/v1/containers/npd", "", 405, `…"code":"method-not-allowed"…`},
		{"GET", "/v1/reload", "", 405, `…"hint":"use POST"…`},
		{"POST", "/v1/containers/npd/start", `{"wiat":false}`, 400, `…unknown field \"wiat\"…`},
		{"POST", "/v1/containers/npd/start", `{"wait":"no"}`, 400, `…"code":"usage"…`},
		{"POST", "/v1/containers/npd/start", `{} {}`, 400, `…more than one JSON value…`},
		{"POST", "/v1/containers/npd/start", `{"wait`, 400, `…"code":"usage"…`},
		{"POST", "/v1/reload", `{"names":["` + long + `"]}`, 400, `…too large…`},
		{"GET", "/v1/version", "", 200, `…"version":""…`},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			status, got := ask(t, socket, tt.method, tt.path, tt.body)
			if status != tt.status {
				t.Errorf("status is %d, want %d", status, tt.status)
			}
			if !json.Valid([]byte(got)) {
				t.Errorf("the answer is no JSON: %s", got)
			}
			part := strings.Trim(tt.want, "…")
			if part == tt.want && got != tt.want || !strings.Contains(got, part) {
				t.Errorf("answer is\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestNoContainersIsAnEmptyArray(t *testing.T) {
	socket := controltest.Serve(t, &controltest.Backend{}, quiet)
	if _, got := ask(t, socket, "GET", "/v1/containers", ""); got != "[]" {
		t.Errorf("answer is %s, want []", got)
	}
}

func TestMethodNotAllowedNamesTheRightOne(t *testing.T) {
	socket := controltest.Serve(t, &controltest.Backend{}, quiet)
	client := httpClient(socket)
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://localhost/v1/reload")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Allow"); got != "POST" {
		t.Errorf("Allow is %q, want POST", got)
	}
}

// blockStart is a backend whose start of npd hangs until its context ends or the channel is closed.
func blockStart(t *testing.T) (*controltest.Backend, chan struct{}) {
	block := make(chan struct{})
	return &controltest.Backend{Containers: []supervisor.Snapshot{npd(t)}, Block: map[string]chan struct{}{"start npd": block}}, block
}

// watched is a backend that tells when Start began and with what it ended.
type watched struct {
	*controltest.Backend
	began chan struct{}
	ended chan error
}

func (w watched) Start(ctx context.Context, name string) error {
	w.began <- struct{}{}
	err := w.Backend.Start(ctx, name)
	w.ended <- err
	return err
}

func watch(b *controltest.Backend) watched {
	return watched{b, make(chan struct{}, 1), make(chan error, 1)}
}

func TestClientThatLeavesEndsTheContext(t *testing.T) {
	b, _ := blockStart(t)
	w := watch(b)
	socket := controltest.Serve(t, w, quiet)
	c := control.NewClient(socket)
	defer c.Close()
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-w.began
		leave()
	}()
	if _, err := c.Start(ctx, "npd", true); !errors.Is(err, context.Canceled) {
		t.Errorf("client said %v, want context.Canceled", err)
	}
	if err := <-w.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the backend's context ended with %v, want context.Canceled", err)
	}
}

func TestNotWaitingOutlivesTheRequest(t *testing.T) {
	b, block := blockStart(t)
	w := watch(b)
	socket := controltest.Serve(t, w, quiet)
	c := control.NewClient(socket)
	if _, err := c.Start(t.Context(), "npd", false); err != nil {
		t.Fatal(err)
	}
	c.Close() // the connection is gone, the start is not
	<-w.began
	close(block)
	if err := <-w.ended; err != nil {
		t.Errorf("the start ended with %v", err)
	}
}

func TestServeEndsWhatIsUnderWay(t *testing.T) {
	for _, wait := range []bool{true, false} {
		t.Run(fmt.Sprintf("wait=%t", wait), func(t *testing.T) {
			b, _ := blockStart(t)
			w := watch(b)
			socket := filepath.Join(t.TempDir(), "control.sock")
			l := mustListen(t, socket)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- control.NewServer(w, quiet).Serve(ctx, l) }()
			c := control.NewClient(socket)
			defer c.Close()
			answered := make(chan error, 1)
			go func() {
				_, err := c.Start(t.Context(), "npd", wait)
				answered <- err
			}()
			<-w.began
			cancel()
			if err := <-served; err != nil {
				t.Errorf("Serve ended with %v", err)
			}
			select {
			case err := <-w.ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the start ended with %v, want context.Canceled", err)
				}
			default:
				t.Error("Serve returned while the start was under way")
			}
			if _, err := os.Lstat(socket); err == nil {
				t.Error("the socket is still there")
			}
			err := <-answered
			if wait && err == nil || !wait && err != nil {
				t.Errorf("the client got %v", err)
			}
		})
	}
}

// A request that does not end by itself is told why it does not go on.
func TestServeSaysWhyItEnds(t *testing.T) {
	why := &control.Error{Code: control.CodeUnavailable, Message: "the daemon is being replaced"}
	for name, cause := range map[string]error{"the daemon is being replaced": why, "the daemon is going down": nil} {
		b, _ := blockStart(t)
		w := watch(b)
		socket := filepath.Join(t.TempDir(), "control.sock")
		l := mustListen(t, socket)
		ctx, cancel := context.WithCancelCause(t.Context())
		served := make(chan error, 1)
		go func() { served <- control.NewServer(w, quiet).Serve(ctx, l) }()
		answered := make(chan error, 1)
		go func() {
			c := control.NewClient(socket)
			defer c.Close()
			_, err := c.Start(t.Context(), "npd", true)
			answered <- err
		}()
		<-w.began
		cancel(cause)
		if err := <-served; err != nil {
			t.Errorf("Serve ended with %v", err)
		}
		var e *control.Error
		if err := <-answered; !errors.As(err, &e) || e.Code != control.CodeUnavailable || e.Message != name {
			t.Errorf("the client got %v, want %q", err, name)
		}
	}
}

// A client that connects and says nothing, and one that sends half a body, hold up nobody.
func TestSlowClientsHoldUpNobody(t *testing.T) {
	socket := controltest.Serve(t, &controltest.Backend{Containers: []supervisor.Snapshot{npd(t)}}, quiet)
	for _, sent := range []string{"", "GET /v1/version HTTP/1.1\r\nHo", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{"} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
	}
	if status, _ := ask(t, socket, "GET", "/v1/containers/npd", ""); status != 200 {
		t.Errorf("status is %d", status)
	}
}

func TestHugeHeaderIsRefused(t *testing.T) {
	socket := controltest.Serve(t, &controltest.Backend{}, quiet)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// The server may close before all is written.
	_, _ = fmt.Fprintf(conn, "GET /v1/version HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.Contains(line, "431") {
		t.Errorf("answer is %q, want 431", line)
	}
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestChangesAreLoggedWithTheirCaller(t *testing.T) {
	var log lockedBuffer
	t.Run("requests", func(t *testing.T) { // its end is the server's
		socket := controltest.Serve(t, &controltest.Backend{Containers: []supervisor.Snapshot{npd(t)}}, slog.New(slog.NewTextHandler(&log, nil)))
		ask(t, socket, "GET", "/v1/containers", "")
		ask(t, socket, "POST", "/v1/containers/npd/stop", "")
		ask(t, socket, "POST", "/v1/containers/none/stop", "")
	})
	lines := strings.Split(strings.TrimSpace(log.b.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("log has %d lines, want 2:\n%s", len(lines), log.b.String())
	}
	caller := fmt.Sprintf("peer.uid=%d peer.pid=%d", os.Getuid(), os.Getpid())
	for i, want := range []string{`request="POST /v1/containers/npd/stop" ` + caller + " status=200", `request="POST /v1/containers/none/stop" ` + caller + " status=404"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line is\n%s\nwant\n%s", lines[i], want)
		}
	}
}

func TestPanicIsLoggedWithItsStack(t *testing.T) {
	for _, body := range []string{"", `{"wait":false}`} {
		var log lockedBuffer
		t.Run("body "+body, func(t *testing.T) {
			b := &controltest.Backend{Containers: []supervisor.Snapshot{npd(t)}, Fail: map[string]error{"stop npd": controltest.Panic("a bug")}}
			socket := controltest.Serve(t, b, slog.New(slog.NewTextHandler(&log, nil)))
			ask(t, socket, "POST", "/v1/containers/npd/stop", body)
		})
		for _, want := range []string{"a bug", "controltest.(*Backend)"} {
			if !strings.Contains(log.b.String(), want) {
				t.Errorf("the log does not say %q:\n%s", want, log.b.String())
			}
		}
	}
}

// lateListener hands a connection over when it is closed: it was accepted right before.
type lateListener struct {
	net.Listener
	accepted, closed chan struct{}
	once             sync.Once
}

func (l *lateListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	close(l.accepted)
	<-l.closed
	// As long as a server may need that knows of no connection.
	<-time.After(100 * time.Millisecond)
	return conn, nil
}

func (l *lateListener) Close() error {
	defer l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// A connection that is accepted in the moment in which the server ends is answered.
func TestLateConnectionIsAnswered(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	socket := filepath.Join(t.TempDir(), "s")
	plain, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l := &lateListener{Listener: plain, accepted: make(chan struct{}), closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- control.NewServer(&controltest.Backend{}, quiet).Serve(ctx, l) }()
	c := control.NewClient(socket)
	defer c.Close()
	answered := make(chan error, 1)
	go func() {
		_, err := c.List(t.Context())
		answered <- err
	}()
	<-l.accepted
	stop()
	if err := <-answered; err != nil {
		t.Errorf("the call got %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
