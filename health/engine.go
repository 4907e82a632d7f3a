package health

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Config is what an engine needs. The zero value works.
type Config struct {
	// MaxNetwork and MaxExec are how many probes by network and by exec run at one time; more wait their turn. Of the latter
	// those that have run for ExecLease do not count any more: what costs is their start. 0 is DefaultMaxNetwork and
	// ExecPerCPU times the number of CPUs.
	MaxNetwork int
	MaxExec    int
	// Rand returns a number in [0, 1). Nil is math/rand's.
	Rand func() float64
}

// Default bounds. A probe by network that waits for an answer costs some kilobytes; one by exec starts processes.
const (
	DefaultMaxNetwork = 512
	ExecPerCPU        = 2
	ExecLease         = 2 * time.Second
)

// freshSpread is the longest that the first probe of a new instance is put off, so that what was started together is not
// probed together for ever.
const freshSpread = 500 * time.Millisecond

// Engine runs the probes of all containers: one heap of what is due when, and one timer. A goroutine exists only while its
// probe runs.
type Engine struct {
	cfg  Config
	home homeNetwork

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows, and all of every Watch
	queue   queue
	timer   *time.Timer
	armed   time.Time // what the timer is set to, zero if it is not
	network lane
	exec    lane
	closed  bool
}

// lane bounds how many probes of a kind run at one time. What finds no place waits, first come first served.
type lane struct {
	most    int
	running int
	waiting []*check
}

// New makes an engine. It has no goroutine until something is watched.
func New(cfg Config) *Engine {
	if cfg.MaxNetwork == 0 {
		cfg.MaxNetwork = DefaultMaxNetwork
	}
	if cfg.MaxExec == 0 {
		cfg.MaxExec = ExecPerCPU * runtime.NumCPU()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	e := &Engine{cfg: cfg, network: lane{most: cfg.MaxNetwork}, exec: lane{most: cfg.MaxExec}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Close ends all probes and waits until they have. Nothing is reported afterwards.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	if e.timer != nil {
		e.timer.Stop()
	}
	e.mu.Unlock()
	e.cancel()
	e.wg.Wait()
	e.home.close()
}

// spawn runs f in a goroutine that Close waits for, unless the engine is closed. The lock is held.
func (e *Engine) spawn(f func()) {
	if !e.closed {
		e.wg.Go(f)
	}
}

// arm sets the timer to the next check. The lock is held.
func (e *Engine) arm() {
	if len(e.queue) == 0 || e.closed {
		return // a timer that fires for nothing does nothing
	}
	due := e.queue[0].due
	if e.armed.Equal(due) {
		return
	}
	e.armed = due
	if wait := time.Until(due); e.timer == nil {
		e.timer = time.AfterFunc(wait, e.tick)
	} else {
		e.timer.Reset(wait)
	}
}

// tick starts what is due.
func (e *Engine) tick() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.armed = time.Time{}
	now := time.Now()
	for c := e.queue.takeDue(now); c != nil; c = e.queue.takeDue(now) {
		if c.ask == nil {
			c.watch.overdue(c, now)
			continue
		}
		c.busy = true
		lane := e.laneOf(c)
		if lane.running >= lane.most {
			lane.waiting = append(lane.waiting, c)
			continue
		}
		lane.running++
		e.spawn(func() { e.run(c) })
	}
	e.arm()
}

func (e *Engine) laneOf(c *check) *lane {
	if c.spec.Kind() == KindExec {
		return &e.exec
	}
	return &e.network
}

// run carries one probe out.
func (e *Engine) run(c *check) {
	lane, held := e.laneOf(c), true
	leave := func() { // with the lock held
		if held {
			held = false
			e.leave(lane)
		}
	}
	if lane == &e.exec {
		lease := time.AfterFunc(ExecLease, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			leave()
		})
		defer lease.Stop()
	}
	ctx, cancel := context.WithTimeout(c.watch.ctx, c.spec.Timeout)
	r := Result{At: time.Now()}
	r.Outcome, r.Output = c.ask(ctx)
	r.Duration = time.Since(r.At)
	cancel()
	r.Output = clean(r.Output, MaxOutput)

	e.mu.Lock()
	c.busy = false
	leave()
	taken := c.watch.finished(c, r)
	e.arm()
	e.mu.Unlock()
	if taken && c.watch.target.OnResult != nil {
		c.watch.target.OnResult(c.role, c.spec.Kind(), r)
	}
}

// leave gives a place in a lane to whoever waits for one. The lock is held.
func (e *Engine) leave(l *lane) {
	l.running--
	if len(l.waiting) > 0 {
		next := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.running++
		e.spawn(func() { e.run(next) })
	}
}
