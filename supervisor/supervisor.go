package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Config is what a Supervisor needs.
type Config struct {
	Runtime Runtime
	Output  Output
	Store   Store
	// Monitor tells how running containers are; nil: every container that runs is ready.
	Monitor Monitor
	// BootID is /proc/sys/kernel/random/boot_id.
	BootID string
	// MaxStarts is how many starts are under way at once; so many removals are besides. At least 1.
	MaxStarts int
	// SlotLease is after how long a start that is still under way lets another one begin beside it.
	SlotLease time.Duration
	// The deadlines of runtime calls.
	StartTimeout, RemoveTimeout, FindTimeout, UpdateTimeout time.Duration
	// OnEvent is told what happens, in the goroutine of the container it happens to: it must not block. May be nil.
	OnEvent func(Event)
	// Rand gives numbers in [0, 1) for jitter; nil for a real source.
	Rand func() float64
	// AdoptOnly: containers that are added are taken over, to be ended by Shutdown in their order, and nothing is ever started.
	AdoptOnly bool
}

// Supervisor keeps a set of containers running. Its methods may be called from any goroutine.
type Supervisor struct {
	cfg     Config
	starts  *Slots
	removes *Slots
	ctx     context.Context
	cancel  context.CancelFunc
	changed chan struct{}

	calls    callGate
	watchers watchers

	mu         sync.Mutex // guards containers, their graph and the beginning of goroutines, never held while waiting
	closed     bool       // no container is taken any more
	ending     bool       // containers that are taken are ended
	goroutines sync.WaitGroup
	containers map[string]*container
	absences   map[string]string          // why there is no container of that name; empty: there will be one
	graph      Graph                      // of the containers
	namedBy    map[string]map[string]bool // the same the other way round
}

// New makes a supervisor without containers.
func New(cfg Config) *Supervisor {
	orDefault := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	orDefault(&cfg.SlotLease, 2*time.Second)
	orDefault(&cfg.StartTimeout, 30*time.Second)
	orDefault(&cfg.RemoveTimeout, 30*time.Second)
	orDefault(&cfg.FindTimeout, 30*time.Second)
	orDefault(&cfg.UpdateTimeout, 10*time.Second)
	cfg.MaxStarts = max(cfg.MaxStarts, 1)
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	s := &Supervisor{
		cfg: cfg, starts: NewSlots(cfg.MaxStarts, cfg.SlotLease), removes: NewSlots(cfg.MaxStarts, cfg.SlotLease),
		containers: map[string]*container{}, absences: map[string]string{}, graph: Graph{}, namedBy: map[string]map[string]bool{}, changed: make(chan struct{}, 1),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.watchers.ctx, s.watchers.stop = context.WithCancel(s.ctx)
	return s
}

// Close ends the supervisor and leaves every container as it is, for the next one to adopt. What it knows by then is on
// disk. It waits for its goroutines, and cuts runtime calls short; see Hold.
func (s *Supervisor) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.watchers.end()
	s.flush()
	s.cancel()
	s.goroutines.Wait()
}

// spawn runs f in a goroutine that Close waits for. It may only be called by goroutines that Close waits for, too.
func (s *Supervisor) spawn(f func()) { s.goroutines.Go(f) }

