package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Query says which of a container's lines are wanted. The zero Query but for Tail is for all there are.
type Query struct {
	Tail   int       // the last so many lines; negative: all
	Since  time.Time // zero: from the beginning
	Until  time.Time // zero: to the end
	Stream string    // Stdout, Stderr, or empty for both
	// After is the Cursor of a line: what is wanted comes behind it.
	After  string
	Follow bool // go on with what comes
}

// wants tells whether a line is one of those, but for Tail and After.
func (q Query) wants(l Line) bool {
	return (q.Stream == "" || l.Stream == q.Stream) &&
		(q.Since.IsZero() || !l.Time.Before(q.Since)) && (q.Until.IsZero() || l.Time.Before(q.Until))
}

// Read calls emit with lines of a container, in the order in which they were stored, from wherever its driver puts them. Text
// is valid during the call alone. What was written before the call is stored first, unless that takes longer than catchUpTimeout.
// With Follow it returns when the context or the collector ends, with the former's error or
// nil.
func (c *Collector) Read(ctx context.Context, name string, q Query, emit func(Line) error) error {
	o, err := c.output(name)
	if err != nil {
		return err
	}
	o.mu.Lock()
	driver := o.options.Driver
	o.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	o.catchUp(ctx)
	switch driver {
	case DriverJournald:
		err = readJournal(ctx, name, q, emit)
	default:
		err = readFiles(ctx, c.cfg.Dir, name, q, o.changed, emit)
	}
	if c.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// catchUpTimeout is the longest that a reader waits for what is on its way. A container that never stops writing would have it wait
// for ever.
const catchUpTimeout = 200 * time.Millisecond

// catchUp stores what waits in the FIFOs; what is in the way of that is reported by whoever works on them.
func (o *output) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	o.kick()
	_ = o.whenIdle(ctx)
}

// ReadFiles does for the driver file what Collector.Read does, without a daemon. It cannot follow.
func ReadFiles(ctx context.Context, dir, name string, q Query, emit func(Line) error) error {
	q.Follow = false
	return readFiles(ctx, dir, name, q, nil, emit)
}

