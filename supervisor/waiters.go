package supervisor

import (
	"errors"
	"fmt"
)

// waiter is a caller that waits until the container is up or down, and remembered to be, until it is known what an earlier
// daemon has left of it, or just until what it said is on disk.
type waiter struct {
	up     bool
	wasUp  bool // and only its record is still waited for
	found  bool // whether an instance of an earlier daemon runs is known, and seen by all
	taken  bool // what was said has been done and is seen by all
	gone   bool // down, and nothing left of it
	record bool
	reply  chan<- error
}

// settle answers those who wait, and tells whether the goroutine is done because the container is gone.
func (c *container) settle() (gone bool) {
	m := &c.m
	down := (m.state == StateStopped || m.state == StateExited || m.state == StateFailed) && m.call == callNone
	kept := c.waiters[:0]
	for _, w := range c.waiters {
		err, answered := error(nil), true
		switch {
		case w.taken:
		case w.found:
			answered = !m.finding() || m.err != nil
			if m.finding() {
				err = m.err
			}
		case w.record && !c.record.kept():
			err, answered = c.record.err, c.record.err != nil
		case w.record:
		case w.up && (w.wasUp || c.isUp()):
			w.wasUp = true
			answered = c.record.kept() || c.record.err != nil // the next daemon is to know what the caller knows
		case w.up && c.order.held != nil:
			answered = false
		case w.up && m.state == StateRunning && c.health.late:
			err = &LateError{Name: c.name, Timeout: c.spec.Ready.Timeout}
		case w.up && m.state == StateWaiting && c.order.err != nil:
			err = fmt.Errorf("cannot start %q yet: %w", c.name, c.order.err)
		case w.up && (m.state == StateStarting || m.state == StateWaiting || m.state == StateRunning || m.state == StateStopping && m.startNext):
			answered = false
		case w.up:
			err = c.whyDown()
		case c.order.held != nil && c.order.held.kind != evRestart:
			answered = false
		case m.state == StateRunning, m.state == StateStarting, m.state == StateWaiting, m.state == StateStopping && m.startNext:
			err = fmt.Errorf("%q was started again meanwhile", c.name)
		case !down || w.gone && m.dirty || !c.record.kept() && c.record.err == nil:
			answered = false
		case c.stoppedByHand && !c.record.kept():
			err = fmt.Errorf("%q is stopped, but will be started again after a restart of the daemon: %w", c.name, c.record.err)
		}
		if answered {
			w.reply <- err
		} else {
			kept = append(kept, w)
		}
	}
	clear(c.waiters[len(kept):])
	c.waiters = kept
	return c.removal && c.order.held == nil && down && !m.dirty && !c.record.saving
}

// noteSettled notes when the outcome of the first start is known.
func (c *container) noteSettled() {
	m := &c.m
	if c.settled.Load() || m.call == callFind {
		return
	}
	switch pending := m.err == nil; {
	case m.state == StateStarting && pending:
	case m.state == StateWaiting && pending && c.order.err == nil && !c.order.settled:
	default:
		c.settled.Store(true)
		c.sup.noteChange()
	}
}

// whyDown says why a container that should be up is not.
func (c *container) whyDown() error {
	m := &c.m
	switch {
	case errors.Is(m.err, errStartLimit):
		return &StartLimitError{Name: c.name, Limit: m.policy.Limit}
	case m.err != nil:
		return fmt.Errorf("cannot start %q: %w", c.name, m.err)
	case m.state == StateStopped || m.state == StateStopping:
		return fmt.Errorf("%q was stopped meanwhile", c.name)
	}
	return fmt.Errorf("%q ended at once: %s", c.name, m.lastExit)
}
