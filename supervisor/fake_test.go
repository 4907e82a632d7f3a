package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// fakeRuntime is a runtime in memory that fails, hangs and races as told. It notes every breach of what a real one and
// its users rely on: a second live instance of a name, two calls at once for one container, a start over what is left.
type fakeRuntime struct {
	mu       sync.Mutex
	rng      *rand.Rand
	pids     int
	there    map[string]*fakeProcess // everything the runtime has: alive, dead, half-made
	calls    map[string]string       // the call under way, by container
	breaches []string
	runs     map[string]int
	updates  map[string]int
	removes  int
	// kept are the instances that it keeps for the next daemon if keeps is set, forgotten those it was told to forget.
	keeps     bool
	kept      map[Identity]*fakeProcess
	forgotten []Identity
	journal   []string        // "+NAME" for each instance that began, "-NAME" for each that ended
	onRun     func(id string) // at the beginning of each start; may be nil
	onEnd     func(id string) // just before each end; may be nil

	// trouble is the chance that a call fails or hangs; peaceful calls take callTime.
	trouble  float64
	faults   []string
	callTime time.Duration
	// life says how long the next instance of a name runs and how it ends; 0: for ever.
	life func(name string) (time.Duration, ExitStatus)
	// stubborn instances ignore the stop signal.
	stubborn bool
}

func newFakeRuntime(seed uint64) *fakeRuntime {
	return &fakeRuntime{
		rng: rand.New(rand.NewPCG(seed, 1)), there: map[string]*fakeProcess{}, calls: map[string]string{},
		kept: map[Identity]*fakeProcess{}, runs: map[string]int{}, updates: map[string]int{}, callTime: 50 * time.Millisecond,
		faults: []string{"fails", "hangs", "fails late", "hangs late"},
		life:   func(string) (time.Duration, ExitStatus) { return 0, ExitStatus{} },
	}
}

// set changes what a test has to say of the world while that turns.
func (r *fakeRuntime) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *fakeRuntime) breach(format string, args ...any) {
	r.breaches = append(r.breaches, fmt.Sprintf(format, args...))
}

// enter begins a call and draws what goes wrong with it: nothing, an error at once, or a hang until the context ends.
func (r *fakeRuntime) enter(id, call string) (leave func(), fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.calls[id]; other != "" {
		r.breach("%s of %s during %s", call, id, other)
	}
	r.calls[id] = call
	if r.rng.Float64() < r.trouble {
		fault = r.faults[r.rng.IntN(len(r.faults))]
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.calls, id)
	}, fault
}

var errFake = errors.New("the runtime says no")

// spend lets a call take its time, and hang if it must.
func (r *fakeRuntime) spend(ctx context.Context, fault string) error {
	switch fault {
	case "fails":
		return errFake
	case "hangs":
		<-ctx.Done()
		return ctx.Err()
	}
	if r.callTime <= 0 {
		return nil // see pause
	}
	select {
	case <-time.After(r.callTime):
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// late is trouble after the work was done.
func (r *fakeRuntime) late(ctx context.Context, fault string) error {
	switch fault {
	case "fails late":
		return errFake
	case "hangs late":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (r *fakeRuntime) Exists(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.there[id] != nil
}

func (r *fakeRuntime) Run(ctx context.Context, req RunRequest) (Process, error) {
	leave, fault := r.enter(req.ID, "run")
	defer leave()
	if r.onRun != nil {
		r.onRun(req.ID)
	}
	if err := r.spend(ctx, fault); err != nil {
		return nil, err
	}
	r.mu.Lock()
	if old := r.there[req.ID]; old != nil {
		if old.alive() {
			r.breach("second live instance of %s", req.ID)
		}
		r.mu.Unlock()
		return nil, fmt.Errorf("container with given ID already exists")
	}
	r.pids++
	p := &fakeProcess{r: r, id: req.ID, identity: Identity{"boot", r.pids, uint64(r.pids)}, started: time.Now(), ended: make(chan struct{})}
	r.there[req.ID] = p
	if r.keeps {
		r.kept[p.identity] = p
	}
	r.runs[req.ID]++
	r.journal = append(r.journal, "+"+req.ID)
	if d, status := r.life(req.ID); d > 0 {
		p.death = time.AfterFunc(d, func() { p.end(status) })
	}
	r.mu.Unlock()
	if err := r.late(ctx, fault); err != nil {
		return nil, err // and the container runs all the same
	}
	return p, nil
}

func (r *fakeRuntime) Find(ctx context.Context, id string, known *Identity) (Process, error) {
	r.mu.Lock()
	p := r.there[id]
	ended := ErrNotFound
	if known != nil {
		if k := r.kept[*known]; k != nil && !k.alive() {
			ended = &EndedError{Identity: *known, Status: k.status}
		}
	}
	r.mu.Unlock()
	if known != nil && p != nil && p.identity == *known && p.alive() {
		return p, nil
	}
	if p == nil {
		return nil, ended // which costs no call
	}
	leave, fault := r.enter(id, "find")
	defer leave()
	if err := r.spend(ctx, fault); err != nil {
		return nil, err
	}
	if err := r.late(ctx, fault); err != nil {
		return nil, err
	}
	if !p.alive() {
		return nil, ended
	}
	return p, nil
}

func (r *fakeRuntime) Remove(ctx context.Context, id string) error {
	leave, fault := r.enter(id, "remove")
	defer leave()
	r.mu.Lock()
	r.removes++
	r.mu.Unlock()
	if err := r.spend(ctx, fault); err != nil {
		return err
	}
	r.mu.Lock()
	p := r.there[id]
	r.mu.Unlock()
	if p != nil {
		p.end(signaled(syscall.SIGKILL))
	}
	r.mu.Lock()
	delete(r.there, id)
	r.mu.Unlock()
	return r.late(ctx, fault)
}

func (r *fakeRuntime) Forget(_ string, instance Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.kept, instance)
	r.forgotten = append(r.forgotten, instance)
}

func (r *fakeRuntime) Update(ctx context.Context, id string, _ *specs.LinuxResources) error {
	leave, fault := r.enter(id, "update")
	defer leave()
	if err := r.spend(ctx, fault); err != nil {
		return err
	}
	r.mu.Lock()
	r.updates[id]++
	r.mu.Unlock()
	return r.late(ctx, fault)
}

// lost are the containers of which somebody has heard how the instance ended that the record says is running.
func (h *house) lost() (names []string) {
	h.rt.mu.Lock()
	defer h.rt.mu.Unlock()
	for name, p := range h.rt.there {
		if r := h.store.get(name); r.Instance != nil && *r.Instance == p.identity && p.heard.Load() {
			names = append(names, name)
		}
	}
	return names
}

// living are the pids of what runs, by name.
func (r *fakeRuntime) living() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]int{}
	for id, p := range r.there {
		if p.alive() {
			out[id] = p.identity.Pid
		}
	}
	return out
}

func (r *fakeRuntime) leftovers() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.there))
}

