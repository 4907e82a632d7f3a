package supervisor

import (
	"cmp"
	"fmt"
	"reflect"
)

// snapshot is the container as it is now.
func (c *container) snapshot() Snapshot {
	m := &c.m
	s := Snapshot{
		Name: c.name, Enabled: c.enabled(), State: m.state, Health: HealthNone, Restarts: m.restarts, LastExit: m.lastExit,
		Bundle: c.spec.Bundle.Path(), Adopted: m.adopted && m.alive, Error: c.problem(),
	}
	if m.alive && c.ident != nil {
		s.Pid, s.StartedAt = c.ident.Pid, wallTime(m.startedAt)
		if m.state == StateRunning {
			s.Ready, s.Health = c.health.ready && !c.spec.Oneshot, cmp.Or(c.health.verdict, HealthNone)
		}
	}
	if m.state == StateWaiting {
		s.WaitingFor = c.order.waitsFor
	}
	if c.spec.Oneshot && m.state == StateExited {
		s.Ready = m.done
	}
	if m.state == StateBackoff {
		s.NextStartAt = wallTime(m.nextStart)
	}
	return s
}

// problem is what the user should know: the newest definition's fault first, then why it does not run, then the rest.
func (c *container) problem() string {
	switch {
	case c.refused != "":
		return c.refused
	case c.order.err != nil:
		return "waits: " + c.order.err.Error()
	case c.m.err != nil:
		return c.m.err.Error()
	case c.health.late:
		return fmt.Sprintf("not ready within %s", c.health.spec.Ready.Timeout)
	case c.warning != nil:
		return c.warning.Error()
	case c.record.err != nil:
		return c.record.err.Error()
	}
	return ""
}

func (c *container) publish() {
	c.publishAs(c.snapshot())
	c.announce()
}

// publishAs makes a snapshot visible to List and Get, if it differs from the last one.
func (c *container) publishAs(s Snapshot) {
	if old := c.snap.Load(); old == nil || !reflect.DeepEqual(*old, s) {
		c.snap.Store(&s)
		c.sup.noteChange()
	}
}
