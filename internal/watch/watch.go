// Package watch tells when the contents of files and directories may have changed, however that was done: written in
// place, replaced by rename, removed and made again, or put in place by swapping a symbolic link somewhere along the
// path, as a ConfigMap does.
//
// It promises one Changed within about a second of a change, also during a steady stream of other writes, and none for
// writes that leave every content as it was or for what editors leave beside a file. inotify only says when to look;
// what counts is a hash of the contents, and everything is looked at again now and then, so that a lost event costs
// time and nothing else. When the kernel's limits leave no room for inotify it looks every second instead.
//
// It never writes, never opens anything but regular files, and keeps no contents. It is called by internal/daemon.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Options are the watcher's times. Zero values are replaced by the defaults.
type Options struct {
	Debounce time.Duration // quiet time after an event before contents are compared; default 250 ms
	MaxDelay time.Duration // longest that further events put that off; default 1 s
	Rescan   time.Duration // between looks without any event; default 45 s
	Poll     time.Duration // between looks while there is no inotify; default 1 s
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&o.Debounce, 250 * time.Millisecond},
		{&o.MaxDelay, time.Second},
		{&o.Rescan, 45 * time.Second},
		{&o.Poll, time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	return o
}

// Watcher compares a set of files and directories with what they were. Its methods may be called from any goroutine.
type Watcher struct {
	log     *slog.Logger
	opt     Options
	open    func() (source, error)
	changed chan struct{}
	wanted  chan struct{} // paths was replaced

	mu    sync.Mutex
	paths []string

	// Of the goroutine in Run.
	contents contents
	seen     map[string]sum // by path, at the last look
	events   *events        // nil while polling
	warned   bool           // that there is no inotify
}

// New returns a Watcher that watches nothing yet. It works while Run does.
func New(log *slog.Logger, opt Options) *Watcher {
	return &Watcher{
		log: log, opt: opt.withDefaults(), open: openInotify,
		changed: make(chan struct{}, 1), wanted: make(chan struct{}, 1),
		contents: contents{}, seen: map[string]sum{},
	}
}

// Changed receives a value when contents may have changed since the last one was received. Several changes are one.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Set replaces what is watched: absolute paths of files and of directories, which need not exist now. Of a directory
// the files in it count, with their names, but not those further below, hidden ones and editors' backups.
//
// A path that was not watched before counts as changed: it may have been, between the caller's reading it and now. So
// every Set with new paths is followed by one Changed.
func (w *Watcher) Set(paths []string) {
	clean := make([]string, 0, len(paths))
	for _, p := range paths {
		clean = append(clean, filepath.Clean(p))
	}
	slices.Sort(clean)
	clean = slices.Compact(clean)

	w.mu.Lock()
	w.paths = clean
	w.mu.Unlock()
	signal(w.wanted)
}

// Run watches until the context ends, and returns its error.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.stopEvents()

	select {
	case <-w.wanted: // the first look is for what was set before
	default:
	}
	var quiet, latest, regular <-chan time.Time // no event for a while; the last moment; the look without events
	w.look()
	regular = time.After(w.nextLook())
	for {
		var events, lost <-chan struct{}
		if w.events != nil {
			events, lost = w.events.dirty, w.events.lost
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("watching files: %w", ctx.Err())
		case <-events:
			quiet = time.After(w.opt.Debounce)
			if latest == nil {
				latest = time.After(w.opt.MaxDelay)
			}
			continue
		case <-lost:
			w.stopEvents()
			regular = time.After(w.opt.Poll) // not at once: it may be lost again
			continue
		case <-quiet:
		case <-latest:
		case <-regular:
		case <-w.wanted:
		}
		quiet, latest = nil, nil
		w.look()
		regular = time.After(w.nextLook())
	}
}

// nextLook is how long the next look without any event is away.
func (w *Watcher) nextLook() time.Duration {
	if w.events == nil && len(w.seen) > 0 {
		return w.opt.Poll
	}
	return w.opt.Rescan
}

// look watches the right directories, compares contents, and reports.
func (w *Watcher) look() {
	w.mu.Lock()
	paths := w.paths
	w.mu.Unlock()

	// Watches come before contents: what is written after a content was read makes an event.
	w.watchDirectories(paths)
	now := w.contents.sums(paths)
	changed := false
	for _, p := range paths {
		before, known := w.seen[p]
		if !known || before != now[p] {
			changed = true
			w.log.Debug("contents may have changed", "path", p)
		}
	}
	w.seen = now
	if changed {
		signal(w.changed)
	}
}

// watchDirectories brings inotify to where the paths lead now. While one directory is watched another may be put in
// front of it, so it goes on until nothing moves; a place that never rests is looked at again by its own events.
func (w *Watcher) watchDirectories(paths []string) {
	if len(paths) == 0 {
		w.stopEvents()
		return
	}
	err := w.startEvents()
	for range 3 {
		if err != nil {
			break
		}
		var added bool
		added, err = w.events.follow(findTrail(paths))
		if !added {
			break
		}
	}
	switch {
	case err != nil:
		w.stopEvents()
		if !w.warned {
			w.warned = true
			w.log.Warn("cannot watch files through inotify, looking at them every "+w.opt.Poll.String()+
				" instead; raise fs.inotify.max_user_instances or max_user_watches", "error", err)
		}
	case w.warned:
		w.warned = false
		w.log.Info("watching files through inotify again")
	}
}

// startEvents opens inotify if it is not open.
func (w *Watcher) startEvents() error {
	if w.events != nil {
		return nil
	}
	src, err := w.open()
	if err != nil {
		return fmt.Errorf("cannot open inotify: %w", err)
	}
	w.events = startEvents(src, w.log)
	return nil
}

func (w *Watcher) stopEvents() {
	if w.events == nil {
		return
	}
	if err := w.events.stop(); err != nil {
		w.log.Warn("cannot close inotify", "error", err)
	}
	w.events = nil
}

// signal leaves a value in a channel of capacity 1.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
