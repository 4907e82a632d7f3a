package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// halfSize is the size in bytes beyond which a file becomes the old one; the two together have twice that at most.
	halfSize = 128 << 10
	// maxRead is the most that is read of a file, which is far more than one ever has.
	maxRead = 4 * halfSize
	oldExt  = ".old"
)

// file is where the entries of one container or of the daemon are, in two halves: path and the older path.old. It holds
// nothing open.
type file struct{ path string }

// append adds whole lines at the end. After an error nothing of them is in the file, or, where not even that could be had,
// the next append begins on a line of its own.
func (f file) append(lines []byte) (err error) {
	fd, err := f.openToAppend()
	if err != nil {
		return fmt.Errorf("cannot write the history: %w", err)
	}
	defer func() {
		if err = errors.Join(err, fd.Close()); err != nil {
			err = fmt.Errorf("cannot write the history: %w", err)
		}
	}()
	info, err := fd.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if size > 0 && size+int64(len(lines)) > halfSize {
		// Later only the newer half is synced.
		if err := errors.Join(fd.Sync(), os.Rename(f.path, f.path+oldExt)); err != nil {
			return err
		}
		return file{f.path}.append(lines)
	}
	if size > 0 {
		last := make([]byte, 1)
		if _, err := fd.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' { // a torn write; what follows it must not suffer
			lines = append([]byte{'\n'}, lines...)
		}
	}
	if _, err := fd.Write(lines); err != nil {
		return errors.Join(err, fd.Truncate(size))
	}
	return nil
}

// container is whose history it is, empty for the daemon.
func (f file) container() string {
	if filepath.Base(filepath.Dir(f.path)) != containersDir {
		return ""
	}
	return strings.TrimSuffix(filepath.Base(f.path), ext)
}

// openToAppend makes what is not there: somebody may have cleaned up.
func (f file) openToAppend() (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_APPEND | unix.O_CLOEXEC | unix.O_NOFOLLOW
	fd, err := os.OpenFile(f.path, flags, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(f.path, flags, 0o600)
}

// sync brings what was appended to the disk.
func (f file) sync() error {
	fd, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("cannot sync the history: %w", err)
	}
	if err := errors.Join(unix.Fdatasync(int(fd.Fd())), fd.Close()); err != nil {
		return fmt.Errorf("cannot sync %s: %w", f.path, err)
	}
	return nil
}

// remove deletes both halves.
func (f file) remove() error {
	var errs []error
	for _, path := range []string{f.path, f.path + oldExt} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// read returns the entries that q wants, the newest of them up to its limit, oldest first, and one of TypeDamaged in the
// place of lines that cannot be read. While somebody appends, the line being written may count as damaged.
func (f file) read(q Query) ([]Entry, error) {
	// The newer half first: it may become the older one meanwhile.
	newer, err := open(f.path)
	if err != nil {
		return nil, err
	}
	defer newer.Close()
	older, err := open(f.path + oldExt)
	if err != nil {
		return nil, err
	}
	defer older.Close()
	halves := []*os.File{newer, older}
	if sameFile(newer, older) {
		halves = halves[:1]
	}
	s := search{q: q, limit: q.limit(), container: f.container()}
	for _, half := range halves {
		if half == nil || s.done {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(half, maxRead))
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", half.Name(), err)
		}
		s.name, s.written = filepath.Base(half.Name()), time.Time{}
		if info, err := half.Stat(); err == nil {
			s.written = info.ModTime()
		}
		s.lines(data)
	}
	slices.Reverse(s.found)
	return s.found, nil
}

// open returns nil, which is good for Close, for a file that is not there.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the history: %w", err)
	}
	return f, nil
}

func sameFile(a, b *os.File) bool {
	if a == nil || b == nil {
		return false
	}
	ia, errA := a.Stat()
	ib, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

// lastID is the id of the newest entry, 0 if there is none.
func (f file) lastID() (int64, error) {
	for _, path := range []string{f.path, f.path + oldExt} {
		id, err := lastIDIn(path)
		if err != nil || id != 0 {
			return id, err
		}
	}
	return 0, nil
}

// lastIDIn looks at the end of one half, and only if that is damaged at more of it.
func lastIDIn(path string) (int64, error) {
	r, err := open(path)
	if r == nil {
		return 0, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return 0, fmt.Errorf("cannot read the history: %w", err)
	}
	for _, much := range []int64{4 << 10, maxRead} {
		data := make([]byte, min(much, info.Size()))
		if _, err := r.ReadAt(data, info.Size()-int64(len(data))); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("cannot read the history: %w", err)
		}
		for len(data) > 0 {
			cut := bytes.LastIndexByte(data, '\n')
			if e, ok := decode(data[cut+1:]); ok {
				return e.ID, nil
			}
			data = data[:max(cut, 0)]
		}
	}
	return 0, nil
}