// Add takes a container under supervision: adopts the instance of an earlier daemon, or starts it if it is wanted.
// Installed is what the bundle in place was built from, which is what an instance that already runs was started with.
func (s *Supervisor) Add(ctx context.Context, spec *Spec, installed Installed) error {
	record, err := s.cfg.Store.Load(spec.Name) // a damaged record is the zero one, and the error is told
	c := &container{
		sup: s, name: spec.Name, commands: make(chan command), results: make(chan result), done: make(chan struct{}),
		nudged: make(chan struct{}, 1), ctx: s.ctx, spec: spec, bundle: spec.Bundle, limits: installed.limits(),
	}
	if err != nil {
		c.warning = fmt.Errorf("cannot read what was remembered of it: %w", err)
	}
	c.m.stop = spec.Stop
	c.takeSpec(spec)
	c.restore(record, time.Now())
	c.stands.Store(&standing{presence: present, state: StateStarting, unknown: true, coming: true})
	c.publishAs(Snapshot{Name: spec.Name, Enabled: c.enabled(), State: StateStarting, Health: HealthNone, LastExit: c.m.lastExit, Bundle: spec.Bundle.Path()})

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if _, there := s.containers[spec.Name]; there {
		return fmt.Errorf("container %q is there already", spec.Name)
	}
	if err := s.claim(spec.Name, spec.Order); err != nil {
		return err
	}
	s.containers[spec.Name] = c
	delete(s.absences, spec.Name)
	c.ending = s.ending || s.cfg.AdoptOnly
	c.made = installed.Hash
	c.m.replaceFound = installed.Hash != "" && installed.Hash != spec.Hash && !c.ending
	if err != nil {
		c.emitError(c.warning)
	}
	if record.Instance != nil && record.BootID != s.cfg.BootID {
		c.emit(Event{Type: EventLost, Why: "it ended with the machine"})
	}
	s.spawn(c.loop)
	return nil
}

// Installed tells from what the bundle was built that is in place. The zero value: there is none.
type Installed struct {
	Hash string
	Spec *Spec // only its Resources count
}

func (i Installed) limits() string {
	if i.Spec == nil {
		return ""
	}
	return fingerprint(i.Spec)
}

// Apply takes over a new definition of a container and tells what came of it. It does not wait for restarts. An order that
// closes a cycle is a CycleError, and the container is left as it is.
func (s *Supervisor) Apply(ctx context.Context, spec *Spec) (Outcome, error) {
	s.mu.Lock()
	old := s.graph[spec.Name]
	err := s.claim(spec.Name, spec.Order)
	s.mu.Unlock()
	if err != nil {
		return "", err
	}
	outcome, err := s.apply(ctx, spec)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.containers[spec.Name] != nil {
			err = errors.Join(err, s.claim(spec.Name, old))
		} else {
			s.unclaim(spec.Name)
		}
	}
	return outcome, err
}

func (s *Supervisor) apply(ctx context.Context, spec *Spec) (Outcome, error) {
	reply := make(chan applyReply, 1)
	c, err := s.send(ctx, spec.Name, applyCommand{spec, reply})
	if err != nil {
		return "", err
	}
	r, err := await(ctx, s, c, reply)
	if err != nil {
		return "", err
	}
	return r.outcome, r.err
}

// Refuse notes what is wrong with the newest definition of a container, which runs on as it is.
func (s *Supervisor) Refuse(ctx context.Context, name, text string) error {
	_, err := s.send(ctx, name, refuseCommand{text})
	return err
}

// Remove ends a container for good and forgets it. It waits until it is gone. Those of with that name it end before, each by a
// Remove of its own that is about to come.
func (s *Supervisor) Remove(ctx context.Context, name string, with ...string) error {
	c, err := s.lookup(name)
	if err != nil {
		return err
	}
	g := s.Graph()
	first, patience := s.before(name, with, g, s.patience(g))
	if err := s.ask(ctx, name, func(reply chan<- error) command {
		return downCommand{kind: evStop, removal: true, first: first, patience: patience, reply: reply}
	}); err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.mu.Lock()
	if s.containers[name] == c {
		delete(s.containers, name)
		s.unclaim(name)
	}
	s.mu.Unlock()
	s.nudgeAround(name)
	s.noteChange()
	if err := s.cfg.Store.Delete(name); err != nil {
		return fmt.Errorf("cannot forget %q: %w", name, err)
	}
	c.emit(Event{Type: EventRemoved})
	return nil
}

// Found waits until it is known whether an instance that an earlier daemon has left runs. What List and Get tell of a
// container before is what it was to become without one. It fails when the runtime cannot tell.
func (s *Supervisor) Found(ctx context.Context, name string) error {
	return s.ask(ctx, name, func(reply chan<- error) command { return foundCommand{reply} })
}

