package supervisor

import (
	"context"
	"errors"
	"sync"
	"time"
)

// How a supervisor leaves its containers to the next one without losing anything.

// flushTimeout bounds the wait for the last records to be written when the supervisor is closed.
const flushTimeout = 5 * time.Second

// Hold keeps runtime calls from beginning, and returns when those under way have ended, or with the context's error.
// release, which is never nil, lets them begin again. Meanwhile containers end and are signalled as ever; what a start or
// a clean-up would do waits. It is for a caller that is about to Close, and would otherwise cut calls short.
func (s *Supervisor) Hold(ctx context.Context) (release func(), err error) {
	idle := s.calls.hold()
	select {
	case <-idle:
		return s.calls.release, nil
	case <-ctx.Done():
		return s.calls.release, context.Cause(ctx)
	}
}

// callGate counts the runtime calls under way and can keep new ones from beginning.
type callGate struct {
	mu     sync.Mutex
	active int
	open   chan struct{} // nil: open; else closed when it is open again
	idle   chan struct{} // while it is held: closed when no call is under way
}

// enter waits until calls may begin, and notes one, until leave is called.
func (g *callGate) enter(ctx context.Context) (leave func(), err error) {
	for {
		g.mu.Lock()
		wait := g.open
		if wait == nil {
			g.active++
			g.mu.Unlock()
			return g.leave, nil
		}
		g.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (g *callGate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
	g.tellIdle()
}

func (g *callGate) hold() (idle <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open, g.idle = make(chan struct{}), make(chan struct{})
		g.tellIdle()
	}
	return g.idle
}

func (g *callGate) tellIdle() {
	if g.idle != nil && g.active == 0 {
		select {
		case <-g.idle:
		default:
			close(g.idle)
		}
	}
}

func (g *callGate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		close(g.open)
		g.open, g.idle = nil, nil
	}
}

// watchers are the goroutines that wait for the ends of instances. Whoever has reaped a process is the only one who knows
// how it ended: they are stopped first, while the containers still listen to them.
type watchers struct {
	ctx  context.Context
	stop context.CancelFunc

	mu      sync.Mutex
	stopped bool
	wg      sync.WaitGroup
}

// spawn runs f unless the watchers were stopped: nobody would hear of it.
func (w *watchers) spawn(f func(ctx context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.wg.Go(func() { f(w.ctx) })
	}
}

// end returns when no watcher is left, and what each had to say was heard.
func (w *watchers) end() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.stop()
	w.wg.Wait()
}

// flush waits until what the containers have to remember is written, or cannot be.
func (s *Supervisor) flush() {
	ctx, cancel := context.WithTimeout(s.ctx, flushTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range s.all() {
		wg.Go(func() {
			// A failed write was told already, and there is nobody left to try it again for.
			_ = s.ask(ctx, c.name, func(reply chan<- error) command { return recordCommand{reply} })
		})
	}
	wg.Wait()
}

// recordCommand is answered when the record is on disk, or could not be written.
type recordCommand struct{ reply chan<- error }

func (r recordCommand) do(c *container) {
	c.waiters = append(c.waiters, waiter{reply: r.reply, record: true})
}

// forgetSpent lets go of what the runtime keeps of ended instances for the next daemon, once that would learn how they
// ended from the record.
func (c *container) forgetSpent() {
	if len(c.spent) == 0 || !c.removal && (!c.record.kept() || c.record.saved.runs(c.spent)) {
		return
	}
	spent := c.spent
	c.spent = nil
	c.sup.spawn(func() {
		for _, id := range spent {
			c.sup.cfg.Runtime.Forget(c.name, id)
		}
	})
}

// runs tells whether the record says of one of the instances that it was last seen running.
func (r *Record) runs(ids []Identity) bool {
	for _, id := range ids {
		if r.Instance != nil && *r.Instance == id {
			return true
		}
	}
	return false
}

// EndedError is what Runtime.Find returns of an instance that ended while no daemon was there, if it can tell of which one
// that is. It is an ErrNotFound.
type EndedError struct {
	Identity Identity
	Status   ExitStatus
}

// Error implements error.
func (e *EndedError) Error() string { return "it ended while no daemon was there" }

// Unwrap implements the interface of package errors.
func (e *EndedError) Unwrap() error { return ErrNotFound }

// lostResult is the answer of a find that found nothing that runs.
func lostResult(ev *event, err error) result {
	r := result{ev: ev}
	var ended *EndedError
	if errors.As(err, &ended) {
		ev.ended, ev.status, r.ident = true, ended.Status, ended.Identity
	}
	return r
}
