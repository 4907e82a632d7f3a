package watch

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// source is inotify, as fsnotify has it.
type source interface {
	Add(path string) error
	Remove(path string) error
	WatchList() []string
	Events() <-chan fsnotify.Event
	Errors() <-chan error
	Close() error
}

type inotify struct{ *fsnotify.Watcher }

func (i inotify) Events() <-chan fsnotify.Event { return i.Watcher.Events }
func (i inotify) Errors() <-chan error          { return i.Watcher.Errors }

func openInotify() (source, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return inotify{w}, nil
}

// events turns what a source says into: look again.
type events struct {
	src   source
	log   *slog.Logger
	dirty chan struct{} // something of interest happened
	lost  chan struct{} // closed when the source has ended by itself
	done  chan struct{} // closed when the goroutine has ended

	watched map[string]inode // by directory; of the Watcher's goroutine

	mu       sync.Mutex
	trail    trail
	nameless bool // events come under names that the trail does not know
}

// inode tells a directory from another that took its path.
type inode struct{ dev, ino uint64 }

// startEvents reads the source until stop.
func startEvents(src source, log *slog.Logger) *events {
	e := &events{
		src: src, log: log, watched: map[string]inode{},
		dirty: make(chan struct{}, 1), lost: make(chan struct{}), done: make(chan struct{}),
	}
	go e.pump()
	return e
}

func (e *events) stop() error {
	err := e.src.Close()
	<-e.done
	return err
}

// pump has a goroutine of its own, which calls nothing of the source: fsnotify reports some errors while it holds the
// lock that its methods need.
func (e *events) pump() {
	defer close(e.done)
	defer close(e.lost)
	events, errs := e.src.Events(), e.src.Errors()
	for events != nil || errs != nil {
		select {
		case ev, ok := <-events:
			if !ok {
				events = nil
			} else if e.counts(ev.Name) {
				signal(e.dirty)
			}
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// Whatever went wrong, something may have been missed.
			signal(e.dirty)
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				e.log.Debug("inotify lost events, looking at everything again")
			} else if !errors.Is(err, syscall.EINVAL) { // EINVAL: the watch went with its directory
				e.log.Warn("inotify", "error", err)
			}
		}
	}
}

func (e *events) counts(path string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.nameless || e.trail.counts(filepath.Clean(path))
}

// follow watches the trail's directories and no others. It tells whether one was added, and fails when the kernel's
// limits do not allow it.
func (e *events) follow(t trail) (added bool, err error) {
	wanted := map[string]bool{}
	for dir := range t.names {
		wanted[dir] = true
	}
	for dir := range t.whole {
		wanted[dir] = true
	}
	e.mu.Lock()
	e.trail = t
	e.mu.Unlock()

	// A watch ends by itself when its directory is moved or removed, and not when another is put over it.
	alive := map[string]bool{}
	for _, dir := range e.src.WatchList() {
		alive[dir] = true
	}
	for dir, was := range e.watched {
		is, err := inodeOf(dir)
		if wanted[dir] && err == nil && is == was && alive[dir] {
			continue
		}
		delete(e.watched, dir)
		if alive[dir] {
			if err := e.src.Remove(dir); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
				e.log.Debug("cannot end an inotify watch", "directory", dir, "error", err)
			}
		}
	}
	for dir := range wanted {
		if _, ok := e.watched[dir]; ok {
			continue
		}
		is, err := inodeOf(dir)
		if err != nil {
			continue // gone meanwhile: its parent says so
		}
		switch err := e.src.Add(dir); {
		case err == nil:
			e.watched[dir] = is
			added = true
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE):
			return added, fmt.Errorf("cannot watch %q: %w", dir, err)
		default:
			e.log.Debug("cannot watch a directory", "directory", dir, "error", err)
		}
	}
	e.mu.Lock()
	e.nameless = !contains(e.src.WatchList(), e.watched)
	e.mu.Unlock()
	return added, nil
}

// contains is false when a directory can be reached under two paths (a bind mount): inotify knows one watch of it, and
// fsnotify one name.
func contains(list []string, dirs map[string]inode) bool {
	have := make(map[string]bool, len(list))
	for _, dir := range list {
		have[dir] = true
	}
	for dir := range dirs {
		if !have[dir] {
			return false
		}
	}
	return true
}

func inodeOf(dir string) (inode, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return inode{}, err
	}
	st := statusOf(info)
	return inode{st.dev, st.ino}, nil
}
