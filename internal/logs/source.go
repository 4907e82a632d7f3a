package logs

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// source is one of the files.
type source struct {
	number uint64
	file   *os.File
	zip    bool
}

func (s *source) lines() (lineReader, error) {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return lineReader{}, fmt.Errorf("cannot read the log: %w", err)
	}
	return newLineReader(s.file, s.zip)
}

// openTries is how often files may be renamed while they are being opened.
const openTries = 100

// openSources opens all files of a container, oldest first.
func openSources(dir, name string) ([]source, error) {
	for range openTries {
		sources, again, err := tryOpenSources(dir, name)
		if err == nil && !again {
			return sources, nil
		}
		for _, s := range sources {
			_ = s.file.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("cannot read the log: it is rotated faster than it can be opened")
}

func tryOpenSources(dir, name string) (sources []source, again bool, err error) {
	all, err := listRotated(dir, name)
	if err != nil {
		return nil, false, err
	}
	for _, r := range all {
		file, err := os.Open(r.path)
		zip := errors.Is(err, fs.ErrNotExist)
		if zip {
			file, err = os.Open(r.path + zipSuffix)
		}
		if errors.Is(err, fs.ErrNotExist) { // too old by now
			return sources, true, nil
		}
		if err != nil {
			return sources, false, fmt.Errorf("cannot read the log: %w", err)
		}
		sources = append(sources, source{number: r.number, file: file, zip: zip})
	}
	file, err := os.OpenFile(Path(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return sources, false, fmt.Errorf("cannot read the log: %w", err)
	default:
		sources = append(sources, source{number: nextNumber(all), file: file})
	}
	now, err := listRotated(dir, name)
	return sources, err == nil && nextNumber(now) != nextNumber(all), err
}

// lineReader reads lines of a file that may still grow: one without its end is not there yet.
type lineReader struct {
	from    io.Reader
	buf     *bufio.Reader
	part    []byte // of a line
	oldTime time.Time
}

func newLineReader(file *os.File, zip bool) (lineReader, error) {
	r := lineReader{from: file}
	if info, err := file.Stat(); err == nil {
		r.oldTime = info.ModTime().UTC()
	}
	if zip {
		z, err := gzip.NewReader(file)
		if err != nil {
			return lineReader{}, fmt.Errorf("cannot read %s: %w", file.Name(), err)
		}
		r.from = z
	}
	r.buf = bufio.NewReaderSize(r.from, maxFramedLine)
	return r, nil
}

// next returns the next line, which is valid until the next call. ok is false when there is none for now.
func (r *lineReader) next() (l Line, ok bool, err error) {
	for {
		b, err := r.buf.ReadSlice('\n')
		switch {
		case err == nil && len(r.part) == 0:
			return parseLine(b[:len(b)-1], r.oldTime), true, nil
		case err == nil:
			b = append(r.part, b...)
			r.part = r.part[:0]
			return parseLine(b[:len(b)-1], r.oldTime), true, nil
		case errors.Is(err, bufio.ErrBufferFull) && len(r.part) < maxForeignLine:
			r.part = append(r.part, b...)
		case errors.Is(err, bufio.ErrBufferFull):
			b = append(r.part, b...)
			r.part = r.part[:0]
			return parseLine(b, r.oldTime), true, nil
		case errors.Is(err, io.EOF):
			r.part = append(r.part, b...)
			return Line{}, false, nil
		default:
			return Line{}, false, fmt.Errorf("cannot read the log: %w", err)
		}
	}
}

// maxForeignLine bounds lines that are not ours.
const maxForeignLine = 1 << 20