// Kill sends a signal to the container's init, or SIGKILL to all of its processes. It waits as Found does.
func (s *Supervisor) Kill(ctx context.Context, name string, sig syscall.Signal, all bool) error {
	if err := s.Found(ctx, name); err != nil {
		return err
	}
	return s.ask(ctx, name, func(reply chan<- error) command { return killCommand{sig, all, reply} })
}

// SetEnabled says whether a container starts by itself from the next boot on. It neither starts nor stops it now.
func (s *Supervisor) SetEnabled(ctx context.Context, name string, enabled bool) error {
	return s.ask(ctx, name, func(reply chan<- error) command { return enableCommand{enabled, reply} })
}

// ResetFailed forgets failed starts, restarts and delays; a failed container becomes a stopped one.
func (s *Supervisor) ResetFailed(ctx context.Context, name string) error {
	return s.ask(ctx, name, func(reply chan<- error) command { return resetCommand{reply} })
}

// Ping returns when the goroutines of all containers have answered, or names one that did not before ctx ended.
func (s *Supervisor) Ping(ctx context.Context) error {
	for _, c := range s.all() {
		err := s.ask(ctx, c.name, func(reply chan<- error) command { return pingCommand{reply} })
		if err != nil && !errors.Is(err, ErrNoContainer) && !errors.Is(err, ErrClosed) {
			return fmt.Errorf("the loop of container %q does not answer: %w", c.name, err)
		}
	}
	return nil
}

// List returns all containers, sorted by name. It never waits for anything.
func (s *Supervisor) List() []Snapshot {
	all := s.all()
	out := make([]Snapshot, len(all))
	for i, c := range all {
		out[i] = *c.snap.Load()
	}
	return out
}

// Get returns one container.
func (s *Supervisor) Get(name string) (Snapshot, error) {
	c, err := s.lookup(name)
	if err != nil {
		return Snapshot{}, err
	}
	return *c.snap.Load(), nil
}

// Changed receives a value after something in List or Settled has changed. Several changes are one. It is for one
// reader.
func (s *Supervisor) Changed() <-chan struct{} { return s.changed }

func (s *Supervisor) noteChange() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Settled tells whether the first start of every container that is to run came to an end: with success, or failed.
func (s *Supervisor) Settled() bool {
	for _, c := range s.all() {
		if !c.settled.Load() {
			return false
		}
	}
	return true
}

func (s *Supervisor) all() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.containers), func(a, b *container) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
}

func (s *Supervisor) lookup(name string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.containers[name]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNoContainer, name)
}

// send hands a command to a container's goroutine.
func (s *Supervisor) send(ctx context.Context, name string, cmd command) (*container, error) {
	c, err := s.lookup(name)
	if err != nil {
		return nil, err
	}
	select {
	case c.commands <- behalf{cmd, Behalf(ctx)}:
		return c, nil
	case <-c.done:
		return nil, s.gone(name)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// gone says why a container's goroutine has ended.
func (s *Supervisor) gone(name string) error {
	if s.ctx.Err() != nil {
		return ErrClosed
	}
	return fmt.Errorf("%w: %q", ErrNoContainer, name)
}

// ask sends a command and waits for its reply.
func (s *Supervisor) ask(ctx context.Context, name string, cmd func(reply chan<- error) command) error {
	reply := make(chan error, 1)
	c, err := s.send(ctx, name, cmd(reply))
	if err != nil {
		return err
	}
	r, err := await(ctx, s, c, reply)
	if err != nil {
		return err
	}
	return r
}

// await waits for the reply to a command; the error is that none came.
func await[T any](ctx context.Context, s *Supervisor, c *container, reply <-chan T) (r T, err error) {
	select {
	case r = <-reply:
		return r, nil
	case <-ctx.Done():
		return r, context.Cause(ctx)
	case <-c.done:
	}
	select {
	case r = <-reply: // its last word
		return r, nil
	default:
		return r, s.gone(c.name)
	}
}
