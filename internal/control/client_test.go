package control_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/supervisor"
)

func TestClientReachesEveryMethod(t *testing.T) {
	b := &controltest.Backend{
		Containers: []supervisor.Snapshot{npd(t), {Name: "a?b#c d"}},
		Changes:    []control.Change{{Name: "npd", Action: control.ActionRestarted, Why: []string{"env TZ changed"}}},
		Shown:      control.Shown{File: "/etc/runcsup/containers.d/npd.yaml", Definition: "rootfs: /x\n", Effective: json.RawMessage(`{"rootfs":"/x"}`)},
		Info:       control.VersionInfo{Version: "1.2.3", Runtime: "runc 1.1.5", Pid: 12},
	}
	c := control.NewClient(controltest.Serve(t, b, quiet))
	defer c.Close()
	ctx := t.Context()
	snapshot := func(s supervisor.Snapshot, err error) any { return []any{s.Name, err} }
	for name, tt := range map[string]struct{ got, want any }{
		"start":        {snapshot(c.Start(ctx, "npd", true)), []any{"npd", error(nil)}},
		"stop":         {snapshot(c.Stop(ctx, "npd", true)), []any{"npd", error(nil)}},
		"restart":      {snapshot(c.Restart(ctx, "npd", true)), []any{"npd", error(nil)}},
		"kill":         {snapshot(c.Kill(ctx, "npd", "HUP", true)), []any{"npd", error(nil)}},
		"enable":       {snapshot(c.Enable(ctx, "npd", true)), []any{"npd", error(nil)}},
		"disable":      {snapshot(c.Disable(ctx, "npd", false)), []any{"npd", error(nil)}},
		"reset-failed": {snapshot(c.ResetFailed(ctx, "npd")), []any{"npd", error(nil)}},
		"odd name":     {snapshot(c.Get(ctx, "a?b#c d")), []any{"a?b#c d", error(nil)}},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, tt.got, tt.want)
		}
	}
	if list, err := c.List(ctx); err != nil || len(list) != 2 {
		t.Errorf("list: %v, %v", list, err)
	}
	if list, err := c.List(ctx, "npd"); err != nil || len(list) != 1 {
		t.Errorf("list of names: %v, %v", list, err)
	}
	wantShown := b.Shown
	wantShown.Name = "npd"
	if shown, err := c.Show(ctx, "npd"); err != nil || !reflect.DeepEqual(shown, wantShown) {
		t.Errorf("show: %+v, %v", shown, err)
	}
	if changes, err := c.Reload(ctx, "npd"); err != nil || !reflect.DeepEqual(changes, b.Changes) {
		t.Errorf("reload: %+v, %v", changes, err)
	}
	if changes, err := c.Diff(ctx, "npd", "web"); err != nil || !reflect.DeepEqual(changes, b.Changes) {
		t.Errorf("diff: %+v, %v", changes, err)
	}
	if path, err := c.Build(ctx, "npd"); err != nil || path != "/var/lib/runcsup/bundles/npd" {
		t.Errorf("build: %q, %v", path, err)
	}
	if v, err := c.Version(ctx); err != nil || !reflect.DeepEqual(v, b.Info) {
		t.Errorf("version: %+v, %v", v, err)
	}
	r, v, err := c.Reexec(ctx, true)
	if err != nil || r.Replacing || !reflect.DeepEqual(r.Program, b.Info) {
		t.Errorf("reexec of what has not changed: %+v, %+v, %v", r, v, err)
	}
	if r, v, err = c.Reexec(ctx, false); err != nil || !r.Replacing || v.Reexecs != 1 || v.Version != "1.2.3" {
		t.Errorf("reexec: %+v, %+v, %v", r, v, err)
	}
	want := []string{
		"build npd", "diff [npd web]", "disable npd now=false", "enable npd now=true", "kill npd 1 all=true",
		"reexec ifChanged=false", "reexec ifChanged=true", "reload [npd]", "reset-failed npd", "restart npd", "start npd", "stop npd",
	}
	if got := b.Calls(); !reflect.DeepEqual(got, want) {
		t.Errorf("the backend was asked for\n%q\nwant\n%q", got, want)
	}
}

