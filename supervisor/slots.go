package supervisor

import (
	"context"
	"sync"
	"time"
)

// Slots bounds how much heavy work is done at once. A slot is leased: work that hangs costs no processor time, so it
// gives its slot back after the lease and lets others start.
type Slots struct {
	free  chan struct{}
	lease time.Duration
}

// NewSlots makes n slots, at least one.
func NewSlots(n int, lease time.Duration) *Slots {
	return &Slots{free: make(chan struct{}, max(n, 1)), lease: lease}
}

// Acquire waits for a slot and returns the function that gives it back, which may be called once or more. The error is
// that of a context that ended first.
func (s *Slots) Acquire(ctx context.Context) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case s.free <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	var once sync.Once
	back := func() { once.Do(func() { <-s.free }) }
	t := time.AfterFunc(s.lease, back)
	return func() { t.Stop(); back() }, nil
}
