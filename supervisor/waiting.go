package supervisor

import (
	"slices"
	"time"
)

// ordering is what a container does because of others. It is its goroutine's own.
type ordering struct {
	waitsFor []string
	err      error           // why not all of that comes by itself
	settled  bool            // all of it has settled, so that nobody need wait for this container's first start
	told     bool            // that it waits
	pulled   map[string]bool // what was started because this container needs it
	pulling  int             // how many of these do not know it yet
	bound    map[string]Identity
	held     *held
}

// held is an end that is put off until those are down that need this container.
type held struct {
	kind  eventKind // evStop, evShutdown or evRestart
	first []string
	until time.Time
	timer *time.Timer
}

// reconsider does what follows from how the others stand.
func (c *container) reconsider() {
	c.releaseHeld()
	if c.ending && (c.m.state == StateBackoff || c.m.state == StateWaiting) {
		c.step(event{kind: evShutdown})
	}
	if c.m.state == StateWaiting {
		c.tryStart()
	} else {
		c.order.waitsFor, c.order.err, c.order.settled, c.order.told, c.order.pulled = nil, nil, false, false, nil
	}
	c.checkBonds()
}

// tryStart starts a waiting container if it can be.
func (c *container) tryStart() {
	o := &c.order
	stands := map[string]standing{}
	for _, name := range c.spec.Order.Names() {
		stands[name] = c.sup.standingOf(name)
	}
	o.waitsFor, o.err = gate(c.spec.Order, func(name string) standing { return stands[name] })
	if len(o.waitsFor) == 0 {
		o.bound = map[string]Identity{}
		for _, name := range c.spec.Order.BindsTo {
			o.bound[name] = stands[name].instance
		}
		c.step(event{kind: evUnblocked})
		return
	}
	for _, name := range c.spec.Order.Needs() {
		if s := stands[name]; s.presence == present && s.state == StateStopped && !s.byHand && !o.pulled[name] {
			c.pullIn(name)
		}
	}
	if o.pulling > 0 {
		o.err = nil
	}
	o.settled = !slices.ContainsFunc(o.waitsFor, func(name string) bool { return !stands[name].settled })
	if !o.told {
		o.told = true
		c.emit(Event{Type: EventWaiting, Err: o.err})
	}
}

// pullIn starts what this container needs.
func (c *container) pullIn(name string) {
	if c.order.pulled == nil {
		c.order.pulled = map[string]bool{}
	}
	c.order.pulled[name] = true
	c.order.pulling++
	c.sup.spawn(func() {
		// That it is gone or has ended meanwhile is seen from how it stands.
		_ = c.sup.ask(c.ctx, name, func(reply chan<- error) command { return pullCommand{because: c.name, reply: reply} })
		c.send(result{pulled: true})
	})
}

// checkBonds ends an instance when one has ended that it is bound to.
func (c *container) checkBonds() {
	if c.ending || c.m.state != StateRunning && c.m.state != StateStarting || c.m.finding() {
		return
	}
	for _, name := range c.spec.Order.BindsTo {
		bound, there := c.order.bound[name]
		if !there {
			continue // the definition did not say so yet when this instance started
		}
		s := c.sup.standingOf(name)
		if s.unknown || s.presence == expected || s.absence != "" { // it may run, and nobody knows
			continue
		}
		if s.instance == bound && (s.alive || bound == Identity{} && s.done) {
			continue
		}
		c.order.bound = nil
		c.causes.starts(name)
		c.causes.stops(name)
		c.step(event{kind: evUnbound})
		return
	}
}

// goDown ends the container, once those named have ended or patience is over.
func (c *container) goDown(kind eventKind, first []string, patience time.Duration) {
	c.dropHeld()
	if !c.serves() || !c.anyAlive(first) {
		c.step(event{kind: kind})
		return
	}
	c.order.held = &held{
		kind: kind, first: first, until: time.Now().Add(patience), timer: time.AfterFunc(patience, c.nudge),
	}
}

// releaseHeld ends the container when there is no reason any more to put it off.
func (c *container) releaseHeld() {
	h := c.order.held
	if h == nil || c.serves() && time.Now().Before(h.until) && c.anyAlive(h.first) {
		return
	}
	c.dropHeld()
	c.step(event{kind: h.kind})
}

// serves tells that others may rely on this container, because it runs or its task is done.
func (c *container) serves() bool { return c.m.state == StateRunning || c.m.done }

func (c *container) dropHeld() {
	if h := c.order.held; h != nil {
		h.timer.Stop()
		c.order.held = nil
	}
}

func (c *container) anyAlive(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return c.sup.standingOf(name).alive })
}

// nudge has the container look at how the others stand. It never waits.
func (c *container) nudge() {
	select {
	case c.nudged <- struct{}{}:
	default:
	}
}
