// Package controltest is a daemon for tests of what talks to one: a control.Backend that keeps snapshots in memory and
// starts nothing, behind a real control server on a real socket.
//
// It promises to record every call that changes something, and to fail as it is told. Tests of internal/control and
// cmd/runcsup use it.
package controltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/logs"
	"github.com/runcsup/runcsup/supervisor"
)

// Backend is a daemon without containers. The fields are set before it is used.
type Backend struct {
	Containers []supervisor.Snapshot
	Changes    []control.Change // what Reload and Diff return
	Shown      control.Shown
	Usage      []control.Stats
	Order      supervisor.Graph
	Executed   control.Executed // what Exec returns
	Info       control.VersionInfo
	// Lines are the output of containers, by name.
	Lines map[string][]logs.Line
	// Entries are what History and Events return. With follow Events goes on with what Live has, until that is closed.
	Entries []history.Entry
	Live    chan history.Entry
	// Fail has errors by call, as Calls has them ("start npd"). A panic is an error of type Panic.
	Fail map[string]error
	// Block has calls that wait until the channel is closed or their context ends.
	Block map[string]chan struct{}

	mu    sync.Mutex
	calls []string
}

// Panic as an error in Backend.Fail makes the call panic.
type Panic string

func (p Panic) Error() string { return string(p) }

// Calls returns what was asked of the backend so far, sorted: "start npd", "kill npd 15 all=false".
func (b *Backend) Calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(slices.Values(b.calls))
}

func (b *Backend) call(ctx context.Context, format string, args ...any) error {
	name := fmt.Sprintf(format, args...)
	b.mu.Lock()
	b.calls = append(b.calls, name)
	b.mu.Unlock()
	if block, ok := b.Block[name]; ok {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := b.Fail[name]
	if p, ok := errors.AsType[Panic](err); ok {
		panic(p)
	}
	return err
}

func (b *Backend) change(name string, f func(*supervisor.Snapshot)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.Containers {
		if b.Containers[i].Name == name {
			f(&b.Containers[i])
			return nil
		}
	}
	return &control.Error{Code: control.CodeNoSuchContainer, Message: fmt.Sprintf("no such container %q", name),
		Hint: "runcsup list shows all"}
}

func start(s *supervisor.Snapshot) {
	started := time.Date(2026, 11, 23, 5, 5, 0, 123456789, time.UTC)
	s.State, s.Pid, s.Ready, s.StartedAt, s.NextStartAt = supervisor.StateRunning, 4711, true, &started, nil
}

func stop(s *supervisor.Snapshot) {
	s.State, s.Pid, s.Ready, s.StartedAt, s.NextStartAt = supervisor.StateStopped, 0, false, nil, nil
}

// act records the call and, if it does not fail, applies f.
func (b *Backend) act(ctx context.Context, name, call string, f func(*supervisor.Snapshot)) error {
	if err := b.change(name, func(*supervisor.Snapshot) {}); err != nil {
		return err
	}
	if err := b.call(ctx, "%s", call); err != nil {
		return err
	}
	return b.change(name, f)
}

// List implements control.Backend.
func (b *Backend) List() []supervisor.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.Containers)
}

// Stats implements control.Backend.
func (b *Backend) Stats(names []string) ([]control.Stats, error) {
	for _, name := range names {
		if err := b.change(name, func(*supervisor.Snapshot) {}); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(b.Usage), func(s control.Stats) bool {
		return len(names) > 0 && !slices.Contains(names, s.Name)
	}), nil
}

// Graph has the containers in their Order.
func (b *Backend) Graph() []control.GraphNode {
	g := supervisor.Graph{}
	for _, s := range b.List() {
		g[s.Name] = b.Order[s.Name]
	}
	return control.NewGraph(g, func(n *control.GraphNode) {
		if s, err := b.Get(n.Name); err == nil {
			n.State, n.Ready, n.WaitingFor = s.State, s.Ready, s.WaitingFor
		}
	})
}

// Get implements control.Backend.
func (b *Backend) Get(name string) (snapshot supervisor.Snapshot, err error) {
	err = b.change(name, func(s *supervisor.Snapshot) { snapshot = *s })
	return snapshot, err
}

// Start implements control.Backend.
func (b *Backend) Start(ctx context.Context, name string) error {
	return b.act(ctx, name, "start "+name, start)
}

// Stop implements control.Backend.
func (b *Backend) Stop(ctx context.Context, name string) error {
	return b.act(ctx, name, "stop "+name, stop)
}

// Restart implements control.Backend.
func (b *Backend) Restart(ctx context.Context, name string) error {
	return b.act(ctx, name, "restart "+name, start)
}

