package notify

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen opens a socket as the service manager has one, and returns a function that gives its next message.
func listen(t *testing.T, name string) (next func() string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 8192)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestMessages(t *testing.T) {
	abstract := "@runcsup-test-" + strconv.Itoa(os.Getpid())
	for _, socket := range []string{filepath.Join(t.TempDir(), "notify"), abstract} {
		next := listen(t, socket)
		n, err := New(socket)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			want string
			send func() error
		}{
			{"READY=1\nSTATUS=2 of 2 containers run", func() error { return n.Ready("2 of 2 containers run") }},
			{"READY=1", func() error { return n.Ready("") }},
			{"STATUS=1 of 2", func() error { return n.Status("1 of 2") }},
			{"STOPPING=1\nSTATUS=bye", func() error { return n.Stopping("bye") }},
			{"EXTEND_TIMEOUT_USEC=1500000", func() error { return n.ExtendTimeout(1500 * time.Millisecond) }},
			{"EXTEND_TIMEOUT_USEC=2", func() error { return n.ExtendTimeout(1001) }},
			{"WATCHDOG=1", n.Ping},
			// Names of containers and texts of errors come from outside.
			{"STATUS=a MAINPID=1  b", func() error { return n.Status("a\nMAINPID=1\r\nb") }},
			{"STATUS=nul here", func() error { return n.Status("nul\x00here") }},
			{"STATUS=bad � byte", func() error { return n.Status("bad \xff byte") }},
		} {
			if err := c.send(); err != nil {
				t.Fatalf("%s: %v", c.want, err)
			}
			if got := next(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		}
	}
}

func TestReloadingHasTheMonotonicClock(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	next := listen(t, socket)
	n, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	before := monotonicMicroseconds(t)
	if err := n.Reloading("reading"); err != nil {
		t.Fatal(err)
	}
	after := monotonicMicroseconds(t)
	lines := strings.Split(next(), "\n")
	if len(lines) != 3 || lines[0] != "RELOADING=1" || lines[2] != "STATUS=reading" {
		t.Fatalf("got %q", lines)
	}
	value, ok := strings.CutPrefix(lines[1], "MONOTONIC_USEC=")
	usec, err := strconv.ParseInt(value, 10, 64)
	if !ok || err != nil || usec < before || usec > after {
		t.Errorf("got %q, want MONOTONIC_USEC between %d and %d", lines[1], before, after)
	}
}

func monotonicMicroseconds(t *testing.T) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano() / 1000
}

func TestLongStatusIsCutBetweenCharacters(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	next := listen(t, socket)
	n, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	for _, shift := range []string{"", "a", "aa"} {
		if err := n.Ready(shift + strings.Repeat("€", 5000)); err != nil {
			t.Fatal(err)
		}
		got := next()
		if len(got) > 4096 || !utf8.ValidString(got) || !strings.HasPrefix(got, "READY=1\nSTATUS="+shift+"€€") ||
			!strings.HasSuffix(got, "€…") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
}

func TestWithoutServiceManager(t *testing.T) {
	n, err := New("")
	if err != nil || n != nil {
		t.Fatalf("New of nothing: %v, %v", n, err)
	}
	for name, send := range map[string]func() error{
		"Ready":         func() error { return n.Ready("x") },
		"Status":        func() error { return n.Status("x") },
		"Reloading":     func() error { return n.Reloading("x") },
		"Stopping":      func() error { return n.Stopping("x") },
		"ExtendTimeout": func() error { return n.ExtendTimeout(time.Second) },
		"Ping":          n.Ping,
	} {
		if err := send(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusedSockets(t *testing.T) {
	for _, socket := range []string{"run/notify", "vsock:2:1234", "/", "@"} {
		if n, err := New(socket); err == nil || n != nil {
			t.Errorf("New(%q): %v, %v", socket, n, err)
		}
	}
}

func TestServiceManagerGone(t *testing.T) {
	n, err := New(filepath.Join(t.TempDir(), "nobody"))
	if err != nil {
		t.Fatal(err)
	}
	err = n.Ready("")
	if err == nil || !strings.Contains(err.Error(), "READY=1") {
		t.Errorf("got %v", err)
	}
}

// A service manager that reads nothing: the queue is full after some messages, and send must come back.
func TestFullSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	listen(t, socket)
	n, err := New(socket)
	if err != nil {
		t.Fatal(err)
	}
	for range 10000 {
		begin := time.Now()
		err = n.Status(strings.Repeat("x", 400))
		if took := time.Since(begin); took > 3*time.Second {
			t.Fatalf("held up for %v", took)
		}
		if err != nil {
			return
		}
	}
	t.Fatal("the socket never filled up")
}

func TestTakeEnvironment(t *testing.T) {
	me := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name              string
		socket, usec, pid string
		want              Environment
		fails             bool
	}{
		{name: "nothing"},
		{name: "socket", socket: "/run/n", want: Environment{Socket: "/run/n"}},
		{name: "watchdog", socket: "@n", usec: "30000000", pid: me, want: Environment{Socket: "@n", Watchdog: 30 * time.Second}},
		{name: "watchdog without pid", usec: "1", want: Environment{Watchdog: time.Microsecond}},
		{name: "another's watchdog", usec: "30000000", pid: "1"},
		{name: "garbage", socket: "/run/n", usec: "soon", want: Environment{Socket: "/run/n"}, fails: true},
		{name: "negative", usec: "-5", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range map[string]string{"NOTIFY_SOCKET": c.socket, "WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid} {
				t.Setenv(k, v)
				if v == "" {
					if err := os.Unsetenv(k); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := TakeEnvironment()
			if !reflect.DeepEqual(got, c.want) || (err != nil) != c.fails {
				t.Errorf("got %+v, %v", got, err)
			}
			for _, k := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
				if v, ok := os.LookupEnv(k); ok {
					t.Errorf("%s=%s is still there for children", k, v)
				}
			}
		})
	}
}
