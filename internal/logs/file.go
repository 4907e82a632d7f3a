package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// fileSink stores a container's output in NAME.log, and moves that aside when it has grown to maxSize.
//
// It knows where it writes, so that a batch that a killed daemon stored in part can be completed in place: what a reader
// has seen does not change.
type fileSink struct {
	dir, name string
	maxSize   int64
	maxFiles  int
	compress  func(path string) // has a rotated file compressed, some time

	file  *os.File
	inode uint64
	size  int64
}

func (s *fileSink) path() string { return Path(s.dir, s.name) }

// store implements sink.
func (s *fileSink) store(b *batch, p *position, w *workspace) error {
	b.framed(w)
	if err := s.ready(int64(len(w.framed))); err != nil {
		return err
	}
	p.inode, p.offset, p.length = s.inode, s.size, int64(len(w.framed))
	p.begin(b, recordFile)
	n, err := s.file.WriteAt(w.framed, s.size)
	if err == nil {
		s.size += int64(n)
		return nil
	}
	// Whole lines stay, so that what a full disk still takes is not written over and over.
	n = bytes.LastIndexByte(w.framed[:n], '\n') + 1
	b.shorten(n)
	if errCut := s.file.Truncate(s.size + int64(n)); errCut != nil {
		err = errors.Join(err, errCut)
	}
	s.size += int64(n)
	return fmt.Errorf("cannot write to the log: %w", err)
}

// framed fills the workspace with the batch as it is in a file.
func (b *batch) framed(w *workspace) { w.framed = b.appendCRI(w.framed[:0]) }

// redo implements sink. It completes the batch where it was begun. If there is something else now, it is cut back to whole
// lines and the batch is stored anew.
func (s *fileSink) redo(b *batch, p *position, w *workspace) error {
	if err := s.reopen(); err != nil {
		return err
	}
	b.framed(w)
	there := s.size - p.offset
	if s.inode == p.inode && there >= 0 && there <= int64(len(w.framed)) {
		have := make([]byte, there)
		if _, err := s.file.ReadAt(have, p.offset); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("cannot read the log: %w", err)
		}
		if bytes.HasPrefix(w.framed, have) {
			n, err := s.file.WriteAt(w.framed[there:], s.size)
			if err != nil {
				return fmt.Errorf("cannot write to the log: %w", errors.Join(err, s.file.Truncate(s.size)))
			}
			s.size += int64(n)
			return nil
		}
	}
	return s.store(b, p, w)
}

// ready makes sure that the file is open, is the one of that name, and has room for n bytes.
func (s *fileSink) ready(n int64) error {
	var st unix.Stat_t
	switch err := unix.Lstat(s.path(), &st); {
	case s.file == nil, errors.Is(err, fs.ErrNotExist), err == nil && st.Ino != s.inode: // somebody moved it away
		if err := s.reopen(); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("cannot look at the log: %w", err)
	default:
		s.size = st.Size // somebody may have truncated it
	}
	if s.size == 0 || s.size+n <= s.maxSize {
		return nil
	}
	return s.rotate()
}

// reopen opens the file of the container's name, makes it if there is none, and ends a line that a crash of the machine
// has cut.
func (s *fileSink) reopen() error {
	if err := s.close(); err != nil {
		return err
	}
	file, err := openLog(s.path(), 0)
	if errors.Is(err, fs.ErrNotExist) { // the directory was removed
		if err := makeDir(s.dir); err != nil {
			return err
		}
		file, err = openLog(s.path(), 0)
	}
	if err != nil {
		return fmt.Errorf("cannot open the log: %w", err)
	}
	return s.use(file)
}

func (s *fileSink) use(file *os.File) error {
	var st unix.Stat_t
	fd, err := descriptor(file)
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot look at the log: %w", err), file.Close())
	}
	s.file, s.inode, s.size = file, st.Ino, st.Size
	return nil
}

// cutTail removes what is behind the last whole line: the beginning of one that was never taken from the FIFO, or what a
// crash of the machine left.
func (s *fileSink) cutTail() error {
	if err := s.reopen(); err != nil {
		return err
	}
	tail := make([]byte, min(s.size, maxFramedLine))
	if _, err := s.file.ReadAt(tail, s.size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if end == len(tail) {
		return nil
	}
	if end == 0 && s.size > int64(len(tail)) { // no file of ours: leave it, and begin a line
		n, err := s.file.WriteAt([]byte{'\n'}, s.size)
		s.size += int64(n)
		return err
	}
	s.size -= int64(len(tail) - end)
	if err := s.file.Truncate(s.size); err != nil {
		return fmt.Errorf("cannot cut a torn line off the log: %w", err)
	}
	return nil
}

// maxFramedLine is more than a line in a file can have.
const maxFramedLine = MaxLine + 256

func (s *fileSink) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if err != nil {
		return fmt.Errorf("cannot close the log: %w", err)
	}
	return nil
}

// openLog opens a log file for reading and writing. It does not follow a link that somebody put there, and does not wait
// for the reader of a FIFO.
func openLog(path string, flags int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|flags, 0o640)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: remove it, or make the log directory itself a link", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("cannot make the log directory: %w", err)
	}
	return nil
}
