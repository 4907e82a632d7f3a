package logs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// poller waits for all FIFOs with one descriptor, itself waited for by Go's poller: no goroutine and no thread per
// container.
//
// A FIFO is reported once when it gets something (one-shot), and then no more until it was found empty: while it is worked
// on, writes to it cost nothing. It is always emptied, half a line being carried elsewhere: of a FIFO in which something lies
// the kernel does not report that it has become full.
type poller struct {
	file   *os.File
	fd     int
	closed atomic.Bool
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that Go waits for it
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a poller: %w", err)
	}
	return &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}, nil
}

// add begins to watch a FIFO of the output id. What is in it already is reported.
func (p *poller) add(f *fifo, id int32) error { return p.control(unix.EPOLL_CTL_ADD, f, id) }

// rearm has a FIFO reported once more, at once if something is in it.
func (p *poller) rearm(f *fifo, id int32) error { return p.control(unix.EPOLL_CTL_MOD, f, id) }

func (p *poller) control(op int, f *fifo, id int32) error {
	if err := unix.EpollCtl(p.fd, op, f.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: id}); err != nil {
		return fmt.Errorf("cannot watch %s: %w", f.file.Name(), err)
	}
	return nil
}

// run calls ready with the id of each output that has something, until the poller is closed.
func (p *poller) run(ready func(id int32)) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		var errWait error
		err := conn.Read(func(fd uintptr) bool {
			n, errWait = unix.EpollWait(int(fd), events, 0)
			return n > 0 || errWait != nil && !errors.Is(errWait, unix.EINTR)
		})
		if p.closed.Load() { // of which the error, poll's own, cannot be told
			return nil
		}
		if err := errors.Join(err, errWait); err != nil {
			return fmt.Errorf("cannot wait for output: %w", err)
		}
		for _, e := range events[:n] {
			ready(e.Fd)
		}
	}
}

func (p *poller) close() error {
	p.closed.Store(true)
	return p.file.Close()
}
