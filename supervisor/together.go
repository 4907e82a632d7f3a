package supervisor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// What is done to several containers because of their order. The supervisor's lock guards the graph; it is never held
// while a container is asked.

// holdGrace is what an end may take beyond its stop timeout before the ones after it are begun nevertheless.
const holdGrace = 15 * time.Second

// Expect says that containers of these names are about to be added: what is ordered after them waits for that.
func (s *Supervisor) Expect(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if s.containers[name] == nil {
			s.absences[name] = ""
		}
	}
}

// Absent says why a container of that name will not be added now, in words that go with its name ("whose …"), or with no
// words that it is not to be expected any more.
func (s *Supervisor) Absent(name, why string) {
	s.mu.Lock()
	switch {
	case s.containers[name] != nil:
	case why == "":
		delete(s.absences, name)
	default:
		s.absences[name] = why
	}
	s.mu.Unlock()
	s.nudgeAround(name)
}

// claim puts a container's order into the graph, unless that closes a cycle. s.mu is held.
func (s *Supervisor) claim(name string, o Order) error {
	old, there := s.graph[name]
	s.graph[name] = o
	if way := s.graph.Cycle(name); way != nil {
		if there {
			s.graph[name] = old
		} else {
			delete(s.graph, name)
		}
		return &CycleError{Path: way}
	}
	s.index(name, old, false)
	s.index(name, o, true)
	return nil
}

// index keeps s.namedBy.
func (s *Supervisor) index(name string, o Order, add bool) {
	for _, other := range o.Names() {
		if !add {
			delete(s.namedBy[other], name)
			continue
		}
		if s.namedBy[other] == nil {
			s.namedBy[other] = map[string]bool{}
		}
		s.namedBy[other][name] = true
	}
}

// unclaim takes a container out of the graph. s.mu is held.
func (s *Supervisor) unclaim(name string) {
	s.index(name, s.graph[name], false)
	delete(s.graph, name)
}

// nudgeAround has the neighbours of a container look at it.
func (s *Supervisor) nudgeAround(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.namedBy[name] {
		if c := s.containers[other]; c != nil {
			c.nudge()
		}
	}
	for _, other := range s.graph[name].Names() {
		if c := s.containers[other]; c != nil {
			c.nudge() // it may be held for this one
		}
	}
}

// Graph is the order of all containers as it is in effect.
func (s *Supervisor) Graph() Graph {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.graph)
}

// StopBound is the longest that a stop of all containers takes if each one has to be killed: each waits for those that
// need it.
func (s *Supervisor) StopBound() time.Duration {
	var longest time.Duration
	for _, d := range s.patience(s.Graph()) {
		longest = max(longest, d)
	}
	return longest
}

// patience is, for each of a graph's names, how long its end and those before it take at most.
func (s *Supervisor) patience(g Graph) map[string]time.Duration {
	out := map[string]time.Duration{}
	levels := g.Levels()
	slices.Reverse(levels)
	for _, level := range levels {
		for _, name := range level {
			c, err := s.lookup(name)
			if err != nil {
				continue
			}
			out[name] += time.Duration(c.stopTimeout.Load()) + holdGrace // those before have added theirs
			for _, needed := range g[name].Names() {
				out[needed] = max(out[needed], out[name])
			}
		}
	}
	return out
}

// Start starts a container and what it requires, and returns when it is up, or when this start has failed.
func (s *Supervisor) Start(ctx context.Context, name string) error {
	if _, err := s.lookup(name); err != nil {
		return err
	}
	if err := s.pull(ctx, s.Graph(), name); err != nil {
		return err
	}
	return s.ask(ctx, name, func(reply chan<- error) command { return upCommand{kind: evStart, reply: reply} })
}

// pull starts what a container requires: those first that the others wait for, so that none finds itself waiting in vain.
func (s *Supervisor) pull(ctx context.Context, g Graph, name string) error {
	needed := g.Needed(name)
	for _, level := range g.Levels() {
		for _, other := range level {
			if !slices.Contains(needed, other) {
				continue
			}
			err := s.ask(ctx, other, func(reply chan<- error) command { return pullCommand{because: name, byHand: true, reply: reply} })
			if err != nil && !errors.Is(err, ErrNoContainer) { // that one is missing is what the container says
				return err
			}
		}
	}
	return nil
}

