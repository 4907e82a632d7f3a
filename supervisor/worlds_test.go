package supervisor

import (
	"context"
	"testing/synctest"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// oddRuntime is the fake one with parts replaced.
type oddRuntime struct {
	*fakeRuntime
	run    func(ctx context.Context, req RunRequest) (Process, error)
	find   func(ctx context.Context, id string, known *Identity) (Process, error)
	update func(ctx context.Context, id string) error
	blind  bool // its state is gone: it knows of nothing
}

func (r *oddRuntime) Exists(id string) bool { return !r.blind && r.fakeRuntime.Exists(id) }

func (r *oddRuntime) Run(ctx context.Context, req RunRequest) (Process, error) {
	if r.run != nil {
		return r.run(ctx, req)
	}
	return r.fakeRuntime.Run(ctx, req)
}

func (r *oddRuntime) Find(ctx context.Context, id string, known *Identity) (Process, error) {
	r.mu.Lock()
	find := r.find
	r.mu.Unlock()
	if find != nil {
		return find(ctx, id, known)
	}
	return r.fakeRuntime.Find(ctx, id, known)
}

func (r *oddRuntime) Update(ctx context.Context, id string, res *specs.LinuxResources) error {
	if r.update != nil {
		return r.update(ctx, id)
	}
	return r.fakeRuntime.Update(ctx, id, res)
}

// with begins another daemon's life with parts of the world replaced.
func (h *house) with(rt Runtime, store Store, starts int) {
	h.Close()
	h.Supervisor = New(Config{
		Runtime: rt, Store: store, Output: fakeOutput{}, BootID: "boot", MaxStarts: starts, SlotLease: time.Hour,
		Rand: func() float64 { return 0 },
	})
}

// dead leaves something of an ended container in the runtime, so that it has to be asked what that is.
func (h *house) dead(name string) {
	p := &fakeProcess{r: h.rt, id: name, ended: make(chan struct{})}
	p.end(exited(0))
	h.rt.there[name] = p
}

// begin does something that takes time and returns what will be its result.
func begin(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

func (h *house) setTrouble(chance float64, faults ...string) {
	h.rt.set(func() { h.rt.trouble, h.rt.faults = chance, faults })
}
