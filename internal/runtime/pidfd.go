package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pidfd is a process, or what it was: never another one that got its pid later (pidfd_open(2)).
type pidfd struct {
	f      *os.File
	rc     syscall.RawConn
	closed atomic.Bool
}

// openPidfd fails with ESRCH when there is no such process. A zombie is as good as a living one.
func openPidfd(pid int) (*pidfd, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		// The number is in use, but not by a process: by a thread, or by the session or group of a process that is gone.
		err = unix.ESRCH
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open a pidfd of process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd") // non-blocking, hence in Go's poller
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot watch process %d: %w", pid, err)
	}
	return &pidfd{f: f, rc: rc}, nil
}

// close ends every wait. A second one is an error.
func (p *pidfd) close() error {
	p.closed.Store(true)
	return p.f.Close()
}

// use calls f with the descriptor, which stays open meanwhile. After close the error is os.ErrClosed.
func (p *pidfd) use(f func(fd int)) error {
	err := p.rc.Control(func(fd uintptr) { f(int(fd)) })
	if err != nil && p.closed.Load() {
		return os.ErrClosed // what os gives here is an error of its own
	}
	return err
}

// wait parks in Go's poller until one of the events is there: POLLIN, the process has ended; POLLHUP, it was reaped too.
// One goroutine at a time.
func (p *pidfd) wait(ctx context.Context, events int16) error {
	err := p.park(ctx, events)
	if err != nil && p.closed.Load() {
		return os.ErrClosed
	}
	return err
}

func (p *pidfd) park(ctx context.Context, events int16) error {
	if err := p.f.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = p.f.SetReadDeadline(time.Unix(1, 0)) // an error means closed, which ends the read as well
	})
	var ready bool
	var pollErr error
	err := p.rc.Read(func(fd uintptr) bool {
		ready, pollErr = pollNow(int(fd), events)
		return ready || pollErr != nil
	})
	if !stop() {
		<-fired // or it would hit the next wait
	}
	switch {
	case ready:
		return nil
	case pollErr != nil:
		return pollErr
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// ended tells whether the process has ended; false when that cannot be told.
func (p *pidfd) ended() bool {
	var ready bool
	var err error
	if cerr := p.use(func(fd int) { ready, err = pollNow(fd, unix.POLLIN) }); cerr != nil {
		return false
	}
	return err == nil && ready
}

func pollNow(fd int, events int16) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err := unix.Poll(fds, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("cannot poll a pidfd: %w", err)
		}
		return fds[0].Revents&events != 0, nil
	}
}

// signal is no error when the process has ended.
func (p *pidfd) signal(sig syscall.Signal, flags int) error {
	var err error
	if cerr := p.use(func(fd int) { err = unix.PidfdSendSignal(fd, sig, nil, flags) }); cerr != nil {
		return cerr
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// unreaped tells whether the process still has its pid: it lives or is a zombie.
func (p *pidfd) unreaped() bool {
	var err error
	if cerr := p.use(func(fd int) { err = unix.PidfdSendSignal(fd, 0, nil, 0) }); cerr != nil {
		return false
	}
	return err == nil || errors.Is(err, unix.EPERM)
}

// reap waits for the process without blocking. ok says that it had ended and its status is ws; err is ECHILD when it is
// not, or no longer, a child of this process.
func (p *pidfd) reap(pid int) (ws syscall.WaitStatus, ok bool, err error) {
	var info unix.Siginfo
	cerr := p.use(func(fd int) {
		err = ignoringEINTR(func() error {
			return unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		})
	})
	switch {
	case cerr != nil:
		return 0, false, cerr
	case errors.Is(err, unix.EAGAIN), err == nil && info.Signo == 0:
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	// It is a zombie child, so the pid is still its own: wait4 gives the raw status.
	var status unix.WaitStatus
	var got int
	err = ignoringEINTR(func() (err error) {
		got, err = unix.Wait4(pid, &status, unix.WNOHANG|unix.WALL, nil)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	return syscall.WaitStatus(status), got == pid, nil
}

// exitKnowledge is what the kernel can tell of a process that is somebody else's child.
type exitKnowledge int

const (
	exitNotYet exitKnowledge = iota // it was not reaped yet
	exitKnown
	exitNever // the kernel cannot tell
)

// exitInfo asks the pidfd itself for the status (PIDFD_GET_INFO with PIDFD_INFO_EXIT, Linux ≥ 6.15), which is there for
// everybody once the parent has reaped the process.
func (p *pidfd) exitInfo() (syscall.WaitStatus, exitKnowledge) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	var err error
	if cerr := p.use(func(fd int) { err = unix.IoctlPidfdInfo(fd, &info) }); cerr != nil {
		return 0, exitNever
	}
	switch {
	case err != nil:
		return 0, exitNever // ENOTTY before 6.13; ESRCH before 6.15, after the reap
	case info.Mask&unix.PIDFD_INFO_EXIT != 0:
		return syscall.WaitStatus(uint32(info.Exit_code)), exitKnown
	}
	return 0, exitNotYet
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
