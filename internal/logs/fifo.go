package logs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fifo is one stream of a container. Its descriptor is open for reading and writing, so that it never reads as ended, and
// does not block; the container has another open file of the same FIFO, which does.
//
// The FIFO's inode belongs to the container's user, because runc gives it that. That user can open it again
// (/dev/stdout), read it, fill it and change its size, and so spoil its own log. It cannot change what is said here of the
// descriptor's flags, which are of another open file.
type fifo struct {
	file *os.File
	fd   int
}

// openFIFO opens the FIFO at path, and makes it if there is none.
func openFIFO(path string) (*fifo, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make FIFO %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open FIFO: %w", err)
	}
	return useFIFO(file)
}

// useFIFO takes over a descriptor, which it closes after an error.
func useFIFO(file *os.File) (*fifo, error) {
	fd, err := descriptor(file)
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFIFO {
			err = fmt.Errorf("%s is not a FIFO", file.Name())
		}
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &fifo{file: file, fd: fd}, nil
}

// descriptor is file.Fd() without the side effect of making it block.
func descriptor(file *os.File) (fd int, err error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	err = conn.Control(func(f uintptr) { fd = int(f) })
	return fd, err
}

func (f *fifo) close() error { return f.file.Close() }

// forContainer opens the FIFO once more, blocking, for a container. The caller closes it.
func (f *fifo) forContainer() (*os.File, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open FIFO %s again: %w", f.file.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.file.Name()), nil
}

// pending is how many bytes are in it.
func (f *fifo) pending() (int, error) {
	n, err := unix.IoctlGetInt(f.fd, unix.TIOCINQ)
	if err != nil {
		return 0, fmt.Errorf("cannot look into %s: %w", f.file.Name(), err)
	}
	return n, nil
}

// peek copies what is in the FIFO to buf, as far as that goes, by way of the mirror, and leaves it there. 0 means empty.
func (f *fifo) peek(m *mirror, buf []byte) (int, error) {
	n, err := retry(func() (int64, error) { return unix.Tee(f.fd, m.w, len(buf), unix.SPLICE_F_NONBLOCK) })
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot look into %s: %w", f.file.Name(), err)
	}
	for got := 0; got < int(n); {
		k, err := retry(func() (int64, error) { k, err := unix.Read(m.r, buf[got:n]); return int64(k), err })
		if err != nil || k == 0 {
			return 0, &spoiledError{size: int(n), err: errors.Join(err, m.reset())}
		}
		got += int(k)
	}
	return int(n), nil
}

// spoiledError is for bytes that cannot be read: a container can splice a page of a file into the FIFO and take the file
// away.
type spoiledError struct {
	size int
	err  error
}

func (e *spoiledError) Error() string {
	return fmt.Sprintf("%d bytes of output cannot be read: %v", e.size, e.err)
}
func (e *spoiledError) Unwrap() error { return e.err }

// take removes n bytes from the FIFO, in one read, the first of them to where first is. rest has room for the others.
func (f *fifo) take(n int, first *uint8, rest []byte) error {
	got, err := retry(func() (int64, error) {
		k, err := unix.Readv(f.fd, [][]byte{unsafe.Slice(first, 1), rest[:n-1]})
		return int64(k), err
	})
	for err == nil && int(got) < n { // a container that writes in packets (O_DIRECT) has a read end with one
		var k int64
		k, err = retry(func() (int64, error) { k, err := unix.Read(f.fd, rest[got-1:n-1]); return int64(k), err })
		got += k
	}
	if err != nil && !errors.Is(err, unix.EAGAIN) { // that is: it is gone with the container, or the container has read it itself
		return fmt.Errorf("cannot read %s: %w", f.file.Name(), err)
	}
	return nil
}

// drop removes n bytes from the FIFO.
func (f *fifo) drop(n int) error {
	if n <= 0 {
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	fd, err := descriptor(null)
	for n > 0 && err == nil {
		var k int64
		k, err = retry(func() (int64, error) { return unix.Splice(f.fd, nil, fd, nil, n, unix.SPLICE_F_NONBLOCK) })
		if k == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		n -= int(k)
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil // the container has read it itself
	}
	if err != nil {
		return fmt.Errorf("cannot discard from %s: %w", f.file.Name(), err)
	}
	return nil
}

// endLine ends a line that the writer left without its end, if there is room for that. mid says whether what was taken
// before the bytes in it ended within a line.
func (f *fifo) endLine(mid bool) error {
	pending, err := f.pending()
	if err != nil {
		return err
	}
	if pending > 0 {
		if mid, err = f.endsMid(); err != nil {
			return err
		}
	}
	if !mid {
		return nil
	}
	if _, err := unix.Write(f.fd, []byte{'\n'}); err != nil && !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("cannot end the line in %s: %w", f.file.Name(), err)
	}
	return nil
}

// endsMid tells whether what is in the FIFO ends within a line.
func (f *fifo) endsMid() (bool, error) {
	size, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return false, fmt.Errorf("cannot tell the size of %s: %w", f.file.Name(), err)
	}
	m, err := newMirror()
	if err != nil {
		return false, err
	}
	defer m.close()
	if size > batchBytes { // the container made it so
		if _, err := unix.FcntlInt(uintptr(m.w), unix.F_SETPIPE_SZ, size); err != nil {
			return false, fmt.Errorf("cannot enlarge a pipe: %w", err)
		}
	}
	buf := make([]byte, size)
	n, err := f.peek(m, buf)
	return n > 0 && buf[n-1] != '\n', err
}

// mirror is a pipe by which bytes are looked at without being taken.
type mirror struct{ r, w int }

func newMirror() (*mirror, error) {
	m := &mirror{}
	return m, m.open()
}

func (m *mirror) open() error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	m.r, m.w = p[0], p[1]
	return nil
}

// reset empties it.
func (m *mirror) reset() error {
	m.close()
	return m.open()
}

func (m *mirror) close() {
	_ = unix.Close(m.r)
	_ = unix.Close(m.w)
}

// retry calls f until no signal interrupts it.
func retry(f func() (int64, error)) (int64, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
