package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// ExecProcess is a process that StartExec has started in a container. Somebody has to Wait for it: as long as it is a
// zombie, the container's init cannot end. It has a session and a process group of its own. With runc it leads them, with
// crun the runtime's process did.
type ExecProcess struct {
	p              *process
	group, session int
	endsGroup      bool // what is left of its process group ends with it
}

// Pid is that on the host.
func (e *ExecProcess) Pid() int { return e.p.identity.Pid }

// Pidfd is a descriptor of the process for somebody else, which outlives this one. The caller closes it.
func (e *ExecProcess) Pidfd() (*os.File, error) {
	var fd int
	var err error
	if cerr := e.p.fd.use(func(own int) { fd, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 3) }); cerr != nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("cannot duplicate the pidfd of process %d: %w", e.Pid(), err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// Wait returns how the process ended, once it has, or the context's error. One caller at a time.
func (e *ExecProcess) Wait(ctx context.Context) (supervisor.ExitStatus, error) {
	p := e.p
	if err := p.fd.wait(ctx, unix.POLLIN); err != nil {
		return supervisor.ExitStatus{}, p.waitError(err)
	}
	if e.endsGroup {
		// As long as it is a zombie, the group's number is nobody else's.
		if err := e.signal(unix.SIGKILL); err != nil {
			return supervisor.ExitStatus{}, err
		}
	}
	status, err := p.exitStatus(ctx)
	if err != nil {
		return supervisor.ExitStatus{}, p.waitError(err)
	}
	p.forgetPid()
	return status, nil
}

// Signal sends a signal to the process's group, as a terminal does. It is no error when nobody is left in it.
func (e *ExecProcess) Signal(sig syscall.Signal) error { return e.signal(sig) }

// Hangup does what a terminal does when its line goes away: SIGHUP, and SIGCONT for the stopped.
func (e *ExecProcess) Hangup() error {
	return errors.Join(e.signal(unix.SIGHUP), e.signal(unix.SIGCONT))
}

func (e *ExecProcess) signal(sig syscall.Signal) error {
	err := error(unix.EINVAL)
	if e.group == e.Pid() {
		err = e.p.fd.signal(sig, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	}
	if errors.Is(err, unix.EINVAL) { // before Linux 6.9
		err = nil
		if e.p.fd.unreaped() { // so the number is still that of its group
			err = unix.Kill(-e.group, sig)
		}
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot signal process group %d: %w", e.group, err)
	}
	return nil
}

// killSession sends SIGKILL to every process of the process's session, until none is left, and reaps it.
func (e *ExecProcess) killSession(ctx context.Context) error {
	for range killRounds {
		if err := e.signal(unix.SIGKILL); err != nil {
			return err
		}
		n, err := e.killMembers()
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	_, err := e.Wait(ctx)
	if err != nil {
		return fmt.Errorf("process %d does not end after SIGKILL: %w", e.Pid(), err)
	}
	return nil
}

// killMembers looks for the session in the container's cgroup: a process may have left its group, and its parent be gone.
func (e *ExecProcess) killMembers() (n int, err error) {
	pids, err := e.p.cgroup.pids()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if st, err := readStat(pid); err != nil || st.session != e.session || st.state == 'Z' {
			continue
		}
		fd, st, err := openProcess(pid)
		if err != nil {
			continue // gone meanwhile
		}
		if st.session == e.session && !fd.ended() {
			n++
			err = fd.signal(unix.SIGKILL, 0)
		}
		_ = fd.close()
		if err != nil {
			return n, fmt.Errorf("cannot kill process %d: %w", pid, err)
		}
	}
	return n, nil
}

// Close gives the process up: it is not ended by that.
func (e *ExecProcess) Close() error {
	e.p.forgetPid()
	if err := e.p.fd.close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot close the pidfd of process %d: %w", e.Pid(), err)
	}
	return nil
}
