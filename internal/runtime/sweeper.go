package runtime

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSweepAge is how long a zombie has to stand before a Sweeper takes it for nobody's.
const DefaultSweepAge = 30 * time.Second

// memberSweepAge is the same for what was executed in a container, by a daemon that this one was executed in place of: as
// long as such a zombie is there, the container's init cannot end.
const memberSweepAge = time.Second

// Sweeper reaps children that nobody waits for: what killed runtimes and hooks leave behind becomes a child of the
// subreaper. It reaps only zombies that were strangers in an earlier look, at least an age ago, and that no runtime call
// under way at that time can have made: so it takes no exit status from a container, nor from anybody in this process who
// reaps a child within that age of its end, as os/exec does.
type Sweeper struct {
	rt   *Runtime
	age  time.Duration
	seen map[processKey]sighting
	// inherited are the children that were there before anybody in this program could start one.
	inherited map[processKey]bool
}

type sighting struct {
	at   time.Time
	mark uint64 // calls that began before it might own the zombie
}

// NewSweeper makes a Sweeper for the containers of r. There must be but one in a process.
func NewSweeper(r *Runtime, age time.Duration) *Sweeper {
	return &Sweeper{rt: r, age: age, seen: map[processKey]sighting{}}
}

// Inherit notes the children that are there, but containers, as those of an earlier program in this process: of those nobody in this
// one knows, and they are reaped as soon as they end. One that was left to stand, of a command in a container, would keep that
// container from ending. It is called before anything is started, and before Run.
func (s *Sweeper) Inherit() error {
	pids, err := children()
	if err != nil {
		return err
	}
	s.inherited = map[processKey]bool{}
	for _, pid := range pids {
		if st, err := readStat(pid); err == nil && st.ppid == os.Getpid() && !s.rt.keeps(initRecord{pid, st.start}) {
			s.inherited[processKey{pid, st.start}] = true
		}
	}
	return nil
}

// reapInherited reaps those that have ended.
func (s *Sweeper) reapInherited() {
	for key := range s.inherited {
		st, err := readStat(key.pid)
		switch {
		case err != nil || st.start != key.start || st.ppid != os.Getpid():
			delete(s.inherited, key)
		case st.state == 'Z' && !s.rt.tracked(key.pid):
			// An error means that it is gone all the same.
			_ = unix.Waitid(unix.P_PID, key.pid, nil, unix.WEXITED|unix.WNOHANG|unix.WALL, nil)
			delete(s.inherited, key)
		}
	}
}

// Run sweeps until the context ends. It does nothing as long as no child ends.
func (s *Sweeper) Run(ctx context.Context) {
	chld := make(chan os.Signal, 1)
	signal.Notify(chld, unix.SIGCHLD)
	defer signal.Stop(chld)
	timer := time.NewTimer(0) // there may be some already, of a daemon that this one was executed in place of
	defer timer.Stop()
	armed := true
	s.reapInherited() // whose signal came too early
	for {
		select {
		case <-ctx.Done():
			return
		case <-chld:
			s.reapInherited()
			if !armed {
				timer.Reset(min(s.age/2, memberSweepAge))
				armed = true
			}
		case now := <-timer.C:
			armed = false
			again, err := s.look(now)
			if err != nil {
				s.rt.log.Warn("cannot look for stray zombies", "error", err)
			}
			if again {
				timer.Reset(min(s.age/2, memberSweepAge) + time.Millisecond)
				armed = true
			}
		}
	}
}

// look reaps old strangers and tells whether there are young ones.
func (s *Sweeper) look(now time.Time) (again bool, err error) {
	pids, err := children()
	if err != nil {
		return false, err
	}
	mark := s.rt.callMark() // after the list, so that every call which may have made one of these is before it
	seen := map[processKey]sighting{}
	var errs []error
	for _, pid := range pids {
		st, err := readStat(pid)
		if err != nil || st.state != 'Z' || st.ppid != os.Getpid() || s.rt.tracked(pid) || s.rt.keeps(initRecord{pid, st.start}) {
			continue
		}
		key := processKey{pid, st.start}
		first, known := s.seen[key]
		if !known {
			first = sighting{at: now, mark: mark}
		}
		age := s.age
		if isContainerMember(pid) {
			age = min(age, memberSweepAge)
		}
		if !known || now.Sub(first.at) < age || s.rt.callsBefore(first.mark) || s.rt.tracked(pid) {
			seen[key] = first
			continue
		}
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WALL, nil); err != nil {
			errs = append(errs, fmt.Errorf("cannot reap process %d: %w", pid, err))
			continue
		}
		s.rt.log.Debug("reaped a stray process", "pid", pid)
	}
	s.seen = seen
	if len(errs) > 0 {
		return len(seen) > 0, errs[0]
	}
	return len(seen) > 0, nil
}
