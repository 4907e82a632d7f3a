package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// standing is what containers see of each other.
type standing struct {
	presence presence
	absence  string // why it is not there, if that is known
	state    State
	unknown  bool     // it is being found out whether it runs
	done     bool     // it does not run, but its task is done
	alive    bool     // an instance runs, if perhaps not for long
	instance Identity // of the running one
	up       bool     // those that require it can start
	coming   bool     // it may be up without anybody's doing, and has not failed since it was told to start
	late     bool     // it runs, but was not ready in time
	settled  bool     // the outcome of its first start is known
	byHand   bool     // stopped, and by hand
	end      string   // how the last instance ended, "exited with code 3", where nothing has followed it
	root     string   // what it waits for in vain in the end, and why
}

// presence tells whether there is a container of some name.
type presence int

const (
	absent   presence = iota
	expected          // it is about to be added
	present
)

// trouble says why what is required will not be up by itself; empty when it may be.
func (s standing) trouble() string {
	switch {
	case s.presence == absent && s.absence != "":
		return s.absence
	case s.presence == absent:
		return "which is not there"
	case s.presence == expected, s.up, s.coming:
		return ""
	case s.late:
		return "which runs, but was not ready in time"
	case s.state == StateFailed && s.end != "":
		return "which has failed: it " + s.end
	case s.state == StateFailed:
		return "which has failed"
	case s.state == StateBackoff:
		return "which " + s.end + " and is started again later"
	case s.state == StateExited:
		return "which " + s.end
	case s.state == StateWaiting:
		return "which waits in vain for " + cmp.Or(s.root, "another")
	}
	return "which is " + string(s.state)
}

// gate tells what a container has to wait for before it starts: the names, and why not all of that will come by itself.
func gate(o Order, of func(name string) standing) (waitsFor []string, err error) {
	needs := o.Needs()
	var troubles []string
	root := ""
	for _, name := range o.Names() {
		s := of(name)
		if !slices.Contains(needs, name) {
			if s.presence == expected || s.coming && !s.up {
				waitsFor = append(waitsFor, name)
			}
			continue
		}
		if s.up {
			continue
		}
		waitsFor = append(waitsFor, name)
		if trouble := s.trouble(); trouble != "" {
			troubles = append(troubles, fmt.Sprintf("%q, %s", name, trouble))
			if root == "" {
				root = cmp.Or(s.root, troubles[0])
			}
		}
	}
	if len(troubles) > 0 {
		err = &DependencyError{Text: "it needs " + strings.Join(troubles, ", and "), Root: root}
	}
	return waitsFor, err
}

// standing is this container's.
func (c *container) standing() standing {
	m := &c.m
	s := standing{
		presence: present, state: m.state, unknown: m.finding(), alive: m.alive, done: m.done, late: c.health.late, settled: c.settled.Load(),
		byHand: c.stoppedByHand, up: c.isUp(),
	}
	if m.alive && c.ident != nil {
		s.instance = *c.ident
	}
	held, leaving := c.order.held, c.ending || c.removal
	switch m.state {
	case StateStarting:
		s.coming = !leaving && (m.err == nil || !s.unknown)
	case StateWaiting:
		s.coming = !leaving && c.order.err == nil
		if e, ok := errors.AsType[*DependencyError](c.order.err); ok {
			s.root = e.Root
		}
	case StateBackoff, StateFailed:
		s.end = m.lastExit.inWords()
	case StateStopping:
		s.coming = !leaving && m.startNext
	case StateExited:
		s.end = m.lastExit.inWords()
		s.coming = held != nil && held.kind == evRestart
	case StateRunning:
		s.coming = !leaving && !s.late && (held == nil || held.kind == evRestart)
	}
	return s
}

// isUp tells whether those that require this container can start.
func (c *container) isUp() bool {
	m := &c.m
	switch {
	case c.ending, c.removal, c.order.held != nil:
		return false
	case c.spec.Oneshot:
		return m.state == StateExited && m.done
	}
	return m.state == StateRunning && (!c.spec.Ready.gated() || c.health.ready)
}

// announce lets the neighbours know when something has changed that they look at.
func (c *container) announce() {
	now := c.standing()
	if old := c.stands.Load(); old == nil || *old != now {
		c.stands.Store(&now)
		c.sup.nudgeAround(c.name)
	}
}

// standingOf is that of any name.
func (s *Supervisor) standingOf(name string) standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[name]; c != nil {
		return *c.stands.Load()
	}
	why, known := s.absences[name]
	switch {
	case !known:
		return standing{}
	case why == "":
		return standing{presence: expected}
	}
	return standing{absence: why, settled: true}
}
