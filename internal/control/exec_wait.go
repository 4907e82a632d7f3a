package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ExitOf is how a process ended, in the API's words.
func ExitOf(status syscall.WaitStatus) Exit {
	if !status.Signaled() {
		return Exit{Code: status.ExitStatus()}
	}
	name := strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
	if name == "" {
		name = strconv.Itoa(int(status.Signal()))
	}
	return Exit{Code: -1, Signal: name}
}

const (
	reapLook  = 100 // milliseconds between two looks whether a process was reaped: before Linux 6.9 nobody tells
	reapLooks = 100
)

// waitWithout waits for the end of a process by its pidfd alone.
func waitWithout(ctx context.Context, pidfd *os.File) (Exit, error) {
	rd, wr, err := os.Pipe()
	if err != nil {
		return Exit{}, fmt.Errorf("cannot wait for the command: %w", err)
	}
	defer rd.Close()
	defer wr.Close()
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_, _ = wr.Write([]byte{0}) // wakes the poll
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}, {Fd: int32(rd.Fd()), Events: unix.POLLIN}}
	timeout := -1
	for range reapLooks {
		if err := poll(fds, timeout); err != nil {
			return Exit{}, fmt.Errorf("cannot wait for the command: %w", err)
		}
		if ctx.Err() != nil {
			return Exit{}, context.Cause(ctx)
		}
		// PIDFD_INFO_EXIT, Linux 6.15: the status is there for everybody when the process was reaped.
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		if err := unix.IoctlPidfdInfo(int(fds[0].Fd), &info); err != nil {
			break // an older kernel
		}
		if info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return ExitOf(syscall.WaitStatus(uint32(info.Exit_code))), nil
		}
		fds[0].Events, timeout = 0, reapLook // it has ended: what is waited for is POLLHUP
	}
	return Exit{Code: -1}, nil
}

func poll(fds []unix.PollFd, timeout int) error {
	for {
		if _, err := unix.Poll(fds, timeout); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
