package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/supervisor"
)

// goal is what a definition asks for, compared with what is in effect.
type goal struct {
	plan *bundle.Plan
	why  []string // nil: nothing differs
}

// compare reads what a definition names and says what differs from what is in effect.
func (d *Daemon) compare(ctx context.Context, e *entry, def *config.Definition) (goal, error) {
	_, current, b, _, _ := e.view()
	plan, err := d.plan(ctx, def.Bundle)
	if err != nil {
		return goal{}, err
	}
	g := goal{plan: plan}
	if current == nil {
		return g, nil
	}
	for _, part := range append(plan.Changes(b), settingsChanges(current, def)...) {
		if !strings.Contains(part, " instead of ") {
			part += " changed"
		}
		g.why = append(g.why, part)
	}
	return g, nil
}

// plan waits for a place: reading bundles and hashing archives is heavy work.
func (d *Daemon) plan(ctx context.Context, o bundle.Options) (*bundle.Plan, error) {
	done, err := d.builds.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	plan, err := d.builder.Plan(ctx, o)
	done(err == nil)
	return plan, err
}

// prepare waits for a place as plan does.
func (d *Daemon) prepare(ctx context.Context, p *bundle.Plan) (*bundle.Prepared, error) {
	done, err := d.builds.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	b, err := d.buildBundle(ctx, p)
	done(err == nil)
	return b, err
}

// settingsChanges names the keys that differ and are not the bundle's.
func settingsChanges(a, b *config.Definition) []string {
	var why []string
	for _, s := range []struct {
		key  string
		same bool
	}{
		{"restart", reflect.DeepEqual(a.Restart, b.Restart)},
		{"stop", a.Stop == b.Stop},
		{"health", reflect.DeepEqual(a.Health, b.Health)},
		{"log", a.Log == b.Log},
		{"enabled", a.Enabled == b.Enabled},
		{"type", a.Oneshot == b.Oneshot},
		{"after", slices.Equal(a.Order.After, b.Order.After)},
		{"requires", slices.Equal(a.Order.Requires, b.Order.Requires)},
		{"bindsTo", slices.Equal(a.Order.BindsTo, b.Order.BindsTo)},
		{"ready", a.Ready == b.Ready},
	} {
		if !s.same {
			why = append(why, s.key)
		}
	}
	return why
}

// reconcile brings one container in line with its file. It is called in the entry's turn.
func (d *Daemon) reconcile(ctx context.Context, e *entry, l config.Loaded, s *survey) control.Change {
	if errors.Is(l.Err, errGone) {
		with, err := s.needed(e)
		if err != nil {
			return d.refuse(ctx, e, l.File, err, nil)
		}
		return d.remove(ctx, e, with)
	}
	if l.Err != nil {
		return d.refuse(ctx, e, l.File, l.Err, nil)
	}
	def := l.Definition
	g, err := d.compare(ctx, e, def)
	if err != nil {
		d.lookLater(e, err)
		return d.refuse(ctx, e, l.File, err, def.Bundle.Inputs())
	}
	_, current, old, refused, supervised := e.view()
	change := control.Change{Name: e.name, Action: control.ActionUnchanged, Why: g.why}
	if supervised && len(g.why) == 0 {
		if refused != "" {
			e.accept(def, old)
			d.log.Info("definition is good again", "container", e.name)
			d.history.Add(history.Entry{Container: e.name, Type: history.TypeApplied, Action: change.Action})
			if err := d.supervisor.Refuse(ctx, e.name, ""); err != nil {
				change.Error = err.Error()
			}
		}
		if e.uncopied {
			d.keepCopy(e, def.Source)
		}
		return change
	}
	b, err := d.prepare(ctx, g.plan)
	if err != nil {
		d.lookLater(e, err)
		return d.refuse(ctx, e, l.File, err, def.Bundle.Inputs())
	}
	d.setLog(e.name, def.Log)
	if !supervised {
		change.Action, err = d.addNew(ctx, def, b)
	} else {
		var outcome supervisor.Outcome
		outcome, err = d.supervisor.Apply(ctx, d.specOf(def, b))
		change.Action = string(outcome)
	}
	if err != nil {
		if current != nil {
			d.setLog(e.name, current.Log)
		}
		if _, cyclic := errors.AsType[*supervisor.CycleError](err); cyclic {
			s.note(e.name)
		}
		return d.refuse(ctx, e, l.File, errors.Join(inWords(def, err), b.Discard()), def.Bundle.Inputs())
	}
	e.accept(def, b)
	if old != nil {
		if err := old.Discard(); err != nil { // it was built, and never came to be installed
			d.log.Warn("cannot remove a bundle that was never used", "container", e.name, "error", err)
		}
	}
	e.patience = 0
	d.keepCopy(e, def.Source)
	return change
}

// addNew hands a container to the supervisor that it does not have.
func (d *Daemon) addNew(ctx context.Context, def *config.Definition, b *bundle.Prepared) (action string, err error) {
	installed, err := d.builder.Installed(def.Name)
	if err != nil && !isNotInstalled(err) {
		d.log.Warn("the bundle in place cannot be told from others; it is built anew", "container", def.Name, "error", err)
	}
	if err := d.supervisor.Add(ctx, d.specOf(def, b), installedAs(installed)); err != nil {
		return "", err
	}
	if def.Enabled {
		return control.ActionStarted, nil
	}
	return control.ActionAdded, nil
}

// refuse leaves a container as it is and notes what is wrong with its definition.
func (d *Daemon) refuse(ctx context.Context, e *entry, file string, err error, inputs []string) control.Change {
	text := err.Error()
	change := control.Change{Name: e.name, Action: control.ActionRefused, Error: text}
	if ctx.Err() != nil || errors.Is(err, supervisor.ErrClosed) {
		return change // the daemon ends: no fault of the definition
	}
	_, _, _, before, supervised := e.view()
	e.refuse(file, text, inputs)
	if before != text {
		d.logRefusal(e.name, err)
		d.history.Add(history.Entry{Container: e.name, Type: history.TypeRefused, Error: text})
	}
	if supervised {
		if err := d.supervisor.Refuse(ctx, e.name, text); err != nil {
			change.Error += "\n" + err.Error()
		}
	}
	d.nudge()
	return change
}

// remove ends a container whose file is gone, and forgets it. Others are removed with it, those that need it before.
func (d *Daemon) remove(ctx context.Context, e *entry, with []string) control.Change {
	change := control.Change{Name: e.name, Action: control.ActionRemoved, Why: []string{"its definition is gone"}}
	_, _, _, _, supervised := e.view()
	if supervised {
		if err := d.supervisor.Remove(ctx, e.name, with...); err != nil && !errors.Is(err, supervisor.ErrNoContainer) {
			change.Error = fmt.Sprintf("cannot stop it: %v", err)
			return change
		}
	}
	var err error
	if !supervised && d.runtime.Exists(e.name) { // it was never taken over, or not yet
		if err := d.runtime.Remove(ctx, e.name); err != nil {
			change.Error = fmt.Sprintf("cannot stop it: %v", err)
			return change
		}
		err = d.records.Delete(e.name)
	}
	err = errors.Join(err, d.builder.Remove(e.name), d.definitions.Delete(e.name), d.forgetLog(ctx, e.name))
	if err != nil {
		change.Error = err.Error()
	}
	if !supervised {
		d.history.Add(history.Entry{Container: e.name, Type: string(supervisor.EventRemoved)})
	}
	d.catalog.remove(e)
	d.history.Forget(e.name)
	d.nudge()
	return change
}