// readFiles reads the rotated files and the current one. changed returns a channel that is closed when there is more.
func readFiles(ctx context.Context, dir, name string, q Query, changed func() <-chan struct{}, emit func(Line) error) error {
	r := &fileReader{ctx: ctx, dir: dir, name: name, q: q, emit: emit}
	defer r.close()
	if err := r.begin(); err != nil {
		return err
	}
	for {
		var more <-chan struct{}
		if q.Follow {
			more = changed() // asked for before the look, so that nothing comes between
		}
		if err := r.rest(); err != nil {
			return err
		}
		if !q.Follow {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fileReader reads a container's files one after the other.
type fileReader struct {
	ctx       context.Context
	dir, name string
	q         Query
	emit      func(Line) error

	file   *os.File // the one being read, nil when there was none yet
	number uint64   // that it has, or will have when it is moved aside
	lines  lineReader
	skip   int // lines that are wanted but for Tail
	after  bool
}

func (r *fileReader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
}

// begin finds the file and the line to begin with.
func (r *fileReader) begin() error {
	sources, err := openSources(r.dir, r.name)
	if err != nil || len(sources) == 0 {
		return err
	}
	defer func() {
		for _, s := range sources {
			_ = s.file.Close()
		}
	}()
	first := 0
	switch {
	case r.q.After != "":
		first, r.after, err = r.findCursor(sources)
	case r.q.Tail >= 0:
		first, r.skip, err = r.findTail(sources)
	case !r.q.Since.IsZero():
		first, err = r.findTime(sources, r.q.Since)
	}
	if err != nil {
		return err
	}
	if err := r.use(&sources[first]); err != nil {
		return err
	}
	for i := first + 1; i < len(sources); i++ {
		if err := r.drain(); err != nil {
			return err
		}
		if err := r.use(&sources[i]); err != nil {
			return err
		}
	}
	return r.drain()
}

// use makes a source the file being read.
func (r *fileReader) use(s *source) error {
	r.close()
	r.file, r.number = s.file, s.number
	s.file = nil
	var err error
	if _, err = r.file.Seek(0, io.SeekStart); err == nil {
		r.lines, err = newLineReader(r.file, s.zip)
	}
	if err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	return nil
}

// findTail finds the last q.Tail lines: the source to begin with, and how many wanted lines of it are to be skipped.
func (r *fileReader) findTail(sources []source) (first, skip int, err error) {
	need := r.q.Tail
	for i := len(sources) - 1; i >= 0; i-- {
		have := 0
		err := r.scan(&sources[i], func(l Line) bool {
			if r.q.wants(l) && !l.Partial {
				have++
			}
			return true
		})
		if err != nil {
			return 0, 0, err
		}
		if have >= need {
			return i, have - need, nil
		}
		need -= have
	}
	return 0, 0, nil
}

// findTime finds the last source that begins before t.
func (r *fileReader) findTime(sources []source, t time.Time) (int, error) {
	for i := len(sources) - 1; i > 0; i-- {
		before := false
		err := r.scan(&sources[i], func(l Line) bool { before = l.Time.Before(t); return false })
		if err != nil {
			return 0, err
		}
		if before {
			return i, nil
		}
	}
	return 0, nil
}

// findCursor finds the source that has the line of q.After. If none has it, it is where later lines begin, and q.Since is
// set to that.
func (r *fileReader) findCursor(sources []source) (first int, inside bool, err error) {
	t, err := cursorTime(r.q.After)
	if err != nil {
		return 0, false, err
	}
	for i := len(sources) - 1; i >= 0; i-- {
		err := r.scan(&sources[i], func(l Line) bool {
			inside = l.Cursor == r.q.After
			return !inside
		})
		if err != nil || inside {
			return i, inside, err
		}
	}
	if since := t.Add(1); since.After(r.q.Since) {
		r.q.Since = since
	}
	first, err = r.findTime(sources, r.q.Since)
	return first, false, err
}

// cursorTime is the time in a cursor, whichever driver it is of.
func cursorTime(cursor string) (time.Time, error) {
	if t, ok := journalCursorTime(cursor); ok {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, cursor)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no cursor of a log line", cursor)
	}
	return t, nil
}

// scan calls f with the lines of a source until that returns false.
func (r *fileReader) scan(s *source, f func(Line) bool) error {
	lines, err := s.lines()
	if err != nil {
		return err
	}
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		l, ok, err := lines.next()
		if err != nil || !ok || !f(l) {
			return err
		}
	}
}

// drain emits what is left in the file being read, up to its last whole line.
func (r *fileReader) drain() error {
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		l, ok, err := r.lines.next()
		if err != nil || !ok {
			return err
		}
		switch {
		case r.after:
			r.after = l.Cursor != r.q.After
		case !r.q.wants(l):
		case r.skip > 0:
			if !l.Partial {
				r.skip--
			}
		default:
			if err := r.emit(l); err != nil {
				return err
			}
		}
	}
}

// rest emits what has come since, also in files that came after the one being read.
func (r *fileReader) rest() error {
	for {
		if r.file != nil {
			if err := r.drain(); err != nil {
				return err
			}
		}
		current, err := r.isCurrent()
		if err != nil || current {
			return err
		}
		if r.file != nil { // it got its last lines before it was moved aside
			if err := r.drain(); err != nil {
				return err
			}
		}
		sources, err := openSources(r.dir, r.name)
		if err != nil {
			return err
		}
		used := false
		for i := range sources {
			s := &sources[i]
			switch {
			case used, s.number <= r.number && i < len(sources)-1:
				_ = s.file.Close()
			default:
				used = true
				err = r.use(s)
			}
		}
		if err != nil || !used {
			return err
		}
	}
}

// isCurrent tells whether the file being read is the one that is written to, or there is none.
func (r *fileReader) isCurrent() (bool, error) {
	var st, own unix.Stat_t
	switch err := unix.Lstat(Path(r.dir, r.name), &st); {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("cannot look at the log: %w", err)
	}
	if r.file == nil {
		return false, nil
	}
	fd, err := descriptor(r.file)
	if err == nil {
		err = unix.Fstat(fd, &own)
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at the log: %w", err)
	}
	return st.Ino == own.Ino, nil
}
