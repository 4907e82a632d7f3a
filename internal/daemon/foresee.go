package daemon

import (
	"context"
	"errors"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

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
