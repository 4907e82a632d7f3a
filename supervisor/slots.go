package supervisor

import (
	"context"
	"sync"
	"time"
)

// slots bounds how much heavy work is done at once. A slot is leased: work that hangs costs no processor time, so it
// gives its slot back after the lease and lets others start.
type slots struct {
	free  chan struct{}
	lease time.Duration
}

func newSlots(n int, lease time.Duration) *slots {
	return &slots{free: make(chan struct{}, n), lease: lease}
}

// acquire waits for a slot and returns the function that gives it back, which may be called once or more.
func (s *slots) acquire(ctx context.Context) (release func(), err error) {
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
