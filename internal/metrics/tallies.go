package metrics

import (
	"maps"
	"sync"

	"github.com/runcsup/runcsup/supervisor"
)

// tally is what was counted of one container since the daemon began.
type tally struct {
	starts, startFailures, restarts, adoptions uint64
	exits                                      map[supervisor.Reason]uint64
	// oomKills are those of earlier instances, lastOOM what the present one's cgroup said last.
	oomKills, lastOOM uint64
}

// tallies are those of all containers, by name. Those of removed ones are forgotten.
type tallies struct {
	mu     sync.Mutex
	byName map[string]*tally
}

func newTallies() *tallies { return &tallies{byName: map[string]*tally{}} }

// of returns the tally of a container; the lock is held.
func (t *tallies) of(name string) *tally {
	one := t.byName[name]
	if one == nil {
		one = &tally{exits: map[supervisor.Reason]uint64{}}
		t.byName[name] = one
	}
	return one
}

func (t *tallies) count(ev supervisor.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of(ev.Snapshot.Name)
	switch ev.Type {
	case supervisor.EventStarted:
		one.starts++
	case supervisor.EventAdopted:
		one.adoptions++
	case supervisor.EventStartFailed:
		one.startFailures++
	case supervisor.EventRestart:
		one.restarts++
	case supervisor.EventExited, supervisor.EventStopped:
		one.ended(ev.Snapshot.LastExit)
	case supervisor.EventRemoved:
		delete(t.byName, ev.Snapshot.Name)
	}
}

// ended counts how an instance ended. Its cgroup is gone by now, and what that said last may have been before the kill
// that ended it.
func (t *tally) ended(e *supervisor.Exit) {
	if e == nil {
		return
	}
	t.exits[e.Reason]++
	if e.Reason == supervisor.ReasonOOM {
		t.lastOOM = max(t.lastOOM, 1)
	}
	t.oomKills, t.lastOOM = t.oomKills+t.lastOOM, 0
}

// read returns a copy.
func (t *tallies) read(name string) tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.byName[name]
	if one == nil {
		return tally{}
	}
	c := *one
	c.exits = maps.Clone(one.exits)
	return c
}

// oom takes over what the cgroup of the present instance counts, and returns the count of all instances.
func (t *tallies) oom(name string, kills uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of(name)
	one.lastOOM = max(one.lastOOM, kills)
	return one.oomKills + one.lastOOM
}
