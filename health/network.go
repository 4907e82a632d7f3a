package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// network is the way into a container's network namespace. The namespace is opened when the first probe needs it.
type network struct {
	open func() (*os.File, error)
	home *homeNetwork

	mu     sync.Mutex
	known  bool
	file   *os.File // nil: this process' own
	closed bool
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.file != nil {
		_ = n.file.Close() // it was never written to
		n.file = nil
	}
}

// socket makes a non-blocking TCP socket in the namespace.
func (n *network) socket(family int) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.known && n.open != nil {
		file, err := n.open()
		if err != nil {
			return -1, fmt.Errorf("%w: cannot open the container's network: %w", errNotCarriedOut, err)
		}
		n.file = file
	}
	n.known = true
	switch {
	case n.closed:
		return -1, net.ErrClosed
	case n.file == nil:
		return newSocket(family)
	}
	return n.home.socketIn(n.file, family)
}

func newSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if errors.Is(err, unix.EAFNOSUPPORT) { // IPv6 is switched off: no fault of this process
		return -1, err
	}
	if err != nil {
		return -1, fmt.Errorf("%w: socket: %w", errNotCarriedOut, err)
	}
	return fd, nil
}

// homeNetwork is the way back into this process' own network namespace. It is opened when it is first needed, and kept: to open
// it anew is a tenth of what a probe costs.
type homeNetwork struct {
	mu   sync.Mutex
	file *os.File
}

// open is called on a thread that is at home.
func (h *homeNetwork) open() (*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		return h.file, nil
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		h.file = file
	}
	return file, err
}

func (h *homeNetwork) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		_ = h.file.Close() // it was never written to
		h.file = nil
	}
}

// socketIn makes a socket in another network namespace: a socket belongs to the one in which its thread was when it was
// made, whatever thread uses it later.
func (h *homeNetwork) socketIn(netns *os.File, family int) (int, error) {
	runtime.LockOSThread()
	home, err := h.open()
	if err == nil {
		err = unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return -1, fmt.Errorf("%w: cannot enter the container's network: %w", errNotCarriedOut, err)
	}
	fd, err := newSocket(family)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and ends with the probe's goroutine: nobody else may run on it.
		if err == nil {
			_ = unix.Close(fd)
		}
		return -1, fmt.Errorf("%w: cannot leave the container's network: %w", errNotCarriedOut, back)
	}
	runtime.UnlockOSThread()
	return fd, err
}

// dial connects to a port of the container. Its connection's deadline is the context's, whose end cuts it short.
func (n *network) dial(ctx context.Context, host string, port int) (net.Conn, error) {
	var first error
	for _, addr := range addresses(host) {
		conn, err := n.dialOne(ctx, netip.AddrPortFrom(addr, uint16(port)))
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			break
		}
	}
	return nil, first
}

// addresses are what a host of a probe stands for. Names other than localhost are no hosts: see HTTP.Host.
func addresses(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}
	}
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
}

func (n *network) dialOne(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(nil)
	if addr := to.Addr().Unmap(); addr.Is4() {
		sa = &unix.SockaddrInet4{Port: int(to.Port()), Addr: addr.As4()}
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: addr.As16()}
	}
	fd, err := n.socket(family)
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, fd, sa)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return conn, nil
}

// connect takes the socket over.
func connect(ctx context.Context, fd int, sa unix.Sockaddr) (net.Conn, error) {
	err := unix.Connect(fd, sa)
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, err
	}
	conn, errConn := net.FileConn(file) // has a copy of the descriptor
	if errConn != nil {
		return nil, errConn
	}
	stop := cutShort(ctx, conn)
	if err != nil {
		err = awaitConnect(conn.(*net.TCPConn))
	}
	if err == nil && toItself(fd) {
		err = unix.ECONNREFUSED
	}
	if err != nil {
		stop()
		return nil, errors.Join(err, conn.Close())
	}
	return &boundConn{Conn: conn, stop: stop}, nil
}

// cutShort has the end of the context end all waiting on a connection, until the returned function is called.
func cutShort(ctx context.Context, conn net.Conn) (stop func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails only on a closed one
	}
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// boundConn ends the watch over its context when it is closed.
type boundConn struct {
	net.Conn
	stop func() bool
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// awaitConnect waits for the end of a connect that is under way.
func awaitConnect(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) (done bool) {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			failed = err
			return true
		}
		if code != 0 {
			failed = unix.Errno(code)
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return !errors.Is(err, unix.ENOTCONN)
	})
	return errors.Join(err, failed)
}

// toItself tells that a socket is connected with itself, which happens to a port that nobody listens on when it is the one
// that the kernel chose for this end.
func toItself(fd int) bool {
	here, err := unix.Getsockname(fd)
	there, err2 := unix.Getpeername(fd)
	return err == nil && err2 == nil && addrPort(here) == addrPort(there)
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// askTCP makes a connection and closes it.
func askTCP(ctx context.Context, n *network, t *TCP) (string, error) {
	conn, err := n.dial(ctx, t.Host, t.Port)
	if err != nil {
		return "", err
	}
	if err := conn.Close(); err != nil {
		return "", fmt.Errorf("close: %w", err)
	}
	return "connected to port " + strconv.Itoa(t.Port), nil
}
