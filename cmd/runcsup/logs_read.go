package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/logs"
)

// logsReader gets the lines of containers to the printer: first what there is, in the order of times, and then, as it
// comes, what follows that.
type logsReader struct {
	p       *program
	o       logsOptions
	client  *control.Client
	printer *logsPrinter
	names   []string
	began   time.Time
	cursors map[string]string // of the last line printed, by container
	cutOff  map[string]bool   // containers of which not all of the past was read

	mu         sync.Mutex
	complained bool // that the daemon is away
}

// fromContainer is a line, and of which container it is.
type fromContainer struct {
	name string
	line logs.Line
}

func newLogsReader(p *program, o logsOptions, names []string) *logsReader {
	return &logsReader{p: p, o: o, client: p.client(), printer: newLogsPrinter(p, o, names), names: names, began: p.now(), cursors: map[string]string{}, cutOff: map[string]bool{}}
}

func (r *logsReader) run(ctx context.Context, q logs.Query) error {
	defer r.client.Close()
	err := r.past(ctx, q)
	if errFlush := r.printer.flush(!r.o.follow); errFlush != nil {
		return errFlush
	}
	if err != nil || !r.o.follow {
		return err
	}
	return r.following(ctx, q)
}

// past prints what there is.
func (r *logsReader) past(ctx context.Context, q logs.Query) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sources := make([]*pastSource, len(r.names))
	for i, name := range r.names {
		s := &pastSource{lines: make(chan logs.Line)}
		sources[i] = s
		go func() {
			defer close(s.lines)
			s.err = r.read(ctx, name, q, func(l logs.Line) error {
				l.Text = slices.Clone(l.Text) // the next one may be in its place
				select {
				case s.lines <- l:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
	}
	for _, s := range sources {
		s.next()
	}
	for {
		first := -1
		for i, s := range sources {
			if s.open && (first < 0 || s.head.Time.Before(sources[first].head.Time)) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		s, name := sources[first], r.names[first]
		if err := r.printer.line(fromContainer{name, s.head}); err != nil {
			return err
		}
		r.cursors[name] = s.head.Cursor
		s.next()
	}
	var errs []error
	for i, s := range sources {
		if answer, ok := errors.AsType[*control.Error](s.err); r.o.follow && ok && answer.Code == control.CodeUnavailable {
			r.cutOff[r.names[i]] = true
			continue // it goes on from where it was
		}
		if s.err != nil {
			errs = append(errs, s.err)
		}
	}
	if len(errs) == 1 && len(sources) == 1 {
		return errs[0]
	}
	return r.p.failed(errs)
}

// pastSource is what one container has written.
type pastSource struct {
	lines chan logs.Line
	err   error // valid when lines is closed
	head  logs.Line
	open  bool
}

func (s *pastSource) next() { s.head, s.open = <-s.lines }

// read reads the lines of one container, from the daemon or, where that is not there, from its files.
func (r *logsReader) read(ctx context.Context, name string, q logs.Query, each func(logs.Line) error) error {
	err := r.client.Logs(ctx, name, q, each)
	if !noDaemon(err) {
		return err
	}
	dir, errDir := r.dir(err)
	if errDir != nil {
		return errDir
	}
	if _, err := os.Stat(logs.Path(dir, name)); err != nil {
		return &control.Error{Code: control.CodeNoDaemon, Message: fmt.Sprintf("no daemon is there, and the log of %q cannot be read: %v", name, err),
			Hint: "its output may be in the journal: journalctl CONTAINER_NAME=" + name}
	}
	r.complain(fmt.Sprintf("%v; this is from its files in %s", err, dir))
	return logs.ReadFiles(ctx, dir, name, q, each)
}

// dir is where the files of a daemon are that is not there, which missing says.
func (r *logsReader) dir(missing error) (string, error) {
	if r.o.logDir != "" {
		return r.o.logDir, nil
	}
	s, err := config.LoadSettings(config.DefaultSettingsFile, false)
	if err != nil || filepath.Join(s.RunDir, "control.sock") != r.p.socketPath() {
		return "", &control.Error{Code: control.CodeNoDaemon, Message: missing.Error(), Hint: "start it, or name its log directory with --log-dir"}
	}
	return s.LogDir, nil
}

func (r *logsReader) complain(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.complained {
		r.complained = true
		_, _ = fmt.Fprintln(r.p.stderr, text)
	}
}

// following prints what comes after what was printed.
func (r *logsReader) following(ctx context.Context, q logs.Query) error {
	q.Follow = true
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lines := make(chan fromContainer)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	for _, name := range r.names {
		q := q
		q.Tail = -1
		switch q.After = r.cursors[name]; {
		case q.After != "":
		case r.cutOff[name]:
			q.Tail = r.o.lines
		case q.Since.IsZero() && r.o.lines >= 0:
			q.Since = r.began // there was nothing, or nothing was wanted
		}
		wg.Go(func() {
			if err := r.follow(ctx, name, q, lines); err != nil {
				cancel(err)
			}
		})
	}
	for {
		select {
		case l := <-lines:
			err := r.printer.line(l)
			if err == nil {
				err = r.printer.flush(false)
			}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return exitError(exitInterrupted)
		}
	}
}

// maxFollowFailures is how often in a row following may fail otherwise than because there is no daemon.
const maxFollowFailures = 10

// follow sends the lines of one container. A daemon that goes away is waited for.
func (r *logsReader) follow(ctx context.Context, name string, q logs.Query, lines chan<- fromContainer) error {
	for failures := 0; ; {
		err := r.client.Logs(ctx, name, q, func(l logs.Line) error {
			failures = 0
			l.Text = slices.Clone(l.Text)
			select {
			case lines <- fromContainer{name, l}:
			case <-ctx.Done():
				return ctx.Err()
			}
			q.After, q.Tail = l.Cursor, -1
			r.mu.Lock()
			r.complained = false
			r.mu.Unlock()
			return nil
		})
		var code control.Code
		if answer, ok := errors.AsType[*control.Error](err); ok {
			code = answer.Code
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil, code == control.CodeUnavailable, code == control.CodeNoDaemon:
		case code == control.CodeFailed && failures < maxFollowFailures: // it may have ended before it could answer
			failures++
		default:
			return err
		}
		r.complain("the daemon went away; waiting for it")
		if !pause(ctx, reconnectEvery) {
			return nil
		}
	}
}
