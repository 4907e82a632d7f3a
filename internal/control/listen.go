package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketMode lets the owner and the group connect.
const socketMode = 0o660

// Listen makes the control socket at path, for the user of this process and the group gid (-1: the process's own). A
// socket that a dead daemon left is replaced; one on which somebody listens, or a file that is no socket, is an error.
// Closing the listener removes the socket.
func Listen(ctx context.Context, path string, gid int) (net.Listener, error) {
	l, err := listen(ctx, path, gid)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return l, nil
}

func listen(ctx context.Context, path string, gid int) (net.Listener, error) {
	// Two daemons that start at the same moment must not both find the socket dead. The lock goes with the descriptor.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another daemon is just starting in %s: %w", dir.Name(), err)
	}
	if err := checkDead(ctx, path); err != nil {
		return nil, err
	}

	// Made under another name, and put in place when owner and mode are right: in place nobody can connect too early,
	// and the dead socket is replaced in one step.
	temp := filepath.Join(dir.Name(), "."+rand.Text()[:8])
	address, release, err := shortAddress(temp)
	if err != nil {
		return nil, err
	}
	defer release()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		// The mode of the socket before bind is that of the file that bind makes.
		err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmodErr)
	}}
	l, err := config.Listen(ctx, "unix", address)
	if err != nil {
		return nil, err
	}
	unixListener := l.(*net.UnixListener)
	unixListener.SetUnlinkOnClose(false) // it only knows the temporary name
	info, err := putInPlace(temp, path, gid)
	if err != nil {
		_ = os.Remove(temp)
		_ = l.Close()
		return nil, err
	}
	return &listener{UnixListener: unixListener, path: path, info: info}, nil
}

func putInPlace(temp, path string, gid int) (fs.FileInfo, error) {
	if err := os.Chown(temp, -1, gid); err != nil {
		return nil, err
	}
	if err := os.Chmod(temp, socketMode); err != nil {
		return nil, err
	}
	info, err := os.Lstat(temp)
	if err != nil {
		return nil, err
	}
	return info, os.Rename(temp, path)
}

// checkDead returns nil when nothing is at path but what a dead daemon left.
func checkDead(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file of that name that is not a socket")
	}
	conn, err := dial(ctx, path)
	switch {
	case err == nil:
		_ = conn.Close()
		return errors.New("another daemon listens there")
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	default: // EAGAIN: it lives, and its queue is full
		return fmt.Errorf("another daemon may listen there: %w", err)
	}
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	address, release, err := shortAddress(path)
	if err != nil {
		return nil, err
	}
	defer release()
	var d net.Dialer
	return d.DialContext(ctx, "unix", address)
}

// Adopt makes a listener of a control socket that an earlier program of this process listened on, as Listen does for a new one.
// f is closed.
func Adopt(f *os.File, path string, gid int) (net.Listener, error) {
	l, err := net.FileListener(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("cannot listen on %s again: %w", path, err)
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("cannot listen on %s again: what was handed over is %T", path, l), l.Close())
	}
	unixListener.SetUnlinkOnClose(false)
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		err = errors.New("there is a file of that name that is not a socket")
	}
	if err == nil {
		err = os.Chown(path, -1, gid)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen on %s again: %w", path, err), l.Close())
	}
	return &listener{UnixListener: unixListener, path: path, info: info}, nil
}

// Keep returns a copy of the listener l, which is from Listen or Adopt, for Adopt. From then on closing l does not remove the
// socket: who connects meanwhile waits for the next listener.
func Keep(l net.Listener) (*os.File, error) {
	own, ok := l.(*listener)
	if !ok {
		return nil, fmt.Errorf("cannot keep a listener of type %T", l)
	}
	f, err := own.File()
	if err != nil {
		return nil, fmt.Errorf("cannot keep the listener on %s: %w", own.path, err)
	}
	own.remove.Do(func() {})
	return f, nil
}

// listener removes its socket when closed, unless the file is no longer its own or it is kept.
type listener struct {
	*net.UnixListener
	path   string
	info   fs.FileInfo
	remove sync.Once
}

// Close implements net.Listener.
func (l *listener) Close() error {
	var err error
	l.remove.Do(func() {
		// Removed first: who comes now finds no daemon instead of one that does not answer.
		if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.info) {
			err = os.Remove(l.path)
		}
	})
	return errors.Join(l.UnixListener.Close(), err)
}
