package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	gorunc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// drainTime is how long the output pipes of a call are read after its process has ended: somebody it left behind may hold
// them for ever.
const drainTime = time.Second

// go-runc has one monitor for all calls of a process, in a variable; setting it here, once, is the only way without a race
// between Runtimes. It has no state.
func init() { gorunc.Monitor = groupMonitor{} }

// groupMonitor is a go-runc monitor that ends a whole process group when a call's context ends or the call fails.
type groupMonitor struct{}

// Start starts the command in a process group of its own, and in a session if it says so.
func (groupMonitor) Start(cmd *exec.Cmd) (chan gorunc.Exit, error) {
	fd := -1
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = !cmd.SysProcAttr.Setsid // a session's leader leads a group already
	cmd.SysProcAttr.PidFD = &fd
	cmd.Env = withoutServiceEnv(cmd.Env)
	cmd.WaitDelay = drainTime
	if cmd.Cancel != nil { // made with a context
		cmd.Cancel = func() error { return killGroup(fd, cmd.Process.Pid) }
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exit := make(chan gorunc.Exit, 1)
	go func() {
		defer close(exit)
		status := waitStatus(cmd)
		if status != 0 {
			// What a failed call left in its group would go on working for nobody; an error means that nobody is left.
			_ = killGroup(fd, cmd.Process.Pid)
		}
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		exit <- gorunc.Exit{Timestamp: time.Now(), Pid: cmd.Process.Pid, Status: status}
	}()
	return exit, nil
}

// StartLocked is Start: nothing here uses a parent death signal, which is all it exists for.
func (m groupMonitor) StartLocked(cmd *exec.Cmd) (chan gorunc.Exit, error) { return m.Start(cmd) }

// Wait returns the exit status of the command, or an error that names the signal which ended it.
func (groupMonitor) Wait(_ *exec.Cmd, exit chan gorunc.Exit) (int, error) {
	e := <-exit
	if e.Status < 0 {
		return 128 - e.Status, &signalError{Signal: syscall.Signal(-e.Status)}
	}
	return e.Status, nil
}

// signalError says that the runtime was ended by a signal.
type signalError struct{ Signal syscall.Signal }

func (e *signalError) Error() string {
	if name := unix.SignalName(e.Signal); name != "" {
		return "killed by signal " + strings.TrimPrefix(name, "SIG")
	}
	return fmt.Sprintf("killed by signal %d", int(e.Signal))
}

// waitStatus is the exit code, or minus the number of the signal.
func waitStatus(cmd *exec.Cmd) int {
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		return 255 // it could not be waited for
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ok && ws.Signaled():
		return -int(ws.Signal())
	case ok && ws.ExitStatus() != 0:
		return ws.ExitStatus()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay) && !isContextError(err):
		return 255 // ended well, but its output could not be read
	}
	return 0
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// killGroup sends SIGKILL to the process group led by pid. fd is a pidfd of the leader, or -1 on kernels without.
func killGroup(fd, pid int) error {
	if fd >= 0 {
		// By pidfd the group is the right one even when its leader has been reaped (Linux ≥ 6.9).
		switch err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP); {
		case err == nil:
			return nil
		case errors.Is(err, unix.ESRCH):
			return os.ErrProcessDone
		}
	}
	// As long as a member lives, the group's number is not given to a new process; and when none does, it was just now.
	switch err := unix.Kill(-pid, unix.SIGKILL); {
	case errors.Is(err, unix.ESRCH):
		return os.ErrProcessDone
	case err != nil:
		return fmt.Errorf("cannot kill process group %d: %w", pid, err)
	}
	return nil
}

// withoutServiceEnv takes out what systemd tells the daemon: runc would proxy NOTIFY_SOCKET, and crun hands LISTEN_FDS on
// to the container without looking at LISTEN_PID.
func withoutServiceEnv(env []string) []string {
	out := env[:0:0]
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID":
		default:
			out = append(out, kv)
		}
	}
	return out
}

func versionCommand(ctx context.Context, command string, out io.Writer) *exec.Cmd {
	cmd := exec.CommandContext(ctx, command, "--version")
	cmd.Env = os.Environ()
	cmd.Stdout = out
	return cmd
}
