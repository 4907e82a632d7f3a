package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/supervisor"
)

// Reload applies what changed on disk; see control.Backend. The work goes on when the caller does not wait for it.
func (d *Daemon) Reload(ctx context.Context, names []string) ([]control.Change, error) {
	type answer struct {
		changes []control.Change
		err     error
	}
	done := make(chan answer, 1)
	d.spawn(func() {
		changes, err := d.reload(d.ctx, names)
		d.noteReload(ctx, changes, err)
		done <- answer{changes, err}
	})
	select {
	case a := <-done:
		return a.changes, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *Daemon) reload(ctx context.Context, names []string) ([]control.Change, error) {
	changes, err := d.each(ctx, names, func(ctx context.Context, l config.Loaded, s *survey) (control.Change, bool) {
		s.expect(nil)
		e, err := d.catalog.take(ctx, l.Name, l.File)
		if err != nil {
			return control.Change{Name: l.Name, Action: control.ActionRefused, Error: err.Error()}, true
		}
		defer d.giveBack(e)
		change := d.reconcile(ctx, e, s.reread(l), s)
		d.noteAbsence(e)
		d.noteChange(change)
		return change, true
	})
	d.observeReload(err)
	d.watchFiles()
	return changes, err
}

// applyChanges is a reload because of changed files, of all containers or, if names is not nil, of those. It does not wait
// for containers that somebody works on; those are looked at again afterwards.
func (d *Daemon) applyChanges(names map[string]bool) {
	_, err := d.each(d.ctx, nil, func(ctx context.Context, l config.Loaded, s *survey) (control.Change, bool) {
		s.expect(names)
		if names != nil && !names[l.Name] {
			return control.Change{}, false
		}
		e := d.catalog.add(l.Name, l.File)
		if !e.tryTake() {
			return control.Change{}, false
		}
		defer d.giveBack(e)
		if d.catalog.get(l.Name) != e {
			e.again.Store(true) // it was removed meanwhile: the next look begins anew
			return control.Change{}, false
		}
		change := d.reconcile(ctx, e, s.reread(l), s)
		d.noteAbsence(e)
		d.noteChange(change)
		d.logChange(change)
		return change, true
	})
	if err != nil {
		d.log.Error("cannot apply changes", "error", err)
	}
	d.observeReload(err)
	d.watchFiles()
}

// giveBack ends the turn with an entry and, if somebody wanted it meanwhile, sees to another look at this one. To look at
// all again would have looks that overlap cause each other for ever.
func (d *Daemon) giveBack(e *entry) {
	if !e.giveBack() {
		return
	}
	d.againMu.Lock()
	if d.again == nil {
		d.again = map[string]bool{}
	}
	d.again[e.name] = true
	d.againMu.Unlock()
	select {
	case d.lookAgain <- struct{}{}:
	default:
	}
}

// takeAgain returns the names of the containers that are to be looked at again.
func (d *Daemon) takeAgain() map[string]bool {
	d.againMu.Lock()
	defer d.againMu.Unlock()
	names := d.again
	d.again = map[string]bool{}
	return names
}

// Diff tells what Reload would do; see control.Backend.
func (d *Daemon) Diff(ctx context.Context, names []string) ([]control.Change, error) {
	return d.each(ctx, names, func(ctx context.Context, l config.Loaded, s *survey) (control.Change, bool) {
		e := d.catalog.get(l.Name)
		if e == nil {
			e = newEntry(l.Name, l.File)
		}
		return d.foresee(ctx, e, s.judge(l), s), true
	})
}

// each calls f for every container that has a file or had one, side by side, and returns the changes sorted by name.
// f may leave a container out.
func (d *Daemon) each(ctx context.Context, names []string, f func(context.Context, config.Loaded, *survey) (control.Change, bool)) ([]control.Change, error) {
	loaded, err := d.loader.LoadDir(d.settings.Containers)
	if err != nil {
		// Nothing is removed because a directory cannot be read.
		return nil, &control.Error{Code: control.CodeRefused, Message: err.Error(), Hint: "all containers are left as they are; make the directory readable, then reload"}
	}
	files := byName(loaded)
	for _, name := range names {
		if _, there := files[name]; !there && d.catalog.get(name) == nil {
			return nil, noSuch(name)
		}
	}
	for _, e := range d.catalog.all() {
		if _, there := files[e.name]; !there {
			file, _, _, _, _ := e.view()
			files[e.name] = config.Loaded{Name: e.name, File: file, Err: errGone}
		}
	}
	s := d.newSurvey(files, names)
	changes := map[string]control.Change{}
	var mu sync.Mutex // guards changes
	look := func(names []string) {
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() {
				c, ok := f(ctx, files[name], s)
				if !ok {
					return
				}
				if c.Why == nil {
					c.Why = []string{}
				}
				mu.Lock()
				defer mu.Unlock()
				changes[name] = c
			})
		}
		wg.Wait()
	}
	about := names
	if len(names) == 0 {
		about = slices.Collect(maps.Keys(files))
	}
	slices.Sort(about)
	look(slices.Compact(about))
	look(s.takeAgain())
	return slices.SortedFunc(maps.Values(changes), func(a, b control.Change) int { return strings.Compare(a.Name, b.Name) }), nil
}

