package history

import (
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// maxQueued is how many entries are kept in memory for a disk that is full or hangs, some megabytes at the most.
const maxQueued = 4096

// Log is the history of one state directory, as the daemon that writes it has it.
type Log struct {
	dir     string
	log     *slog.Logger
	changed func() // called when Err says something else than before

	// disk is held for writing while a file is written, so that nobody reads half a line.
	disk sync.RWMutex

	mu     sync.Mutex // guards what follows; never held while the disk is used
	lastID int64
	queue  []job          // not on disk yet, in order
	lost   map[string]int // entries for which there was no room in the queue, by container
	err    error          // of the last write
	hub    hub
	wake   chan struct{}
}

// job is something for the goroutine that writes: an entry, or a container that is to be forgotten.
type job struct {
	entry  Entry
	forget string
}

// Open opens the history in dir, which is made when it is written to. That it cannot be read is logged, and stops nobody:
// no container depends on it. Nothing is written before Run. changed is called when Err has changed.
func Open(dir string, log *slog.Logger, changed func()) *Log {
	l := &Log{dir: dir, log: log, changed: changed, lost: map[string]int{}, wake: make(chan struct{}, 1)}
	files, err := filesFor(dir, nil)
	if err != nil {
		log.Error("the history of earlier daemons cannot be read", "error", err)
	}
	for _, f := range files {
		id, err := f.lastID()
		if err != nil {
			log.Error("a file of the history cannot be read", "file", f.path, "error", err)
		}
		l.lastID = max(l.lastID, id)
	}
	return l
}

// Add notes what happened, now if the entry has no time. It gives the entry its ID, never waits, and tells all who follow.
func (l *Log) Add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(e)
}

func (l *Log) add(e Entry) {
	now := time.Now()
	if e.At.IsZero() {
		e.At = now
	}
	e.tidy()
	l.lastID = max(l.lastID+1, now.UnixMicro())
	e.ID = l.lastID
	l.hub.publish(&e)
	if len(l.queue) >= maxQueued {
		l.lost[e.Container]++
		return
	}
	l.enqueue(job{entry: e})
}

// Forget removes the history of a container, once what was added before is written.
func (l *Log) Forget(container string) {
	if !ValidName(container) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enqueue(job{forget: container})
}

func (l *Log) enqueue(j job) {
	l.queue = append(l.queue, j)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Containers are those of which there is a history.
func (l *Log) Containers() ([]string, error) {
	files, err := filesFor(l.dir, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files[1:] {
		names = append(names, f.container())
	}
	return names, nil
}

// Daemon returns what is on disk of the daemon's own entries, oldest first.
func (l *Log) Daemon() ([]Entry, error) {
	l.disk.RLock()
	defer l.disk.RUnlock()
	return file{filepath.Join(l.dir, daemonFile)}.read(Query{DaemonOnly: true})
}

// Err is why the history cannot be written at present; nil when it can.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Read returns what there is, oldest first, what is not on disk yet included.
func (l *Log) Read(q Query) ([]Entry, error) {
	l.mu.Lock()
	queued := l.queued(q)
	l.mu.Unlock()
	return l.readBehind(q, queued)
}

// queued are the wanted entries that may not be on disk yet.
func (l *Log) queued(q Query) []Entry {
	var out []Entry
	for _, j := range l.queue {
		if j.forget == "" && q.Wants(&j.entry) {
			out = append(out, j.entry)
		}
	}
	return out
}

// readBehind returns what is on disk, and what was queued before that was read.
func (l *Log) readBehind(q Query, queued []Entry) ([]Entry, error) {
	l.disk.RLock()
	defer l.disk.RUnlock()
	onDisk, err := Read(l.dir, q)
	if err != nil {
		return nil, err
	}
	return q.sorted(append(onDisk, queued...)), nil
}
