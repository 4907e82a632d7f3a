package records

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError is what Lock returns, wrapped, when another process has the directory.
type LockedError struct {
	Dir string
	Pid int // of the holder, 0 if it is not known
}

// Error implements error.
func (e *LockedError) Error() string {
	pid := ""
	if e.Pid > 0 {
		pid = fmt.Sprintf(" (pid %d)", e.Pid)
	}
	return fmt.Sprintf("%s is in use by another runcsup daemon%s: stop that one, or give this one directories of its own", e.Dir, pid)
}

// lockAgain is how often a taken lock is tried.
const lockAgain = 50 * time.Millisecond

// DirLock keeps other daemons out of a directory until Close, or until the process ends, however it does. Programs that it
// starts do not inherit it.
type DirLock struct {
	file *os.File
	path string
}

// Lock takes the lock of a directory, a file "lock" in it. It makes the directory (0700) if it does not exist. A lock that
// another process still has after patience is a LockedError. Some patience is needed: a daemon that was killed while it
// started a child leaves the lock with that until the child has become the program it is to run.
func Lock(dir string, patience time.Duration) (*DirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	end := time.After(patience)
	for {
		lock, err := tryLock(dir)
		if errors.Is(err, errStale) {
			continue
		}
		var locked *LockedError
		if errors.As(err, &locked) {
			select {
			case <-time.After(lockAgain):
				continue
			case <-end:
				return nil, err // it says all
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
		}
		return lock, nil
	}
}

// HandOver returns a copy of the lock's descriptor, for AdoptLock. The directory stays locked until both are closed, so Close must
// not be called any more.
func (l *DirLock) HandOver() (*os.File, error) {
	conn, err := l.file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot hand over the lock of %s: %w", filepath.Dir(l.path), err)
	}
	var fd int
	var dupErr error
	err = conn.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) })
	if err = errors.Join(err, dupErr, l.file.Close()); err != nil {
		return nil, fmt.Errorf("cannot hand over the lock of %s: %w", filepath.Dir(l.path), err)
	}
	return os.NewFile(uintptr(fd), l.path), nil
}

// AdoptLock makes a lock of what an earlier program of this process has handed over. f belongs to the lock then.
func AdoptLock(dir string, f *os.File) (*DirLock, error) {
	path := filepath.Join(dir, "lock")
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && !os.SameFile(mine, there) {
			err = errStale
		}
	}
	if err == nil {
		err = flock(f) // which it is already, by the one it is a copy of
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot take over the lock of %s: %w", dir, err)
	}
	return &DirLock{file: f, path: path}, nil
}

// errStale is for a lock file that its holder removed while it was being locked.
var errStale = errors.New("the lock file was removed")

func tryLock(dir string) (_ *DirLock, err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // nothing was written that counts
		}
	}()
	err = flock(f)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &LockedError{Dir: dir, Pid: holder(f)}
	}
	if err != nil {
		return nil, err
	}
	mine, err := f.Stat()
	if err != nil {
		return nil, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return nil, errStale
	}
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	// The pid is for people; the lock is good without, and a full disk must not keep a daemon from its containers.
	_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return nil, err
	}
	return &DirLock{file: f, path: path}, nil
}

func flock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errLock error
	if err := conn.Control(func(fd uintptr) { errLock = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return err
	}
	return errLock
}

// holder reads who wrote itself into the lock file.
func holder(f *os.File) int {
	buf := make([]byte, 32)
	n, _ := f.ReadAt(buf, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// Close removes the lock file and gives the directory back.
func (l *DirLock) Close() error {
	// In this order: nobody can lock the file of this name before it is gone.
	if err := errors.Join(os.Remove(l.path), l.file.Close()); err != nil {
		return fmt.Errorf("cannot unlock %s: %w", filepath.Dir(l.path), err)
	}
	return nil
}