// A daemon that cannot be replaced says so, before it tries or when it has.
func TestReexecThatFails(t *testing.T) {
	b := &controltest.Backend{
		Info: control.VersionInfo{Ready: true, ReexecError: "no such file"},
		Fail: map[string]error{"reexec ifChanged=true": &control.Error{Code: control.CodeRefused, Message: "is no runcsup", Hint: "install one"}},
	}
	c := control.NewClient(controltest.Serve(t, b, quiet))
	defer c.Close()
	for ifChanged, want := range map[bool]string{true: "is no runcsup", false: "no such file"} {
		_, _, err := c.Reexec(t.Context(), ifChanged)
		var e *control.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestClientReturnsTheServersError(t *testing.T) {
	sent := &control.Error{Code: control.CodeConflict, Message: "npd is being removed", Hint: "wait"}
	b := &controltest.Backend{Containers: []supervisor.Snapshot{npd(t)}, Fail: map[string]error{"stop npd": sent}}
	c := control.NewClient(controltest.Serve(t, b, quiet))
	defer c.Close()
	_, err := c.Stop(t.Context(), "npd", true)
	if got, ok := errors.AsType[*control.Error](err); !ok || *got != *sent {
		t.Errorf("got %#v, want %#v", err, sent)
	}
}

func TestNamesThatMeanSomethingInAPath(t *testing.T) {
	c := control.NewClient(controltest.Serve(t, &controltest.Backend{}, quiet))
	defer c.Close()
	for _, name := range []string{"", ".", "..", "../../v1/reload", "a/b", "%2e%2e"} {
		if _, err := c.Stop(t.Context(), name, true); code(err) != control.CodeNoSuchContainer {
			t.Errorf("name %q: %v, want %s", name, err, control.CodeNoSuchContainer)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, path string){
		"nothing": func(*testing.T, string) {},
		"a dead socket": func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			_ = l.Close()
		},
		"a file": func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "control.sock")
			prepare(t, path)
			c := control.NewClient(path)
			defer c.Close()
			_, err := c.List(t.Context())
			e, ok := errors.AsType[*control.Error](err)
			if !ok || e.Code != control.CodeNoDaemon {
				t.Fatalf("got %v, want %s", err, control.CodeNoDaemon)
			}
			if !strings.Contains(e.Message, path) || e.Hint == "" {
				t.Errorf("message %q, hint %q: want the socket's path and a hint", e.Message, e.Hint)
			}
		})
	}
}

func TestForeignServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l := mustListen(t, path)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
		_ = conn.Close()
	}()
	c := control.NewClient(path)
	defer c.Close()
	if _, err := c.List(t.Context()); code(err) != control.CodeInternal {
		t.Errorf("got %v, want %s", err, control.CodeInternal)
	}
}

// deniedEnv names the socket for the child of TestPermissionDenied.
const deniedEnv = "RUNCSUP_TEST_DENIED_SOCKET"

// The test runs itself as nobody, since root is never denied.
func TestPermissionDenied(t *testing.T) {
	if socket := os.Getenv(deniedEnv); socket != "" {
		c := control.NewClient(socket)
		defer c.Close()
		_, err := c.List(t.Context())
		if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.CodePermission || !strings.Contains(e.Hint, "group 4242") {
			t.Fatalf("got %#v, want %s and a hint with the group", err, control.CodePermission)
		}
		return
	}
	needRoot(t)
	// Directories of t.TempDir are not for others, and neither is the test binary in one.
	dir, err := os.MkdirTemp("", "runcsup-control-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "control.test")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "control.sock")
	l, err := control.Listen(t.Context(), socket, testGroup)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestPermissionDenied$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), deniedEnv+"="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPermissionDenied") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]syscall.Signal{
		"TERM": 15, "SIGTERM": 15, "term": 15, "sigKill": 9, "9": 9, "1": 1, "64": 64, "USR1": 10,
		"": 0, "0": 0, "65": 0, "-1": 0, "SIG": 0, "NOPE": 0, "TERM ": 0,
	} {
		got, err := control.ParseSignal(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("ParseSignal(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
}
