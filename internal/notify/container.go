package notify

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/health"
)

const (
	// maxMessage is systemd's limit for one message.
	maxMessage = 4096
	// After burst messages within burstTime a container has to wait: a flood must not keep the daemon busy.
	burst     = 64
	burstTime = time.Second
)

// ContainerSocket is where the processes of one container tell how they are. Descriptors that they send are closed by the
// kernel, never opened here.
type ContainerSocket struct {
	conn *net.UnixConn
	dir  string
}

// ListenContainer makes the socket in dir anew, for every user to write to. The directory is made if it is not there; the one
// above it is closed to all but root.
func ListenContainer(dir, name string) (*ContainerSocket, error) {
	s, err := listenContainer(dir, name)
	if err != nil {
		return nil, fmt.Errorf("cannot make a notify socket in %s: %w", dir, err)
	}
	return s, nil
}

func listenContainer(dir, name string) (*ContainerSocket, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	handle, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(handle) }() // nothing was written through it
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	// Through the handle: a path of a socket has 107 bytes at most.
	short := "/proc/self/fd/" + strconv.Itoa(handle) + "/" + name
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	if err == nil {
		err = os.Chmod(short, 0o666)
	}
	if err != nil {
		return nil, err
	}
	return containerSocket(file, dir)
}

// AdoptContainer takes a socket over that an earlier daemon made, with what was sent to it meanwhile. The caller still owns f.
func AdoptContainer(f *os.File, dir string) (*ContainerSocket, error) {
	s, err := containerSocket(f, dir)
	if err != nil {
		return nil, fmt.Errorf("cannot take over the notify socket in %s: %w", dir, err)
	}
	return s, nil
}

func containerSocket(f *os.File, dir string) (*ContainerSocket, error) {
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("no unix socket"), conn.Close())
	}
	s := &ContainerSocket{conn: c, dir: dir}
	raw, err := c.SyscallConn()
	if err == nil {
		var option error
		err = raw.Control(func(fd uintptr) { option = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, option)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// File returns the socket for somebody else to keep. The caller closes it.
func (s *ContainerSocket) File() (*os.File, error) {
	f, err := s.conn.File()
	if err != nil {
		return nil, fmt.Errorf("notify socket in %s: %w", s.dir, err)
	}
	return f, nil
}

// Close closes the socket. What is in it and was not read is gone, unless somebody else keeps it.
func (s *ContainerSocket) Close() error {
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("notify socket in %s: %w", s.dir, err)
	}
	return nil
}

// Serve hands on what the container's processes tell, in a goroutine, until stop is called, which waits for a call of take
// that is under way. owns tells which processes are the container's; what others send is dropped, as is what has no valid
// form. There must be one Serve at a time; what comes between two is not lost.
func (s *ContainerSocket) Serve(owns func(pid int) bool, take func(health.Notification)) (stop func()) {
	_ = s.conn.SetReadDeadline(time.Time{}) // fails on a closed one, which ends the goroutine at once
	told, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.serve(told, owns, take)
	}()
	return sync.OnceFunc(func() {
		close(told)
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		<-done
	})
}

func (s *ContainerSocket) serve(stop <-chan struct{}, owns func(pid int) bool, take func(health.Notification)) {
	since, count := time.Now(), 0
	for {
		n, pid, err := s.receive()
		switch {
		case errors.Is(err, errForm):
		case err != nil:
			return // stopped or closed
		case owns(pid):
			take(n)
		}
		if count++; count < burst {
			continue
		}
		if wait := burstTime - time.Since(since); wait > 0 {
			select {
			case <-time.After(wait):
			case <-stop:
				return
			}
		}
		since, count = time.Now(), 0
	}
}

// errForm is for a message that is none.
var errForm = errors.New("not a notification")

// buffers are for messages that are being read; a socket that waits has none.
var buffers = sync.Pool{New: func() any { return new([maxMessage]byte) }}

// receive waits for a message.
func (s *ContainerSocket) receive() (n health.Notification, pid int, err error) {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return n, 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) (done bool) {
		buf := buffers.Get().(*[maxMessage]byte)
		defer buffers.Put(buf)
		// Room for the sender's credentials alone: descriptors that come with them find none.
		control := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
		size, controlSize, flags, _, err := unix.Recvmsg(int(fd), buf[:], control, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			return false
		case err != nil:
			failed = err
			return true
		}
		var ok bool
		if pid, ok = sender(control[:controlSize]); !ok || flags&unix.MSG_TRUNC != 0 {
			failed = errForm
			return true
		}
		n, failed = ParseNotification(buf[:size])
		return true
	})
	return n, pid, errors.Join(err, failed)
}

// sender is the pid that the kernel says a message is from.
func sender(control []byte) (pid int, ok bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil && cred.Pid > 0 {
			return int(cred.Pid), true
		}
	}
	return 0, false
}
