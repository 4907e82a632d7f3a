package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// result is the answer of something that was done outside a container's goroutine.
type result struct {
	ev    *event  // for the machine
	proc  Process // started, found
	ident Identity

	report  *Report // of a watch with this number
	pulled  bool    // what this container needs knows it
	late    bool    // the time of a watch with this number is over
	watch   uint64
	updated *updateCall // a live update is done
	saved   *saveCall   // a record was written, or not
	retry   bool        // time to try again to save
	warn    error       // something that changes nothing but should be seen
}

// errDequeued is the cause when a start is given up before the runtime heard of it, errCancelled when it was under way.
var (
	errDequeued  = errors.New("given up before its turn came")
	errCancelled = errors.New("given up")
)

// runCall starts an instance. It is the body of a goroutine that belongs to the container.
type runCall struct {
	gen    uint64
	spec   *Spec
	queue  context.Context // ends when the run should not wait for its turn any more
	run    context.Context // ends when it should be given up altogether
	giveUp time.Duration
}

func (r runCall) do(s *Supervisor) result {
	fail := func(clean bool, err error) result {
		return result{ev: &event{kind: evStartFailed, gen: r.gen, err: err, clean: clean}}
	}
	late := fmt.Errorf("the runtime took longer than %s", r.giveUp)
	name := r.spec.Name
	if s.cfg.Runtime.Exists(name) {
		if err := r.removeLeftovers(s, late); err != nil {
			return fail(false, err)
		}
	}
	dir, err := r.spec.Bundle.Install(r.run)
	if err != nil {
		return fail(true, fmt.Errorf("cannot put its bundle in place: %w", err))
	}
	stdout, stderr, err := s.cfg.Output.Open(name)
	if err != nil {
		return fail(true, errors.Join(fmt.Errorf("cannot open its output: %w", err), r.spec.Bundle.Released()))
	}
	defer func() {
		for _, f := range []interface{ Close() error }{stdout, stderr} {
			_ = f.Close() // handed over or of no use: *os.File is nil-safe
		}
	}()
	// The slot is for the runtime's work alone: what comes before it is little, and would leave processors idle.
	release, err := s.starts.Acquire(r.queue)
	if err != nil {
		return fail(true, errors.Join(err, r.spec.Bundle.Released()))
	}
	leave, err := s.calls.enter(r.queue)
	if err != nil {
		release(false)
		return fail(true, errors.Join(err, r.spec.Bundle.Released()))
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(r.run, r.giveUp, late)
	defer cancel()
	proc, err := s.cfg.Runtime.Run(ctx, RunRequest{ID: name, Bundle: dir, Stdout: stdout, Stderr: stderr})
	release(err == nil)
	if err != nil {
		return fail(false, withCause(ctx, err))
	}
	ev := &event{kind: evStarted, gen: r.gen, ran: time.Since(proc.StartedAt())}
	return result{ev: ev, proc: proc, ident: proc.Identity()}
}

// removeLeftovers takes away what there is of an earlier instance.
func (r runCall) removeLeftovers(s *Supervisor, late error) error {
	release, err := s.removes.Acquire(r.queue)
	if err != nil {
		return err
	}
	leave, err := s.calls.enter(r.queue)
	if err != nil {
		release(false)
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(r.run, r.giveUp, late)
	defer cancel()
	err = s.cfg.Runtime.Remove(ctx, r.spec.Name)
	release(err == nil)
	if err != nil {
		return fmt.Errorf("cannot remove what is left of it: %w", withCause(ctx, err))
	}
	return nil
}

// withCause says why a call was cut short, which its own error ("signal: killed") does not.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// lightCall waits until a call that is no start may begin, and gives it its time. release gives its place to the next one
// and says whether the call was done; end comes when all that belongs to it is over.
func (s *Supervisor) lightCall(ctx context.Context, timeout time.Duration) (call context.Context, release func(done bool), end func(), err error) {
	if release, err = s.removes.Acquire(ctx); err != nil {
		return nil, nil, nil, err
	}
	leave, err := s.calls.enter(ctx)
	if err != nil {
		release(false)
		return nil, nil, nil, err
	}
	call, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the runtime took longer than %s", timeout))
	return call, release, func() { cancel(); leave() }, nil
}

// removeCall takes away what is left of an instance.
func removeCall(ctx context.Context, s *Supervisor, name string, gen uint64, b Bundle) result {
	ev := &event{kind: evRemoved, gen: gen}
	ctx, release, end, err := s.lightCall(ctx, s.cfg.RemoveTimeout)
	if err != nil {
		ev.err = err
		return result{ev: ev}
	}
	defer end()
	err = s.cfg.Runtime.Remove(ctx, name)
	release(err == nil)
	if err != nil {
		ev.err = fmt.Errorf("cannot remove what is left of it: %w", withCause(ctx, err))
		return result{ev: ev}
	}
	s.cfg.Output.Ended(name)
	var warn error
	if err := b.Released(); err != nil {
		warn = fmt.Errorf("cannot clean up after its bundle: %w", err)
	}
	return result{ev: ev, warn: warn}
}

// findCall looks for an instance that an earlier daemon started.
func findCall(ctx context.Context, s *Supervisor, name string, gen uint64, known *Identity) result {
	ev := &event{kind: evLost, gen: gen}
	ctx, release, end, err := s.lightCall(ctx, s.cfg.FindTimeout)
	if err != nil {
		ev.err = err
		return result{ev: ev}
	}
	defer end()
	proc, err := s.cfg.Runtime.Find(ctx, name, known)
	release(err == nil || errors.Is(err, ErrNotFound))
	switch {
	case errors.Is(err, ErrNotFound):
		// Only now: a call of the earlier daemon may have been about to make something.
		ev.clean = !s.cfg.Runtime.Exists(name)
		return lostResult(ev, err)
	case err != nil:
		ev.err = fmt.Errorf("cannot tell whether it runs: %w", withCause(ctx, err))
		return result{ev: ev}
	}
	return result{ev: &event{kind: evFound, gen: gen, ran: time.Since(proc.StartedAt())}, proc: proc, ident: proc.Identity()}
}

// updateCall applies limits to the running instance.
type updateCall struct {
	gen   uint64 // of the instance
	spec  *Spec  // to be taken over when it works
	reply chan<- applyReply
	err   error
}

func (u *updateCall) do(ctx context.Context, s *Supervisor) result {
	leave, err := s.calls.enter(ctx)
	if err != nil {
		u.err = fmt.Errorf("cannot apply the new limits: %w", err)
		return result{updated: u}
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.UpdateTimeout, fmt.Errorf("the runtime took longer than %s", s.cfg.UpdateTimeout))
	defer cancel()
	res := u.spec.Resources
	if res == nil {
		res = &specs.LinuxResources{}
	}
	if err := s.cfg.Runtime.Update(ctx, u.spec.Name, res); err != nil {
		u.err = fmt.Errorf("cannot apply the new limits: %w", withCause(ctx, err))
	}
	return result{updated: u}
}

// saveCall writes a record.
type saveCall struct {
	record  Record
	version uint64
	durable bool
	err     error
}

func (c *saveCall) do(s *Supervisor, name string) result {
	if err := s.cfg.Store.Save(name, c.record, c.durable); err != nil {
		c.err = fmt.Errorf("cannot remember its state: %w", err)
	}
	return result{saved: c}
}
