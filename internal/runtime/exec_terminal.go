package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// consoleSocket is where a runtime sends the master side of a terminal that it has made.
type consoleSocket struct {
	l       *net.UnixListener
	dir     *os.File // keeps a short name of it valid; nil when it has none
	address string   // for the runtime
}

// maxAddress is the longest path that fits into a unix socket's address (unix(7): sun_path, with its NUL).
const maxAddress = 107

func listenConsole(path string) (*consoleSocket, error) {
	s := &consoleSocket{address: path}
	if len(path) > maxAddress {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return nil, fmt.Errorf("cannot make a socket for the terminal: %w", err)
		}
		s.dir = dir
		s.address = fmt.Sprintf("/proc/%d/fd/%d/%s", os.Getpid(), dir.Fd(), filepath.Base(path))
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.address, Net: "unix"})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("cannot make a socket for the terminal: %w", err)
	}
	s.l = l
	return s, nil
}

func (s *consoleSocket) close() {
	if s.l != nil {
		_ = s.l.Close()
	}
	if s.dir != nil {
		_ = s.dir.Close()
	}
}

// receive returns what the runtime has sent. It has ended by now, so that there is nothing to wait for.
func (s *consoleSocket) receive() (*os.File, error) {
	const what = "the runtime has sent no terminal"
	deadline := time.Now().Add(time.Second)
	if err := s.l.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	conn, err := s.l.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob) // close-on-exec
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return nil, errors.Join(errors.New(what), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New(what), err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}
