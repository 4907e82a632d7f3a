package daemon

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

var _ control.Backend = (*Daemon)(nil)

// List returns all containers, those included that have never had a good definition.
func (d *Daemon) List() []supervisor.Snapshot {
	list := d.supervisor.List()
	there := map[string]bool{}
	for _, s := range list {
		there[s.Name] = true
	}
	for _, e := range d.catalog.all() {
		if !there[e.name] {
			list = append(list, e.placeholder())
		}
	}
	for i := range list {
		d.describeLog(&list[i])
	}
	return list
}

// placeholder stands for a container that the supervisor does not have: its definition was never good, or is being built.
func (e *entry) placeholder() supervisor.Snapshot {
	s := supervisor.Snapshot{Name: e.name, Enabled: true, State: supervisor.StateStarting, Health: supervisor.HealthNone}
	if _, _, _, refused, _ := e.view(); refused != "" {
		s.State, s.Error = supervisor.StateFailed, refused
	}
	return s
}

// Get returns one container.
func (d *Daemon) Get(name string) (supervisor.Snapshot, error) {
	if s, err := d.supervisor.Get(name); err == nil {
		d.monitor.describe(&s)
		d.describeLog(&s)
		return s, nil
	}
	if e := d.catalog.get(name); e != nil {
		return e.placeholder(), nil
	}
	return supervisor.Snapshot{}, noSuch(name)
}

// Graph returns the order of all containers.
func (d *Daemon) Graph() []control.GraphNode {
	g := d.supervisor.Graph()
	for _, e := range d.catalog.all() {
		if _, there := g[e.name]; !there {
			g[e.name] = supervisor.Order{}
		}
	}
	return control.NewGraph(g, func(n *control.GraphNode) {
		if s, err := d.Get(n.Name); err == nil {
			n.State, n.Ready, n.WaitingFor = s.State, s.Ready, s.WaitingFor
		}
		if e := d.catalog.get(n.Name); e != nil {
			if _, def, _, _, _ := e.view(); def != nil {
				n.Oneshot = def.Oneshot
			}
		}
	})
}

// Start starts a container.
func (d *Daemon) Start(ctx context.Context, name string) error {
	return d.act(ctx, name, func() error { return d.supervisor.Start(ctx, name) })
}

// Stop stops a container.
func (d *Daemon) Stop(ctx context.Context, name string) error {
	return d.act(ctx, name, func() error { return d.supervisor.Stop(ctx, name) })
}

// Restart restarts a container.
func (d *Daemon) Restart(ctx context.Context, name string) error {
	return d.act(ctx, name, func() error { return d.supervisor.Restart(ctx, name) })
}

// Kill sends a signal to a container. More than SIGKILL to all of its processes at once the runtime-independent way does
// not offer.
func (d *Daemon) Kill(ctx context.Context, name string, sig syscall.Signal, all bool) error {
	if all && sig != syscall.SIGKILL {
		return &control.Error{Code: control.CodeUsage, Message: "only SIGKILL can be sent to all processes of a container",
			Hint: "leave --all away to signal its init, or add -s KILL"}
	}
	return d.act(ctx, name, func() error { return d.supervisor.Kill(ctx, name, sig, all) })
}

// Enable makes a container start by itself.
func (d *Daemon) Enable(ctx context.Context, name string, now bool) error {
	return d.act(ctx, name, func() error {
		if err := d.supervisor.SetEnabled(ctx, name, true); err != nil || !now {
			return err
		}
		return d.supervisor.Start(ctx, name)
	})
}

// Disable keeps a container from starting by itself.
func (d *Daemon) Disable(ctx context.Context, name string, now bool) error {
	return d.act(ctx, name, func() error {
		if err := d.supervisor.SetEnabled(ctx, name, false); err != nil || !now {
			return err
		}
		return d.supervisor.Stop(ctx, name)
	})
}

// ResetFailed forgets failures.
func (d *Daemon) ResetFailed(ctx context.Context, name string) error {
	return d.act(ctx, name, func() error { return d.supervisor.ResetFailed(ctx, name) })
}

// act does something with a supervised container, and says in the API's words why it cannot.
func (d *Daemon) act(ctx context.Context, name string, f func() error) error {
	err := f()
	if errors.Is(err, supervisor.ErrNoContainer) && d.awaitBoot(ctx, name) {
		err = f()
	}
	var (
		limit   *supervisor.StartLimitError
		stopped *supervisor.NotRunningError
	)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, supervisor.ErrNoContainer):
		e := d.catalog.get(name)
		if e == nil {
			return noSuch(name)
		}
		if _, _, _, refused, _ := e.view(); refused != "" {
			return &control.Error{Code: control.CodeRefused, Message: fmt.Sprintf("%q has never had a definition that can be used: %s", name, refused),
				Hint: "mend it, then: runcsup reload " + name}
		}
		return &control.Error{Code: control.CodeConflict, Message: fmt.Sprintf("the bundle of %q is still being built", name), Hint: "try again in a moment"}
	case errors.As(err, &limit):
		return &control.Error{Code: control.CodeStartLimit, Message: err.Error(), Hint: "find out why it ends, then: runcsup reset-failed " + name}
	case errors.As(err, &stopped):
		return &control.Error{Code: control.CodeConflict, Message: err.Error()}
	case errors.Is(err, supervisor.ErrClosed):
		return &control.Error{Code: control.CodeUnavailable, Message: err.Error()}
	}
	return err
}

// Show returns a container's definition as it is in effect.
func (d *Daemon) Show(name string) (control.Shown, error) {
	e := d.catalog.get(name)
	if e == nil {
		return control.Shown{}, noSuch(name)
	}
	file, def, _, refused, _ := e.view()
	s := control.Shown{Name: name, File: file, Error: refused}
	if def == nil {
		return s, nil
	}
	s.Definition = string(def.Source)
	var err error
	if s.Effective, err = def.Effective(); err != nil {
		return control.Shown{}, fmt.Errorf("cannot show %q: %w", name, err)
	}
	return s, nil
}

// Build builds a container's bundle as its file says now, to see whether that works, and returns the directory where the
// next start puts it. It starts and replaces nothing.
func (d *Daemon) Build(ctx context.Context, name string) (path string, err error) {
	e := d.catalog.get(name)
	if e == nil {
		return "", noSuch(name)
	}
	if err := e.take(ctx); err != nil {
		return "", err
	}
	defer d.giveBack(e)
	file, _, _, _, _ := e.view()
	def, err := d.loader.LoadFile(file)
	if err != nil {
		return "", &control.Error{Code: control.CodeRefused, Message: err.Error()}
	}
	plan, err := d.plan(ctx, def.Bundle)
	if err != nil {
		return "", &control.Error{Code: control.CodeRefused, Message: fmt.Sprintf("cannot build %q: %v", name, err)}
	}
	b, err := d.prepare(ctx, plan)
	if err != nil {
		return "", fmt.Errorf("cannot build %q: %w", name, err)
	}
	return b.Path(), b.Discard()
}

// Version tells which program this is.
func (d *Daemon) Version() control.VersionInfo {
	v := d.version
	v.Ready = d.ready.Load()
	v.Metrics = d.web.Addresses()
	return v
}
