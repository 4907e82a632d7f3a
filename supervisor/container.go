package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// container owns one container: its machine, its timer, its calls. Only its goroutine touches the fields below snap.
type container struct {
	sup  *Supervisor
	name string
	// commands and results are what the goroutine lives on. Nothing it does blocks.
	commands chan command
	results  chan result
	done     chan struct{} // closed when the goroutine has ended
	ctx      context.Context
	snap     atomic.Pointer[Snapshot]
	// nudged has a value when another container has changed that this one looks at; stands is what the others see.
	nudged      chan struct{}
	stands      atomic.Pointer[standing]
	stopTimeout atomic.Int64
	settled     atomic.Bool // its first start came to an end, one way or the other

	m       machine
	spec    *Spec
	bundle  Bundle // of the instance, or of the last one
	proc    Process
	ident   *Identity
	limits  string // fingerprint of the limits that the instance runs with
	find    *Identity
	made    string // Hash of what find would find, empty if that cannot be told
	removal bool   // the definition is gone
	ending  bool   // the daemon is

	timer   *time.Timer
	timerOf uint64

	cancelQueue  context.CancelCauseFunc // of the run under way
	cancelRun    context.CancelCauseFunc
	updating     *updateCall
	cancelUpdate context.CancelFunc
	updateFailed bool           // of this instance: not tried again by itself
	afterUpdate  *action        // run or remove that waits for the update to end
	applyLater   []applyCommand // definitions that came during an update

	causes        causes
	health        watching
	order         ordering
	stoppedByHand bool
	override      *bool
	refused       string // what is wrong with the newest definition
	warning       error  // something that changes nothing but should be seen, until the next start

	waiters []waiter
	spent   []Identity // ended, and not forgotten by the runtime as long as the record names them

	record recordKeeper
}

// loop is the container's goroutine.
func (c *container) loop() {
	defer close(c.done)
	c.timer = time.NewTimer(time.Hour)
	c.timer.Stop()
	defer c.timer.Stop()
	c.causes.start = CauseDaemon
	if c.record.latest.BootID == "" { // no daemon has had it before
		c.causes.start = CauseDefinition
	}
	c.perform(c.m.begin(c.m.ifLost))
	switch {
	case c.ending && c.sup.cfg.AdoptOnly: // its end waits for those that need it, once all are found
		c.causes.stop = CauseShutdown
	case c.ending:
		c.causes.stop = CauseShutdown
		c.step(event{kind: evShutdown})
	case c.stoppedByHand: // and perhaps not down yet when the last daemon ended
		c.causes.stop = CauseHand
		c.step(event{kind: evStop})
	}
	c.publish()
	for {
		select {
		case cmd := <-c.commands:
			cmd.do(c)
		case r := <-c.results:
			c.take(r)
		case <-c.timer.C:
			c.step(event{kind: evTimer, timer: c.timerOf})
		case <-c.nudged:
		case <-c.ctx.Done():
			c.abandon()
			return
		}
		c.reconsider()
		c.keepWatch() // probes may have been changed
		c.keepRecord()
		c.forgetSpent()
		c.noteSettled()
		c.publish()
		if c.settle() {
			return
		}
	}
}

// step gives the machine an event, does what it asks for, and tells what came of it.
func (c *container) step(e event) {
	e.now, e.random = time.Now(), c.sup.cfg.Rand()
	before, gen := c.m.state, c.m.gen
	if e.kind == evExited && e.gen == gen && c.m.alive {
		e.ran = e.now.Sub(c.m.startedAt)
	}
	lastExit := c.m.lastExit
	actions := c.m.step(e)
	c.perform(actions)
	c.keepWatch()
	c.tell(e, before, lastExit)
}

// perform does what the machine asks for.
func (c *container) perform(actions []action) {
	for _, a := range actions {
		switch a.kind {
		case actRun, actRemove, actFind:
			if c.updating != nil { // one runtime call at a time: the update makes way
				c.cancelUpdate()
				c.afterUpdate = &a
				continue
			}
			c.call(a)
		case actSignal:
			c.signal(c.m.stop.Signal)
		case actKillAll:
			proc := c.proc
			c.causes.overdue = c.m.stop.Timeout > 0
			c.sup.spawn(func() {
				if err := proc.KillAll(); err != nil {
					c.send(result{warn: fmt.Errorf("cannot kill it: %w", err)})
				}
			})
		case actDequeue:
			c.cancelQueue(errDequeued)
		case actCancelRun:
			c.cancelRun(errCancelled)
		case actSetTimer:
			c.timerOf = a.timer
			c.timer.Reset(a.after)
		case actCancelTimer:
			c.timer.Stop()
		}
	}
}