// reread reads a file again: while the entry's turn was awaited it may have changed, or come back.
func reread(loader *config.Loader, l config.Loaded) config.Loaded {
	if l.Err != nil && !errors.Is(l.Err, errGone) && !errors.Is(l.Err, fs.ErrNotExist) && !isContentError(l.Err) {
		return l
	}
	l.Definition, l.Err = loader.LoadFile(l.File)
	if errors.Is(l.Err, fs.ErrNotExist) {
		if _, err := os.Lstat(l.File); errors.Is(err, fs.ErrNotExist) {
			l.Err = errGone
		}
	}
	return l
}

// errGone is for a definition whose name is not in the directory any more. A link that leads nowhere is none: what it
// leads to may be back in a moment.
var errGone = errors.New("the definition is gone")

// isContentError tells faults in a definition's text from those of its file or name.
func isContentError(err error) bool {
	_, ok := errors.AsType[config.Errors](err)
	return ok
}

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

// foresee says what reconcile would do.
func (d *Daemon) foresee(ctx context.Context, e *entry, l config.Loaded, s *survey) control.Change {
	_, _, b, _, supervised := e.view()
	change := control.Change{Name: e.name}
	if errors.Is(l.Err, errGone) {
		if _, err := s.needed(e); err != nil {
			change.Action, change.Error = control.ActionRefused, err.Error()
			return change
		}
		change.Action, change.Why = control.ActionRemoved, []string{"its definition is gone"}
		return change
	}
	var g goal
	err := l.Err
	if err == nil {
		g, err = d.compare(ctx, e, l.Definition)
	}
	if err != nil {
		change.Action, change.Error = control.ActionRefused, err.Error()
		return change
	}
	change.Why = g.why
	snap, _ := d.supervisor.Get(e.name)
	newlyEnabled := supervised && !snap.Enabled && l.Definition.Enabled && snap.State == supervisor.StateStopped
	switch {
	case !supervised && l.Definition.Enabled:
		change.Action = control.ActionStarted
	case !supervised:
		change.Action = control.ActionAdded
	case len(g.why) == 0:
		change.Action = control.ActionUnchanged
	case g.plan.Hash == b.Hash:
		change.Action = control.ActionUpdated
		if newlyEnabled {
			change.Action = control.ActionStarted
		}
	default:
		switch snap.State {
		case supervisor.StateStopped, supervisor.StateExited:
			change.Action = control.ActionChanged
			if newlyEnabled {
				change.Action = control.ActionStarted
			}
		case supervisor.StateBackoff, supervisor.StateFailed:
			change.Action = control.ActionStarted
		default:
			change.Action = control.ActionRestarted
		}
	}
	return change
}

func noSuch(name string) error {
	return &control.Error{Code: control.CodeNoSuchContainer, Message: fmt.Sprintf("no such container %q", name), Hint: "runcsup list shows all"}
}
