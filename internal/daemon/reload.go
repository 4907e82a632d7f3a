package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
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

func noSuch(name string) error {
	return &control.Error{Code: control.CodeNoSuchContainer, Message: fmt.Sprintf("no such container %q", name), Hint: "runcsup list shows all"}
}