type fakeProcess struct {
	r        *fakeRuntime
	id       string
	identity Identity
	started  time.Time
	death    *time.Timer
	once     sync.Once
	ended    chan struct{}
	status   ExitStatus
	heard    atomic.Bool // somebody waited for its end and knows; a real process was reaped then
	undead   bool        // not even SIGKILL ends it
}

func (p *fakeProcess) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *fakeProcess) end(s ExitStatus) {
	if p.undead {
		return
	}
	p.once.Do(func() {
		if p.r.onEnd != nil {
			p.r.onEnd(p.id)
		}
		p.r.mu.Lock()
		if p.death != nil {
			p.death.Stop()
		}
		p.r.journal = append(p.r.journal, "-"+p.id)
		p.r.mu.Unlock()
		p.status = s
		close(p.ended)
	})
}

func (p *fakeProcess) Identity() Identity   { return p.identity }
func (p *fakeProcess) StartedAt() time.Time { return p.started }
func (p *fakeProcess) Close() error         { return nil }
func (p *fakeProcess) KillAll() error       { p.end(signaled(syscall.SIGKILL)); return nil }

func (p *fakeProcess) Wait(ctx context.Context) (ExitStatus, error) {
	select {
	case <-p.ended:
		p.heard.Store(true)
		return p.status, nil
	case <-ctx.Done():
		return ExitStatus{}, ctx.Err()
	}
}

func (p *fakeProcess) Signal(sig syscall.Signal) error {
	p.r.mu.Lock()
	stubborn := p.r.stubborn
	p.r.mu.Unlock()
	if sig == syscall.SIGKILL || !stubborn {
		p.end(signaled(sig))
	}
	return nil
}

// fakeStore keeps records in memory, and fails as told.
type fakeStore struct {
	mu      sync.Mutex
	records map[string]Record
	fail    bool
}

func (s *fakeStore) Load(name string) (Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records[name], nil
}

func (s *fakeStore) Save(name string, r Record, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errors.New("no space left on device")
	}
	s.records[name] = r
	return nil
}

func (s *fakeStore) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, name)
	return nil
}

func (s *fakeStore) get(name string) Record { r, _ := s.Load(name); return r }

type fakeOutput struct{}

func (fakeOutput) Open(string) (stdout, stderr *os.File, err error) { return nil, nil, nil }
func (fakeOutput) Ended(string)                                     {}

type fakeBundle struct{ path string }

func (b fakeBundle) Install(context.Context) (string, error) { return b.path, nil }
func (b fakeBundle) Released() error                         { return nil }
func (b fakeBundle) Path() string                            { return b.path }

// house is a supervisor in its fake world.
type house struct {
	*Supervisor
	rt      *fakeRuntime
	store   *fakeStore
	monitor *fakeMonitor
	npd     *Spec // of the one container that a test is about
}

func newHouse(seed uint64) *house {
	h := &house{rt: newFakeRuntime(seed), store: &fakeStore{records: map[string]Record{}}, monitor: &fakeMonitor{watches: map[string]*fakeWatch{}}}
	h.open("boot")
	return h
}

// open begins a daemon's life in the same world.
func (h *house) open(boot string) {
	h.Supervisor = New(Config{
		Runtime: h.rt, Store: h.store, Output: fakeOutput{}, Monitor: h.monitor, BootID: boot, MaxStarts: 4,
		Rand: func() float64 { return 0 },
	})
}

func (h *house) spec(name string) *Spec {
	return &Spec{Name: name, Enabled: true, Hash: "1", Bundle: fakeBundle{"/b/" + name}, Restart: DefaultRestartPolicy(), Stop: DefaultStopPolicy()}
}

func memoryLimit(bytes int64) *specs.LinuxResources {
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &bytes}}
}
