package supervisor

import (
	"context"
	"sync"
	"time"
)

// Slots bounds how much heavy work is done at once. A slot is leased: work that hangs costs no processor time, so after
// the lease it lets others begin beside it. On a slow machine the lease grows with what the work takes there, so that the
// bound holds.
type Slots struct {
	free chan struct{}

	mu      sync.Mutex
	lease   time.Duration // the shortest
	longest time.Duration // that work which did not fail has taken lately
	overdue int           // pieces of work that go on after their lease
}

const (
	// leaseFactor is how many times longer than usual work may take before it counts as hanging.
	leaseFactor = 4
	// overdueFactor bounds, as a multiple of the slots, what may hang beside those that work.
	overdueFactor = 4
)

// NewSlots makes n slots, at least one, with that lease or a longer one.
func NewSlots(n int, lease time.Duration) *Slots {
	return &Slots{free: make(chan struct{}, max(n, 1)), lease: lease}
}

// Acquire waits for a slot and returns the function that gives it back, to be called once and told whether the work was
// done. The error is that of a context that ended first.
func (s *Slots) Acquire(ctx context.Context) (release func(done bool), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case s.free <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	begun, late, over := time.Now(), false, false // late and over are guarded by mu
	s.mu.Lock()
	lease := max(s.lease, leaseFactor*s.longest)
	s.mu.Unlock()
	t := time.AfterFunc(lease, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if over || s.overdue >= overdueFactor*cap(s.free) {
			return
		}
		late = true
		s.overdue++
		<-s.free
	})
	return func(done bool) {
		t.Stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		over = true
		if done {
			s.longest = max(time.Since(begun), s.longest*7/8)
		}
		if late {
			s.overdue--
			return
		}
		<-s.free
	}, nil
}