// call makes a runtime call in a goroutine of its own.
func (c *container) call(a action) {
	switch a.kind {
	case actRun:
		c.bundle, c.warning, c.updateFailed, c.causes.overdue = c.spec.Bundle, nil, false, false
		c.m.stop = c.spec.Stop
		c.limits = fingerprint(c.spec)
		run := runCall{gen: a.gen, spec: c.spec, giveUp: c.sup.cfg.StartTimeout}
		run.run, c.cancelRun = context.WithCancelCause(c.ctx)
		run.queue, c.cancelQueue = context.WithCancelCause(run.run)
		c.sup.spawn(func() { c.send(run.do(c.sup)) })
	case actRemove:
		c.release()
		bundle := c.bundle
		c.sup.spawn(func() { c.send(removeCall(c.ctx, c.sup, c.name, a.gen, bundle)) })
	case actFind:
		known := c.find
		c.sup.spawn(func() { c.send(findCall(c.ctx, c.sup, c.name, a.gen, known)) })
	}
}

// send hands a result to the goroutine, unless that has ended.
func (c *container) send(r result) {
	select {
	case c.results <- r:
	case <-c.done:
		if r.proc != nil {
			_ = r.proc.Close() // nobody is left to watch it; the next daemon adopts the container
		}
	}
}

// take handles the answer of a call.
func (c *container) take(r result) {
	if r.warn != nil {
		c.warning = r.warn
		c.emitError(r.warn)
	}
	switch {
	case r.saved != nil:
		c.recordSaved(r.saved)
	case r.report != nil && r.watch == c.health.number:
		c.heed(*r.report)
	case r.pulled:
		c.order.pulling--
	case r.late && r.watch == c.health.number:
		c.noteLate()
	case r.retry:
		c.record.retryDue = true
	case r.updated != nil:
		c.afterUpdating(r.updated)
	case r.ev != nil:
		if r.proc != nil {
			c.watch(r.proc, r.ident, r.ev.gen)
		}
		if r.ev.ended {
			c.spent = append(c.spent, r.ident)
		}
		if r.ev.kind == evStarted || r.ev.kind == evStartFailed {
			c.cancelRun(nil)
		}
		c.step(*r.ev)
	}
	c.updateLimits()
}

// watch waits for the end of an instance.
func (c *container) watch(p Process, id Identity, gen uint64) {
	c.proc, c.ident = p, &id
	c.sup.watchers.spawn(func(ctx context.Context) {
		status, err := p.Wait(ctx)
		if err != nil && ctx.Err() != nil {
			return
		}
		r := result{ev: &event{kind: evExited, gen: gen, status: status}}
		if err != nil {
			r.ev.status, r.warn = ExitStatus{}, fmt.Errorf("cannot tell how it ended: %w", err)
		}
		c.send(r)
	})
}

// release closes what is held of an ended instance.
func (c *container) release() {
	if c.proc == nil {
		return
	}
	if err := c.proc.Close(); err != nil {
		c.warning = fmt.Errorf("cannot close its pidfd: %w", err)
	}
	c.spent = append(c.spent, *c.ident)
	c.proc, c.ident = nil, nil
}

// abandon leaves the container to the next daemon.
func (c *container) abandon() {
	c.dropHeld()
	c.endWatch()
	if c.proc != nil {
		_ = c.proc.Close() // the process itself is not touched
	}
}

func (c *container) signal(sig syscall.Signal) {
	if err := c.proc.Signal(sig); err != nil {
		c.warning = fmt.Errorf("cannot send it SIG%s: %w", signalName(sig), err)
		c.emitError(c.warning)
	}
}

// updateLimits brings the limits of a running instance in line with the definition.
func (c *container) updateLimits() {
	if c.updating != nil || c.m.state != StateRunning || c.updateFailed || c.limits == fingerprint(c.spec) {
		return
	}
	c.startUpdate(&updateCall{spec: c.spec})
}

func (c *container) startUpdate(u *updateCall) {
	var ctx context.Context
	ctx, c.cancelUpdate = context.WithCancel(c.ctx)
	c.updating, u.gen = u, c.m.gen
	c.sup.spawn(func() { c.send(u.do(ctx, c.sup)) })
}

func (c *container) afterUpdating(u *updateCall) {
	c.cancelUpdate()
	c.updating = nil
	outcome := OutcomeUpdated
	switch gone := u.gen != c.m.gen || !c.m.alive; {
	case u.err == nil:
		c.takeSpec(u.spec)
		c.m.stop, c.limits = u.spec.Stop, fingerprint(u.spec)
		c.emit(Event{Type: EventUpdated})
	case gone && u.reply != nil: // the next instance starts with them
		c.takeSpec(u.spec)
		outcome, u.err = OutcomeChanged, nil
	case gone:
	case u.reply == nil:
		c.warning, c.updateFailed = u.err, true
		c.emitError(u.err)
	}
	if u.reply != nil {
		u.reply <- applyReply{outcome: outcome, err: u.err}
	}
	if next := c.afterUpdate; next != nil {
		c.afterUpdate = nil
		c.call(*next)
	}
	later := c.applyLater
	c.applyLater = nil
	for _, cmd := range later {
		cmd.do(c)
	}
}

// fingerprint tells limits apart.
func fingerprint(s *Spec) string {
	if s.Resources == nil {
		return ""
	}
	b, err := json.Marshal(s.Resources)
	if err != nil {
		return err.Error() // plain numbers: it does not happen
	}
	return string(b)
}
