package supervisor

import (
	"reflect"
	"time"
)

// saveAgain is how long after a failed write of the record it is tried once more.
const saveAgain = 5 * time.Second

// recordKeeper keeps a container's record on disk up to date, with one write at a time and off the container's
// goroutine. It is that goroutine's own.
type recordKeeper struct {
	latest   Record
	version  uint64 // of latest
	onDisk   uint64 // version that the disk has
	failed   uint64 // version that could not be written
	retryDue bool
	saving   bool
	saved    Record // the last one written
	err      error
}

// kept tells whether everything worth remembering is on disk.
func (k *recordKeeper) kept() bool { return k.onDisk == k.version }

// next is the write that is due now, nil if none is. enabled: the container starts by itself.
func (k *recordKeeper) next(now Record, enabled bool) *saveCall {
	if !reflect.DeepEqual(now, k.latest) {
		k.latest = now
		k.version++
	}
	if k.saving || k.kept() || k.version == k.failed && !k.retryDue {
		return nil
	}
	if k.nothingNew(now, enabled) {
		k.onDisk = k.version
		return nil
	}
	k.saving, k.retryDue = true, false
	// What else there is counts until the next boot, and the page cache lasts as long.
	durable := !reflect.DeepEqual(now.EnabledOverride, k.saved.EnabledOverride)
	return &saveCall{record: now, version: k.version, durable: durable}
}

// nothingNew tells that a record of a start under way need not be written: the next daemon would make the same of the one
// on disk, and the outcome of the start follows in a moment.
func (k *recordKeeper) nothingNew(now Record, enabled bool) bool {
	s := k.saved
	switch {
	case now.State != StateStarting && now.State != StateWaiting || now.StoppedByHand || !reflect.DeepEqual(now.EnabledOverride, s.EnabledOverride):
		return false
	case now.BootID != s.BootID: // none at all, or of an earlier boot
		return enabled
	}
	// Not a start by hand or with a mended definition: it is to happen at once, not after what is left of the delay.
	automatic := s.State == StateBackoff && now.Attempt == s.Attempt+1 || s.State == StateStarting || s.State == StateWaiting
	return automatic && s.Instance == nil && !s.StoppedByHand
}

// done takes the result of a write; again tells that it should be tried once more later.
func (k *recordKeeper) done(c *saveCall) (again bool) {
	k.saving, k.err = false, c.err
	if c.err != nil {
		k.failed = c.version
		return true
	}
	k.onDisk, k.saved = c.version, c.record
	return false
}

// keepRecord writes the record if it changed.
func (c *container) keepRecord() {
	r := c.currentRecord()
	if c.m.finding() {
		r.State = c.m.ifLost.state
		if known := c.record.latest; known.BootID == r.BootID {
			// As long as it is not known what runs, what is on disk is worth more, but for what somebody said since.
			known.StoppedByHand, known.EnabledOverride = r.StoppedByHand, r.EnabledOverride
			r = known
		}
	}
	if call := c.record.next(r, c.enabled()); call != nil {
		c.sup.spawn(func() { c.send(call.do(c.sup, c.name)) })
	}
}

func (c *container) recordSaved(call *saveCall) {
	had := c.record.err
	if c.record.done(call) {
		if had == nil {
			c.emitError(call.err)
		}
		time.AfterFunc(saveAgain, func() { c.send(result{retry: true}) })
	}
}

// currentRecord is what a later daemon should know.
func (c *container) currentRecord() Record {
	m := &c.m
	r := Record{
		Version: RecordVersion, BootID: c.sup.cfg.BootID, StoppedByHand: c.stoppedByHand, EnabledOverride: c.override,
		State: m.state, Restarts: m.restarts, Attempt: m.attempt, Starts: wallTimes(m.starts), LastExit: m.lastExit,
		Done: m.done,
	}
	if m.alive {
		r.Instance, r.StartedAt, r.Unhealthy = c.ident, wallTime(m.startedAt), m.sick
		r.Ready, r.Health = c.health.ready, c.health.verdict
		r.BoundTo = c.order.bound
	}
	if m.state == StateBackoff {
		r.NextStartAt = wallTime(m.nextStart)
	}
	return r
}

// restore sets the container up from what an earlier daemon left.
func (c *container) restore(r Record, now time.Time) {
	m := &c.m
	m.lastExit, c.override = r.LastExit, r.EnabledOverride
	c.agree()
	c.record.latest, c.record.saved = r, r
	plan := lostPlan{state: StateStopped}
	if r.BootID != c.sup.cfg.BootID {
		if r.Instance != nil { // it ended with the machine, and nobody can tell how, nor when
			m.lastExit = exitOf(ReasonUnknown, ExitStatus{}, now)
		}
		if c.enabled() && !c.sup.cfg.AdoptOnly {
			plan.state = StateStarting
		}
		m.ifLost = plan
		return
	}
	c.stoppedByHand, c.find = r.StoppedByHand, r.Instance
	c.health.ready, c.health.verdict = r.Ready, r.Health
	c.order.bound = r.BoundTo
	m.restarts, m.attempt, m.starts = r.Restarts, r.Attempt, r.Starts
	switch {
	case c.stoppedByHand:
	case r.State == StateExited || r.State == StateFailed:
		plan.state, plan.done = r.State, r.Done
	case r.Instance != nil:
		plan.state, plan.sick = StateRunning, r.Unhealthy // it ended, and nobody saw how
		if r.StartedAt != nil {
			plan.ran = now.Sub(*r.StartedAt)
		}
	case r.State == StateBackoff && r.NextStartAt != nil:
		plan.state = StateBackoff
		// The wall clock may have jumped: never wait longer than the policy would.
		plan.after = min(max(r.NextStartAt.Sub(now), 0), c.spec.Restart.jittered(c.spec.Restart.delay(r.Attempt+1), 1))
	case c.enabled(), r.State == StateStarting, r.State == StateWaiting, r.State == StateStopping:
		plan.state = StateStarting
	}
	if plan.state == StateStarting && c.sup.cfg.AdoptOnly {
		plan.state = StateStopped
	}
	m.ifLost = plan
}

// enabled tells whether the container is to be started by itself.
func (c *container) enabled() bool {
	if c.override != nil {
		return *c.override
	}
	return c.spec.Enabled
}

// wallTime is a time as it goes to disk or to people: UTC, without the monotonic reading; nil for none.
func wallTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Round(0).UTC()
	return &t
}

func wallTimes(ts []time.Time) []time.Time {
	var out []time.Time
	for _, t := range ts {
		out = append(out, *wallTime(t))
	}
	return out
}