// Kill implements control.Backend.
func (b *Backend) Kill(ctx context.Context, name string, signal syscall.Signal, all bool) error {
	return b.act(ctx, name, fmt.Sprintf("kill %s %d all=%t", name, signal, all), func(*supervisor.Snapshot) {})
}

// Enable implements control.Backend.
func (b *Backend) Enable(ctx context.Context, name string, now bool) error {
	return b.act(ctx, name, fmt.Sprintf("enable %s now=%t", name, now), func(s *supervisor.Snapshot) {
		s.Enabled = true
		if now {
			start(s)
		}
	})
}

// Disable implements control.Backend.
func (b *Backend) Disable(ctx context.Context, name string, now bool) error {
	return b.act(ctx, name, fmt.Sprintf("disable %s now=%t", name, now), func(s *supervisor.Snapshot) {
		s.Enabled = false
		if now {
			stop(s)
		}
	})
}

// ResetFailed implements control.Backend.
func (b *Backend) ResetFailed(ctx context.Context, name string) error {
	return b.act(ctx, name, "reset-failed "+name, func(s *supervisor.Snapshot) {
		s.Restarts = 0
		if s.State == supervisor.StateFailed {
			stop(s)
		}
	})
}

// Reload implements control.Backend.
func (b *Backend) Reload(ctx context.Context, names []string) ([]control.Change, error) {
	if err := b.call(ctx, "reload %v", names); err != nil {
		return nil, err
	}
	return b.named(names), nil
}

// Diff implements control.Backend.
func (b *Backend) Diff(ctx context.Context, names []string) ([]control.Change, error) {
	if err := b.call(ctx, "diff %v", names); err != nil {
		return nil, err
	}
	return b.named(names), nil
}

func (b *Backend) named(names []string) []control.Change {
	var changes []control.Change
	for _, c := range b.Changes {
		if len(names) == 0 || slices.Contains(names, c.Name) {
			changes = append(changes, c)
		}
	}
	return changes
}

// Logs implements control.Backend.
func (b *Backend) Logs(ctx context.Context, name string, q logs.Query, yield func(logs.Line) error) error {
	if err := b.call(ctx, "logs %s follow=%t", name, q.Follow); err != nil {
		return err
	}
	after := q.After != ""
	for _, l := range b.Lines[name] {
		if after {
			after = l.Cursor != q.After
			continue
		}
		if err := yield(l); err != nil {
			return err
		}
	}
	if q.Follow {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

// History implements control.Backend.
func (b *Backend) History(name string, q history.Query) ([]history.Entry, error) {
	if _, err := b.Get(name); err != nil {
		return nil, err
	}
	q.Containers = []string{name}
	return b.newest(q), nil
}

// Events implements control.Backend.
func (b *Backend) Events(ctx context.Context, q history.Query, follow bool, yield func(history.Entry) error) error {
	if err := b.call(ctx, "events follow=%t", follow); err != nil {
		return err
	}
	for _, e := range b.newest(q) {
		if err := yield(e); err != nil {
			return err
		}
	}
	for follow {
		select {
		case e, open := <-b.Live:
			if !open {
				return history.ErrTooSlow
			}
			if !q.Wants(&e) {
				continue
			}
			if err := yield(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (b *Backend) newest(q history.Query) []history.Entry {
	var out []history.Entry
	for _, e := range b.Entries {
		if q.Wants(&e) {
			out = append(out, e)
		}
	}
	if q.Limit != 0 {
		out = out[max(0, len(out)-max(q.Limit, 0)):]
	}
	return out
}

// Reexec implements control.Backend. It says that it will, and goes on with one more in Info.Reexecs.
func (b *Backend) Reexec(ctx context.Context, ifChanged bool) (control.Reexec, error) {
	if err := b.call(ctx, "reexec ifChanged=%t", ifChanged); err != nil {
		return control.Reexec{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := control.Reexec{Replacing: !ifChanged, Program: b.Info, Reexecs: b.Info.Reexecs}
	if r.Replacing {
		b.Info.Reexecs++
		b.Info.Ready = true
	}
	return r, nil
}

// Show implements control.Backend.
func (b *Backend) Show(name string) (control.Shown, error) {
	if _, err := b.Get(name); err != nil {
		return control.Shown{}, err
	}
	shown := b.Shown
	shown.Name = name
	if shown.Effective == nil {
		shown.Effective = json.RawMessage("{}")
	}
	return shown, nil
}

// Build implements control.Backend.
func (b *Backend) Build(ctx context.Context, name string) (path string, err error) {
	err = b.act(ctx, name, "build "+name, func(s *supervisor.Snapshot) { path = s.Bundle })
	return path, err
}

// Version implements control.Backend.
func (b *Backend) Version() control.VersionInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Info
}
