package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// The drivers.
const (
	DriverFile = "file" // NAME.log in the directory
	DriverNone = "none" // output is discarded
)

// Files is a supervisor.Output that appends to a file per container. Its methods may be called from any goroutine.
//
// runc gives such a file to the container's user (fchown), so the file of a container that does not run as root belongs to
// that user's number on the host. The directory is closed to others for that reason, too.
type Files struct {
	dir string

	mu      sync.Mutex
	discard map[string]bool // by container
}

var _ supervisor.Output = (*Files)(nil)

// New makes the directory, of mode 0750 if it is not there, and returns the Files in it.
func New(dir string) (*Files, error) {
	f := &Files{dir: dir, discard: map[string]bool{}}
	if err := f.makeDir(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Files) makeDir() error {
	if err := os.MkdirAll(f.dir, 0o750); err != nil {
		return fmt.Errorf("cannot make the log directory: %w", err)
	}
	return nil
}

// SetDriver chooses the log driver of a container, from its next start on. Anything but DriverNone is DriverFile.
func (f *Files) SetDriver(name, driver string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if driver == DriverNone {
		f.discard[name] = true
	} else {
		delete(f.discard, name)
	}
}

// Path is where a container's output is, unless it is discarded.
func (f *Files) Path(name string) string { return filepath.Join(f.dir, name+".log") }

// Open returns two descriptors of one open file, so that stdout and stderr share a position and keep their order, or nil
// for both when the container's output goes nowhere. The caller closes them.
func (f *Files) Open(name string) (stdout, stderr *os.File, err error) {
	f.mu.Lock()
	discard := f.discard[name]
	f.mu.Unlock()
	if discard {
		return nil, nil, nil
	}
	stdout, err = f.openFile(name)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the log of %q: %w", name, err)
	}
	stderr, err = duplicate(stdout)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot open the log of %q: %w", name, err), stdout.Close())
	}
	return stdout, stderr, nil
}

func (f *Files) openFile(name string) (*os.File, error) {
	if name == "" || name[0] == '.' || strings.ContainsRune(name, '/') {
		return nil, errors.New("not a name for a file")
	}
	file, err := f.openAppend(name)
	if errors.Is(err, fs.ErrNotExist) { // the directory was removed
		if err := f.makeDir(); err != nil {
			return nil, err
		}
		file, err = f.openAppend(name)
	}
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: remove it, or make the log directory itself a link", f.Path(name))
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f.Path(name))
	}
	if err == nil {
		err = setBlocking(file)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// openAppend does not follow a link that somebody put there, and does not wait for the reader of a FIFO.
func (f *Files) openAppend(name string) (*os.File, error) {
	const flags = os.O_APPEND | os.O_CREATE | os.O_WRONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	return os.OpenFile(f.Path(name), flags, 0o640)
}

// setBlocking takes back O_NONBLOCK: the container inherits it.
func setBlocking(file *os.File) error {
	return control(file, func(fd uintptr) error {
		return unix.SetNonblock(int(fd), false)
	})
}

func duplicate(file *os.File) (*os.File, error) {
	fd := -1
	err := control(file, func(from uintptr) error {
		var err error
		fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", file.Name(), err)
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

func control(file *os.File, do func(fd uintptr) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var errDo error
	if err := conn.Control(func(fd uintptr) { errDo = do(fd) }); err != nil {
		return err
	}
	return errDo
}
