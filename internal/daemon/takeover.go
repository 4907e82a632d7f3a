package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/runtime"
	"github.com/runcsup/runcsup/supervisor"
)

// TakeOver takes over a running container that somebody else has started with the same runtime; see control.Backend. Should the
// daemon die in the middle, the next one either has the container under its definition or knows nothing of it: the record
// comes before the definition, which comes before the runtime's state, by which a container without a definition would be
// taken for a leftover.
func (d *Daemon) TakeOver(ctx context.Context, name string, o control.TakeOverOptions) error {
	if !config.ValidName(name) {
		return &control.Error{Code: control.CodeUsage, Message: fmt.Sprintf("%q cannot be the name of a container", name)}
	}
	file := d.definitionFile(name)
	def, err := config.Parse(file, []byte(o.Definition))
	if err != nil {
		return &control.Error{Code: control.CodeRefused, Message: err.Error()}
	}
	e, err := d.catalog.take(ctx, name, file)
	if err != nil {
		return err
	}
	defer d.giveBack(e)
	if err := d.mayTakeOver(e, file, o.Replace); err != nil {
		return err
	}
	t := &takeover{d: d, e: e, def: def, file: file}
	// What was begun is brought to an end, whether the client waits or not.
	if err := t.run(context.WithoutCancel(ctx), runtime.Foreign{Root: o.Root, ID: o.ID}); err != nil {
		if t.fresh && !t.done {
			d.catalog.remove(e) // there is no such container
		}
		return t.refusal(name, err)
	}
	d.watchFiles()
	d.nudge()
	return nil
}

func (d *Daemon) mayTakeOver(e *entry, file string, replace bool) error {
	if _, _, _, _, supervised := e.view(); supervised {
		return &control.Error{Code: control.CodeConflict, Message: fmt.Sprintf("there is already a container %q", e.name),
			Hint: "give this one another name, or remove " + file + " first"}
	}
	if _, err := os.Lstat(file); err == nil && !replace {
		return &control.Error{Code: control.CodeConflict, Message: "there is a definition already: " + file, Hint: "look at it; --force replaces it"}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot take over %q: %w", e.name, err)
	}
	return nil
}

// takeover is one under way.
type takeover struct {
	d       *Daemon
	e       *entry
	def     *config.Definition
	file    string
	before  []byte // of the file; nil if there was none
	fresh   bool   // there was none
	foreign *runtime.Takeover
	undo    []func() error
	done    bool // the supervisor has it: nothing is undone any more
}

func (t *takeover) refusal(name string, err error) error {
	if _, ok := errors.AsType[*control.Error](err); ok {
		return err
	}
	if errors.Is(err, supervisor.ErrNotFound) {
		return &control.Error{Code: control.CodeConflict, Message: fmt.Sprintf("cannot take over %q: %v", name, err), Hint: "without --adopt the definition is printed; runcsup start starts it"}
	}
	return fmt.Errorf("cannot take over %q: %w", name, err)
}

// run does one step after the other, and undoes them when one fails.
func (t *takeover) run(ctx context.Context, f runtime.Foreign) (err error) {
	t.before, err = os.ReadFile(t.file)
	t.fresh = errors.Is(err, fs.ErrNotExist)
	defer func() {
		for i := len(t.undo) - 1; err != nil && i >= 0; i-- {
			if uerr := t.undo[i](); uerr != nil {
				err = errors.Join(err, uerr)
			}
		}
	}()
	d, name := t.d, t.def.Name
	plan, err := d.plan(ctx, t.def.Bundle)
	if err != nil {
		return &control.Error{Code: control.CodeRefused, Message: err.Error()}
	}
	b, err := d.prepare(ctx, plan)
	if err != nil {
		return err
	}
	t.undo = append(t.undo, b.Discard)
	if t.foreign, err = d.runtime.TakeOver(name, f); err != nil {
		return err
	}
	t.undo = append(t.undo, t.foreign.Undo)
	if err := t.foreign.Remember(); err != nil {
		return err
	}
	t.undo = append(t.undo, func() error { return d.records.Delete(name) })
	id := t.foreign.Identity
	record := supervisor.Record{
		Version: supervisor.RecordVersion, BootID: id.BootID, State: supervisor.StateRunning, Instance: &id, StartedAt: &t.foreign.StartedAt,
	}
	if err := d.records.Save(name, record, true); err != nil {
		return err
	}
	t.undo = append(t.undo, func() error { return d.builder.Remove(name) })
	if _, err := b.Install(ctx); err != nil { // as before a start: the container was started from the same
		return err
	}
	t.undo = append(t.undo, t.restoreFile)
	if err := replaceFile(t.file, t.def.Source); err != nil {
		return fmt.Errorf("cannot write the definition: %w", err)
	}
	if err := t.foreign.CopyState(ctx); err != nil {
		return err
	}
	return t.supervise(ctx, b)
}

// supervise hands the container to the supervisor. From then on nothing is undone any more.
func (t *takeover) supervise(ctx context.Context, b *bundle.Prepared) error {
	d, name := t.d, t.def.Name
	d.setLog(name, t.def.Log)
	if err := d.supervisor.Add(ctx, d.specOf(t.def, b), installedAs(b)); err != nil {
		return err
	}
	t.undo, t.done = nil, true
	t.e.accept(t.def, b)
	d.keepCopy(t.e, t.def.Source)
	if err := t.foreign.Commit(); err != nil {
		d.log.Warn("the other runtime still lists a container that was taken over", "container", name, "error", err)
	}
	d.log.Info("container taken over", "container", name, "pid", t.foreign.Identity.Pid)
	// It runs already, or has ended this moment and is started anew.
	if err := d.supervisor.Start(ctx, name); err != nil {
		d.log.Warn("a container that was taken over does not run", "container", name, "error", err)
	}
	return nil
}

func (t *takeover) restoreFile() error {
	if t.fresh {
		return os.Remove(t.file)
	}
	return replaceFile(t.file, t.before)
}

// replaceFile writes a definition in one step.
func replaceFile(file string, data []byte) error {
	beside := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".new")
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(beside, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	return nil
}
