package history

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

const (
	// writeAgain is how long after a failed write the next one is tried.
	writeAgain = 5 * time.Second
	// syncAfter is how long after a write the disk is told to have it: the most that a power cut takes.
	syncAfter = 5 * time.Second
	// maxWrite is about how many bytes are written to a file at once.
	maxWrite = 32 << 10
)

// writer is the goroutine that writes a Log's files.
type writer struct {
	*Log
	unsynced map[string]bool // paths of what was written since the last sync
}

// Run writes what is added until ctx ends, then what is left, and ends all who follow. It is called once.
func (l *Log) Run(ctx context.Context) {
	w := writer{Log: l, unsynced: map[string]bool{}}
	again, due := stoppedTimer(), stoppedTimer()
	defer again.Stop()
	defer due.Stop()
	syncing := false
	for {
		select {
		case <-l.wake:
		case <-again.C:
		case <-due.C:
			syncing = false
			w.sync()
			continue
		case <-ctx.Done():
			w.write()
			w.sync()
			l.mu.Lock()
			defer l.mu.Unlock()
			l.hub.close()
			return
		}
		if !w.write() {
			again.Reset(writeAgain)
		}
		if len(w.unsynced) > 0 && !syncing {
			syncing = true
			due.Reset(syncAfter)
		}
	}
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// write does what is queued, and tells whether all of it is done. What fails stays queued, with all that is to follow it in
// the same file.
func (w *writer) write() bool {
	w.mu.Lock()
	jobs := w.queue[:len(w.queue):len(w.queue)] // Add appends beyond
	w.mu.Unlock()
	var (
		left   []job
		errs   []error
		failed = map[string]bool{}
	)
	for rest := jobs; len(rest) > 0; {
		path := w.pathOf(rest[0])
		n, err := 1, error(nil)
		if !failed[path] {
			n, err = w.do(path, rest)
		}
		if err != nil {
			errs = append(errs, err)
			failed[path] = true
		}
		if failed[path] {
			left = append(left, rest[:n]...)
		}
		rest = rest[n:]
	}
	return w.settle(len(jobs), left, errors.Join(errs...))
}

// settle takes from the queue what is done of its first taken jobs, and says once that the history cannot be written, and
// once that it can.
func (w *writer) settle(taken int, left []job, err error) (done bool) {
	w.mu.Lock()
	before := w.err
	w.err = err
	w.queue = append(left, w.queue[taken:]...)
	if err == nil {
		for container, n := range w.lost {
			w.add(Entry{Container: container, Type: TypeGap, Why: fmt.Sprintf("%d entries are lost: the history could not be written", n)})
		}
		clear(w.lost)
	}
	w.mu.Unlock()
	if (err == nil) != (before == nil) {
		w.changed()
	}
	switch {
	case err != nil && before == nil:
		w.log.Error("the history cannot be written; it is tried again until it can be", "error", err)
	case err == nil && before != nil:
		w.log.Info("the history can be written again")
	}
	return err == nil
}

// do does the first job of some, and with it, if it writes an entry, those behind it that are for the same file. It returns
// how many that were, with or without success.
func (w *writer) do(path string, jobs []job) (n int, err error) {
	if jobs[0].forget != "" {
		w.disk.Lock()
		defer w.disk.Unlock()
		delete(w.unsynced, path)
		if err := (file{path}).remove(); err != nil {
			return 1, fmt.Errorf("cannot remove the history of %q: %w", jobs[0].forget, err)
		}
		return 1, nil
	}
	var lines []byte
	for n < len(jobs) && jobs[n].forget == "" && w.pathOf(jobs[n]) == path && len(lines) < maxWrite {
		line, err := encode(jobs[n].entry)
		if err != nil { // nothing in an entry can cause that
			w.log.Error("an entry of the history is left out", "error", err)
		}
		lines = append(lines, line...)
		n++
	}
	w.disk.Lock()
	defer w.disk.Unlock()
	w.unsynced[path] = true
	return n, file{path}.append(lines)
}

// pathOf is the file that a job is for. That a container was removed is for the daemon's, since its own goes with it.
func (w *writer) pathOf(j job) string {
	name := j.forget
	if name == "" && j.entry.Type != string(supervisor.EventRemoved) {
		name = j.entry.Container
	}
	if !ValidName(name) {
		return filepath.Join(w.dir, daemonFile)
	}
	return containerPath(w.dir, name)
}

// sync brings what was written to the disk. That it cannot is no more than a line in the log: a later write tells, too.
func (w *writer) sync() {
	for path := range w.unsynced {
		if err := (file{path}).sync(); err != nil {
			w.log.Error("the history may not survive a power cut", "error", err)
		}
	}
	clear(w.unsynced)
}
