package runtime

import (
	"context"
	"fmt"
	"sync"

	"github.com/runcsup/runcsup/supervisor"
)

// errRemoved is why an exec call ends when its container is being removed.
var errRemoved = fmt.Errorf("%w: it is being removed", supervisor.ErrNotFound)

// turns let one caller at a time work on a name. The zero value is ready.
type turns struct {
	mu     sync.Mutex
	byName map[string]*turn
}

type turn struct {
	token  chan struct{}
	users  int                     // who has it or waits for it
	seized error                   // why nobody else gets it; nil when anybody may
	cancel context.CancelCauseFunc // ends the work of who has it; nil while nobody has
}

// take waits for the turn. What is done in it obeys the returned context; done ends it.
func (t *turns) take(ctx context.Context, name string) (_ context.Context, done func(), err error) {
	one := t.enter(name)
	select {
	case one.token <- struct{}{}:
	case <-ctx.Done():
		t.leave(name, one)
		return nil, nil, fmt.Errorf("another command is still being started in the container: %w", context.Cause(ctx))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done = func() {
		cancel(nil)
		t.mu.Lock()
		one.cancel = nil
		t.mu.Unlock()
		<-one.token
		t.leave(name, one)
	}
	t.mu.Lock()
	one.cancel, err = cancel, one.seized
	t.mu.Unlock()
	if err != nil {
		done()
		return nil, nil, err
	}
	return ctx, done, nil
}

// seize takes the turn before all who wait for it, ends the work of who has it, and tells them why. One caller at a time
// for one name.
func (t *turns) seize(ctx context.Context, name string, why error) (done func(), err error) {
	one := t.enter(name)
	t.mu.Lock()
	one.seized = why
	if one.cancel != nil {
		one.cancel(why)
	}
	t.mu.Unlock()
	free := func() {
		t.mu.Lock()
		one.seized = nil
		t.mu.Unlock()
		t.leave(name, one)
	}
	select {
	case one.token <- struct{}{}:
		return func() {
			<-one.token
			free()
		}, nil
	case <-ctx.Done():
		free()
		return nil, fmt.Errorf("a command is still being started in the container: %w", context.Cause(ctx))
	}
}

func (t *turns) enter(name string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil {
		t.byName = map[string]*turn{}
	}
	one := t.byName[name]
	if one == nil {
		one = &turn{token: make(chan struct{}, 1)}
		t.byName[name] = one
	}
	one.users++
	return one
}

func (t *turns) leave(name string, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.users--; one.users == 0 {
		delete(t.byName, name)
	}
}
