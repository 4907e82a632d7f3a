package supervisor

import (
	"errors"
	"reflect"
	"time"
)

// watching is what a container knows of how its running instance is. It is its goroutine's own.
type watching struct {
	of      uint64 // generation of the instance; 0: none is watched
	number  uint64 // of the watch: reports of an earlier one change nothing
	spec    *Spec  // with the probes that are used
	stop    func() // nil when no Monitor is needed
	ready   bool
	late    bool // not ready in time
	verdict Health
	timer   *time.Timer // until it is late, nil when it cannot be
}

// keepWatch sees to it that just the running instance is watched, by the probes of the newest definition.
func (c *container) keepWatch() {
	w := &c.health
	switch running := c.m.state == StateRunning && c.ident != nil; {
	case !running && w.of != 0:
		c.endWatch()
		*w = watching{number: w.number}
	case running && w.of != c.m.gen:
		known := *w // of an adopted instance, from the record
		c.endWatch()
		*w = watching{of: c.m.gen, number: w.number}
		if c.m.adopted {
			w.ready, w.verdict = known.ready, known.verdict
		}
		c.beginWatch()
	case running && !sameProbes(w.spec, c.spec):
		c.endWatch()
		c.beginWatch()
	}
}

// beginWatch has the Monitor look after the instance, if there is anything to look at.
func (c *container) beginWatch() {
	w := &c.health
	w.number++
	w.spec, w.late = c.spec, false
	number := w.number
	if policy := c.spec.Ready; policy.Timeout > 0 && (c.spec.Oneshot || policy.gated() && !w.ready) {
		left := policy.Timeout - time.Since(c.m.startedAt)
		w.timer = time.AfterFunc(max(left, 0), func() { c.send(result{late: true, watch: number}) })
	}
	if c.sup.cfg.Monitor == nil || !watched(c.spec) {
		w.verdict, w.ready = HealthNone, true
		return
	}
	if w.verdict == "" || w.verdict == HealthNone {
		w.verdict = HealthNone
		if hasProbes(c.spec) {
			w.verdict = HealthStarting
		}
	}
	in := Instance{Spec: c.spec, Identity: *c.ident, StartedAt: c.m.startedAt, Adopted: c.m.adopted, Ready: w.ready}
	w.stop = c.sup.cfg.Monitor.Watch(in, func(r Report) { c.send(result{report: &r, watch: number}) })
}

func (c *container) endWatch() {
	w := &c.health
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// heed takes a report on the running instance.
func (c *container) heed(r Report) {
	w := &c.health
	if w.of == 0 {
		return
	}
	before := w.verdict
	if r.Health != "" {
		w.verdict = r.Health
	}
	c.setReady(r.Ready)
	var why error
	if r.Unhealthy != "" {
		why = errors.New(r.Unhealthy)
	}
	if w.verdict != before {
		switch w.verdict {
		case HealthHealthy:
			c.emit(Event{Type: EventHealthy})
		case HealthUnhealthy:
			c.emit(Event{Type: EventUnhealthy, Err: why})
		}
	}
	if why == nil || r.OnFailure == OnFailureNone {
		return
	}
	c.step(event{kind: evUnhealthy, gen: w.of, err: why, final: r.OnFailure == OnFailureStop})
}

// noteLate is for an instance whose time to become ready is over.
func (c *container) noteLate() {
	w := &c.health
	if w.of == 0 || w.late || w.ready && !c.spec.Oneshot {
		return
	}
	w.late = true
	c.emit(Event{Type: EventUnready, Err: &LateError{Name: c.name, Timeout: w.spec.Ready.Timeout}})
}

// setReady notes whether the running instance is ready, and tells when that changed.
func (c *container) setReady(ready bool) {
	w := &c.health
	if w.ready == ready {
		return
	}
	w.ready = ready
	if ready {
		w.late = false
		c.emit(Event{Type: EventReady})
		return
	}
	c.emit(Event{Type: EventUnready})
}

// watched tells whether a Monitor has anything to look at.
func watched(s *Spec) bool { return hasProbes(s) || s.Ready.gated() }

func hasProbes(s *Spec) bool { return s.Health != nil && !s.Health.Empty() }

// sameProbes tells whether two specs ask for the same to be watched.
func sameProbes(a, b *Spec) bool { return a.Ready == b.Ready && reflect.DeepEqual(a.Health, b.Health) }
