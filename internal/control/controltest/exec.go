package controltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

// CanExec implements control.Backend.
func (b *Backend) CanExec(name string) error {
	s, err := b.Get(name)
	if err == nil && s.Pid == 0 {
		err = &supervisor.NotRunningError{Name: name, State: s.State}
	}
	return err
}

// Exec implements control.Backend without executing anything.
func (b *Backend) Exec(ctx context.Context, name string, o control.ExecOptions) (control.Executed, error) {
	if err := b.CanExec(name); err != nil {
		return control.Executed{}, err
	}
	if err := b.call(ctx, "exec %s %s", name, strings.Join(o.Args, " ")); err != nil {
		return control.Executed{}, err
	}
	return b.Executed, nil
}

// StartExec implements control.Backend with a process of this machine, in no container.
func (b *Backend) StartExec(ctx context.Context, name string, o control.ExecOptions, files control.ExecFiles) (control.ExecSession, error) {
	if err := b.CanExec(name); err != nil {
		return nil, err
	}
	if err := b.call(ctx, "exec %s %s", name, strings.Join(o.Args, " ")); err != nil {
		return nil, err
	}
	return startSession(o, files)
}

// session is a command of this machine in place of one in a container.
type session struct {
	cmd      *exec.Cmd
	terminal *os.File
	pidfd    int
	exit     control.Exit
	done     chan struct{}
}

func startSession(o control.ExecOptions, files control.ExecFiles) (_ *session, err error) {
	s := &session{cmd: exec.Command(o.Args[0], o.Args[1:]...), done: make(chan struct{})}
	s.cmd.Env, s.cmd.Dir = append(os.Environ(), o.Env...), o.Dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &s.pidfd}
	if o.Terminal != nil {
		var side *os.File
		if s.terminal, side, err = openTerminal(*o.Terminal); err != nil {
			return nil, err
		}
		defer side.Close()
		s.cmd.SysProcAttr.Setctty = true
		files = control.ExecFiles{Stdin: side, Stdout: side, Stderr: side}
	}
	if files.Stdin != nil {
		s.cmd.Stdin = files.Stdin
	}
	if files.Stdout != nil {
		s.cmd.Stdout = files.Stdout
	}
	if files.Stderr != nil {
		s.cmd.Stderr = files.Stderr
	}
	if err := s.cmd.Start(); err != nil {
		code := control.CodeFailed
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			code = control.CodeCommandNotFound
		} else if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EISDIR) {
			code = control.CodeNotExecutable
		}
		return nil, &control.Error{Code: code, Message: fmt.Sprintf("cannot execute: %v", err)}
	}
	go func() {
		defer close(s.done)
		_ = s.cmd.Wait() // the state has all of it
		s.exit = control.ExitOf(s.cmd.ProcessState.Sys().(syscall.WaitStatus))
	}()
	return s, nil
}

// openTerminal makes a terminal of that size.
func openTerminal(size control.TerminalSize) (master, side *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	var n int
	if err == nil {
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Columns})
	}
	if err == nil {
		side, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = master.Close()
		return nil, nil, err
	}
	return master, side, nil
}

func (s *session) Process() (*os.File, int, error) {
	fd, err := unix.FcntlInt(uintptr(s.pidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, 0, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), s.cmd.Process.Pid, nil
}

func (s *session) Terminal() *os.File    { return s.terminal }
func (s *session) Done() <-chan struct{} { return s.done }
func (s *session) Exit() control.Exit    { return s.exit }
func (s *session) Signal(sig syscall.Signal) error {
	return ignoreGone(unix.Kill(-s.cmd.Process.Pid, sig))
}
func (s *session) Hangup() error { return s.Signal(unix.SIGHUP) }
func (s *session) Close()        { _ = unix.Close(s.pidfd) }

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}