// Restart ends a container that runs, and before it those that require it, starts all of them in any case, and returns as
// Start does.
func (s *Supervisor) Restart(ctx context.Context, name string) error {
	if _, err := s.lookup(name); err != nil {
		return err
	}
	g := s.Graph()
	var with []string
	for _, other := range g.Dependents(name) {
		if st := s.standingOf(other); st.alive || st.done {
			with = append(with, other)
		}
	}
	if err := s.pull(ctx, g, name); err != nil {
		return err
	}
	errs := s.inOrder(ctx, g, append(with, name), func(member string, first []string, patience time.Duration, reply chan<- error) command {
		return upCommand{kind: evRestart, first: first, patience: patience, because: nameUnless(name, member), reply: reply}
	}, func(member string) bool { return member == name })
	return errs[name]
}

// Stop ends a container, before it those that require it, and returns when they are down. They stay down until they are
// started by hand, or the next boot.
func (s *Supervisor) Stop(ctx context.Context, name string) error {
	if _, err := s.lookup(name); err != nil {
		return err
	}
	g := s.Graph()
	with := []string{name}
	for _, other := range g.Dependents(name) {
		switch st := s.standingOf(other); {
		case st.presence != present, st.state == StateStopped, st.state == StateFailed, st.state == StateExited && !st.done:
		default:
			with = append(with, other)
		}
	}
	errs := s.inOrder(ctx, g, with, func(member string, first []string, patience time.Duration, reply chan<- error) command {
		return downCommand{kind: evStop, first: first, patience: patience, because: nameUnless(name, member), reply: reply}
	}, func(string) bool { return true })
	if err := errs[name]; err != nil {
		return err
	}
	for _, member := range with {
		if err := errs[member]; err != nil && !errors.Is(err, ErrNoContainer) {
			return err
		}
	}
	return nil
}

func nameUnless(name, same string) string {
	if name == same {
		return ""
	}
	return name
}

// Shutdown ends all containers, those that need others before these, and returns when all are down. Unlike Stop it is no
// intent: the next daemon starts them again. A container that is added after the beginning of Shutdown is found and ended,
// but never started.
func (s *Supervisor) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	var names []string
	for _, c := range s.all() {
		names = append(names, c.name)
	}
	errs := s.inOrder(ctx, s.Graph(), names, func(_ string, first []string, patience time.Duration, reply chan<- error) command {
		return downCommand{kind: evShutdown, first: first, patience: patience, reply: reply}
	}, func(string) bool { return true })
	var out []error
	for _, name := range names {
		if err := errs[name]; !errors.Is(err, ErrNoContainer) {
			out = append(out, err)
		}
	}
	return errors.Join(out...)
}

// before are those of some names that end before another one, and how long that takes at most.
func (s *Supervisor) before(name string, members []string, g Graph, patience map[string]time.Duration) (first []string, longest time.Duration) {
	for _, other := range g.After(name) {
		if slices.Contains(members, other) {
			first = append(first, other)
			longest = max(longest, patience[other])
		}
	}
	return first, longest
}

// inOrder tells containers to go down, each after those of them that name it, and returns the answers of those that are
// waited for.
func (s *Supervisor) inOrder(ctx context.Context, g Graph, members []string, tell func(member string, first []string, patience time.Duration, reply chan<- error) command, wait func(string) bool) map[string]error {
	patience := s.patience(g)
	all := context.WithoutCancel(ctx) // who is told and who is not must not depend on when somebody hangs up
	errs := map[string]error{}
	waits := map[string]func() error{}
	// The needed ones are told first: they are not up any more from then on, so that nobody starts because of them.
	for _, level := range g.Levels() {
		for _, member := range level {
			if !slices.Contains(members, member) {
				continue
			}
			first, before := s.before(member, members, g, patience)
			reply := make(chan error, 1)
			c, err := s.send(all, member, tell(member, first, before, reply))
			if err != nil {
				errs[member] = err
				continue
			}
			waits[member] = func() error {
				r, err := await(ctx, s, c, reply)
				return errors.Join(r, err)
			}
		}
	}
	for member, answer := range waits {
		if wait(member) {
			errs[member] = answer()
		}
	}
	return errs
}
