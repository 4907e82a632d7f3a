package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/runcsup/runcsup/health"
	"github.com/runcsup/runcsup/internal/runtime"
	"github.com/runcsup/runcsup/supervisor"
)

// inside is the runtime as the monitor needs it: the ways into a running container.
type inside interface {
	Exec(ctx context.Context, id string, req runtime.ExecRequest, output int) (runtime.ExecResult, error)
	Owns(id string, pid int) bool
}

// monitor is the supervisor's Monitor: it has the probes of running containers carried out, and hears what they tell by
// themselves.
type monitor struct {
	engine   *health.Engine
	inside   inside
	sockets  *notifySockets
	states   *probeStates
	onResult func(name string, role health.Role, r health.Result)
	log      *slog.Logger

	mu      sync.Mutex
	watches map[string]*watchedInstance // by name of the container
}

// watchedInstance is one call of Watch.
type watchedInstance struct {
	m    *monitor
	in   supervisor.Instance
	log  *slog.Logger
	name string

	watch *health.Watch
	hear  func() // ends the hearing

	mu      sync.Mutex
	unknown map[health.Role]bool // the last one could not be carried out, and that was logged
}

// newMonitor keeps what must outlive the daemon in stateDir.
func newMonitor(in inside, sockets *notifySockets, stateDir string, onResult func(string, health.Role, health.Result), log *slog.Logger) *monitor {
	return &monitor{
		engine: health.New(health.Config{}), inside: in, sockets: sockets, states: newProbeStates(stateDir, log), onResult: onResult,
		log: log, watches: map[string]*watchedInstance{},
	}
}

// Watch implements supervisor.Monitor.
func (m *monitor) Watch(in supervisor.Instance, report func(supervisor.Report)) (stop func()) {
	name := in.Spec.Name
	i := &watchedInstance{m: m, in: in, name: name, log: m.log.With("container", name), unknown: map[health.Role]bool{}}
	probes, _ := in.Spec.Health.(*health.Probes)
	if probes == nil {
		probes = &health.Probes{}
	}
	byNotify := in.Spec.Ready.On == supervisor.ReadyNotify
	state, known := m.states.load(name, in.Identity)
	if in.Ready && !state.Stopping { // also where the probes are others now
		state.Started, state.Ready, state.Notified = true, true, true
	}
	target := health.Target{
		Probes: probes, ReadyOnNotify: byNotify, Since: in.StartedAt, State: state, Adopted: in.Adopted || known,
		Exec:  i.exec,
		Netns: func() (*os.File, error) { return runtime.OpenNetns(in.Identity) },
		OnStatus: func(s health.Status, state health.State) {
			if m.watched(name) == i { // what comes late is not to be kept
				m.states.save(name, in.Identity, state)
			}
			report(reportOf(s))
		},
		OnResult: func(role health.Role, _ health.Kind, r health.Result) { i.noteResult(role, r) },
	}
	m.mu.Lock()
	i.watch = m.engine.Watch(target)
	m.watches[name] = i
	m.mu.Unlock()
	i.hear = func() {}
	if byNotify || probes.Notified() {
		i.hear = m.sockets.hear(name, func(pid int) bool { return m.inside.Owns(name, pid) }, i.watch.Notify)
	}
	return i.stop
}

// watched is the instance that is watched under a name, nil if none is.
func (m *monitor) watched(name string) *watchedInstance {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watches[name]
}

func reportOf(s health.Status) supervisor.Report {
	return supervisor.Report{
		Health: supervisor.Health(s.Health), Ready: s.Ready, Unhealthy: s.Unhealthy, OnFailure: supervisor.OnFailure(s.Action),
	}
}

func (i *watchedInstance) stop() {
	i.hear() // first: what was heard counts
	i.m.states.remember(i.name, i.in.Identity, i.watch.Stop())
	i.m.mu.Lock()
	defer i.m.mu.Unlock()
	if i.m.watches[i.name] == i {
		delete(i.m.watches, i.name)
	}
}

// exec is a health.Exec.
func (i *watchedInstance) exec(ctx context.Context, command []string) (health.ExecResult, error) {
	r, err := i.m.inside.Exec(ctx, i.name, runtime.ExecRequest{Args: command}, health.MaxOutput)
	out := health.ExecResult{Output: r.Output}
	switch status := r.Status; {
	case errors.Is(err, runtime.ErrNotInTime):
		return out, errors.Join(health.ErrTimeout, err)
	case err != nil:
		return out, err
	case !status.Known:
		return out, errors.New("nobody could see how the command ended")
	case status.Wait.Signaled():
		out.Code = 128 + int(status.Wait.Signal())
	default:
		out.Code = status.Wait.ExitStatus()
	}
	return out, nil
}

// noteResult logs where a probe begins and ends to be unknown, and tells whoever counts.
func (i *watchedInstance) noteResult(role health.Role, r health.Result) {
	i.mu.Lock()
	before := i.unknown[role]
	i.unknown[role] = r.Outcome == health.Unknown
	i.mu.Unlock()
	switch {
	case r.Outcome == health.Unknown && !before:
		i.log.Warn("probe cannot be carried out, and counts neither way", "probe", role, "error", r.Output)
	case r.Outcome != health.Unknown && before:
		i.log.Info("probe can be carried out again", "probe", role)
	}
	i.log.Debug("probe", "probe", role, "outcome", r.Outcome, "took", r.Duration)
	if i.m.onResult != nil {
		i.m.onResult(i.name, role, r)
	}
}

// describe adds what the probes of a container found to its snapshot.
func (m *monitor) describe(s *supervisor.Snapshot) {
	i := m.watched(s.Name)
	if i == nil || i.in.Identity.Pid != s.Pid {
		return
	}
	s.StatusText = i.watch.Status().Message
	for _, r := range i.watch.Reports() {
		p := supervisor.ProbeStatus{Probe: string(r.Role), Kind: string(r.Kind), Streak: r.Streak, Results: []supervisor.ProbeResult{}}
		if !r.Due.IsZero() {
			due := r.Due.UTC().Truncate(time.Millisecond)
			p.NextAt = &due
		}
		for _, one := range r.Results {
			p.Results = append(p.Results, supervisor.ProbeResult{
				At: one.At.UTC().Truncate(time.Millisecond), Seconds: one.Duration.Round(time.Microsecond).Seconds(), Outcome: string(one.Outcome), Output: one.Output,
			})
		}
		s.Probes = append(s.Probes, p)
	}
}

// Close ends all probes. What containers tell from now on waits for the next daemon.
func (m *monitor) Close() {
	m.engine.Close()
	m.sockets.closeAll()
}
