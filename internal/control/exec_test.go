package control_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/supervisor"
)

func execClient(t *testing.T) (*control.Client, string) {
	t.Helper()
	b := &controltest.Backend{
		Containers: []supervisor.Snapshot{{Name: "box", State: supervisor.StateRunning, Pid: 1}, {Name: "off", State: supervisor.StateStopped}},
		Executed:   control.Executed{Output: "done\n"},
		Fail:       map[string]error{"exec box panic": controltest.Panic("oops")},
	}
	socket := controltest.Serve(t, b, quiet)
	c := control.NewClient(socket)
	t.Cleanup(c.Close)
	return c, socket
}

func shell(script string) control.ExecOptions {
	return control.ExecOptions{Args: []string{"sh", "-c", script}}
}

// pipes are a command's files, and our ends of them.
func pipes(t *testing.T) (files control.ExecFiles, in io.WriteCloser, out io.Reader) {
	t.Helper()
	rin, win, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	rout, wout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{rin, win, rout, wout} {
			_ = f.Close()
		}
	})
	return control.ExecFiles{Stdin: rin, Stdout: wout, Stderr: wout}, win, rout
}

func startExec(t *testing.T, c *control.Client, o control.ExecOptions, files control.ExecFiles) *control.RunningExec {
	t.Helper()
	e, err := c.StartExec(t.Context(), "box", o, files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func TestExecSession(t *testing.T) {
	c, _ := execClient(t)
	files, in, out := pipes(t)
	e := startExec(t, c, shell("read x; echo got $x; exit 3"), files)
	_, _, _ = files.Stdin.Close(), files.Stdout.Close(), files.Stderr.Close()
	if _, err := io.WriteString(in, "this\n"); err != nil {
		t.Fatal(err)
	}
	if exit, err := e.Wait(t.Context()); err != nil || exit != (control.Exit{Code: 3}) {
		t.Errorf("got %+v %v", exit, err)
	}
	if text, err := io.ReadAll(out); err != nil || string(text) != "got this\n" {
		t.Errorf("got %q %v", text, err)
	}
}

func TestExecSessionWithATerminal(t *testing.T) {
	c, _ := execClient(t)
	o := shell("stty size; exit 4")
	o.Terminal = &control.TerminalSize{Rows: 11, Columns: 22}
	e := startExec(t, c, o, control.ExecFiles{})
	text, err := io.ReadAll(e.Terminal)
	if !errors.Is(err, syscall.EIO) || strings.TrimSpace(string(text)) != "11 22" {
		t.Errorf("got %q %v", text, err)
	}
	if exit, err := e.Wait(t.Context()); err != nil || exit != (control.Exit{Code: 4}) {
		t.Errorf("got %+v %v", exit, err)
	}
}

func TestExecSessionPassesSignalsOn(t *testing.T) {
	c, _ := execClient(t)
	files, _, out := pipes(t)
	e := startExec(t, c, shell("trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.1; done"), files)
	line := make([]byte, 6)
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatal(err)
	}
	if err := e.Signal("USR1"); err != nil {
		t.Fatal(err)
	}
	if exit, err := e.Wait(t.Context()); err != nil || exit != (control.Exit{Code: 5}) {
		t.Errorf("got %+v %v", exit, err)
	}
}

// A client that leaves hangs up.
func TestExecSessionEndsWithItsClient(t *testing.T) {
	c, _ := execClient(t)
	// Under nohup the command would inherit that SIGHUP is ignored.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup)
	files, _, _ := pipes(t)
	e := startExec(t, c, control.ExecOptions{Args: []string{"sleep", "1000"}}, files)
	fd, err := unix.PidfdOpen(e.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, fd)
}

func awaitEnd(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 20_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("the command does not end: %d %v", n, err)
		}
		return
	}
}

// A daemon that goes away does not hang up, and the exit code is still known where the kernel tells it (Linux 6.15).
func TestExecSessionOutlivesTheServer(t *testing.T) {
	b := &controltest.Backend{Containers: []supervisor.Snapshot{{Name: "box", State: supervisor.StateRunning, Pid: 1}}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(t.Context(), socket, -1)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- control.NewServer(b, quiet).Serve(ctx, l) }()
	c := control.NewClient(socket)
	defer c.Close()
	files, in, _ := pipes(t)
	e := startExec(t, c, shell("read x; exit 6"), files)
	stop()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the server waits for the command")
	}
	if _, err := io.WriteString(in, "on\n"); err != nil {
		t.Fatal(err)
	}
	exit, err := e.Wait(t.Context())
	if err != nil || exit.Code != 6 && (exit.Code != -1 || kernelTellsExits(t)) {
		t.Errorf("got %+v %v", exit, err)
	}
}

// kernelTellsExits tells whether a pidfd knows how a process ended that somebody else has reaped.
func kernelTellsExits(t *testing.T) bool {
	t.Helper()
	var fd int
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	return unix.IoctlPidfdInfo(fd, &info) == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0
}

func TestExecErrors(t *testing.T) {
	c, _ := execClient(t)
	for _, tt := range []struct {
		name string
		o    control.ExecOptions
		want control.Code
	}{
		{"none", shell("exit 0"), control.CodeNoSuchContainer},
		{"..", shell("exit 0"), control.CodeNoSuchContainer},
		{"off", shell("exit 0"), control.CodeConflict},
		{"box", control.ExecOptions{}, control.CodeUsage},
		{"box", control.ExecOptions{Args: []string{"/no/such"}}, control.CodeCommandNotFound},
		{"box", control.ExecOptions{Args: []string{"/"}}, control.CodeNotExecutable},
		{"box", control.ExecOptions{Args: []string{"panic"}}, control.CodeInternal},
	} {
		_, err := c.StartExec(t.Context(), tt.name, tt.o, control.ExecFiles{})
		var e *control.Error
		if !errors.As(err, &e) || e.Code != tt.want {
			t.Errorf("%s %v: got %v, want %s", tt.name, tt.o.Args, err, tt.want)
		}
	}
	if got, err := c.Exec(t.Context(), "box", shell("exit 0")); err != nil || got.Output != "done\n" {
		t.Errorf("got %+v %v", got, err)
	}
}

// Nothing but pipes gets into a container: neither a directory of the host, nor a terminal, nor a file.
func TestExecTakesPipesOnly(t *testing.T) {
	c, _ := execClient(t)
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", plain, "/dev/ptmx", "/dev/zero"} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.StartExec(t.Context(), "box", shell("exit 0"), control.ExecFiles{Stdin: f})
		var e *control.Error
		if !errors.As(err, &e) || e.Code != control.CodeUsage {
			t.Errorf("%s: got %v", path, err)
		}
		_ = f.Close()
	}
}

func TestExitOf(t *testing.T) {
	for status, want := range map[syscall.WaitStatus]control.Exit{
		0: {}, 3 << 8: {Code: 3}, 9: {Code: -1, Signal: "KILL"}, 64: {Code: -1, Signal: "64"}, 11 | 0x80: {Code: -1, Signal: "SEGV"},
	} {
		if got := control.ExitOf(status); got != want {
			t.Errorf("%#x: got %+v, want %+v", int(status), got, want)
		}
	}
}
