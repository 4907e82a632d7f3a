package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
)

// load reads the definitions for the first time, so that all names are known before anybody asks for one.
func (d *Daemon) load() ([]config.Loaded, error) {
	loaded, err := d.loader.LoadDir(d.settings.Containers)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; if there are to be no containers yet: mkdir -p %s", err, d.settings.Containers)
	}
	if err != nil {
		return nil, err
	}
	d.booting = map[string]chan struct{}{}
	for _, l := range loaded {
		d.catalog.add(l.Name, l.File)
		d.booting[l.Name] = make(chan struct{})
		d.supervisor.Expect(l.Name)
	}
	return loaded, nil
}

// bootPatience is how long a request waits for a container that the daemon has just begun to take over, or to build.
const bootPatience = 10 * time.Second

// awaitBoot waits until the daemon's first look at a container is over, and tells whether it was waited for.
func (d *Daemon) awaitBoot(ctx context.Context, name string) bool {
	looked := d.booting[name]
	if looked == nil {
		return false
	}
	patience := time.NewTimer(bootPatience)
	defer patience.Stop()
	select {
	case <-looked:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	return false
}

// boot takes over what an earlier daemon left and starts what should run. It returns when every container that has a
// definition is in the supervisor's hands or known to be refused.
func (d *Daemon) boot(ctx context.Context, loaded []config.Loaded) {
	var wg sync.WaitGroup
	s := d.newSurvey(byName(loaded), nil)
	for _, l := range loaded {
		wg.Go(func() {
			defer close(d.booting[l.Name])
			if e, err := d.catalog.take(ctx, l.Name, l.File); err == nil { // else the daemon is gone
				defer d.giveBack(e)
				d.bootOne(ctx, e, s.reread(l), s) // a reload may have been faster
				d.noteAbsence(e)
			}
		})
	}
	wg.Wait()
	d.observeReload(nil)
	d.forgetStrangers()
	d.watchFiles()
}

// bootOne does for one container what a reload would, but falls back on what was good last: the daemon may have been
// restarted while somebody was editing. When the daemon is told to stop meanwhile nothing is built any more, but what runs
// is still taken over, so that it is stopped.
func (d *Daemon) bootOne(ctx context.Context, e *entry, l config.Loaded, s *survey) {
	if d.building.Err() == nil {
		change := d.reconcile(d.building, e, l, s)
		if _, _, _, _, supervised := e.view(); supervised || change.Action != control.ActionRefused {
			return
		}
	}
	err := d.bootLastGood(ctx, e, l)
	if err != nil && d.building.Err() == nil {
		d.log.Error("container cannot run: its definition is refused, and there is no earlier one", "container", e.name, "error", err)
	}
}

func (d *Daemon) bootLastGood(ctx context.Context, e *entry, l config.Loaded) error {
	def, err := d.lastGood(l)
	if err != nil {
		return err
	}
	installed, err := d.builder.Installed(e.name)
	if err != nil {
		return err
	}
	d.setLog(e.name, def.Log)
	if err := d.addWithoutCycle(ctx, d.specOf(def, installed), installedAs(installed)); err != nil {
		return err
	}
	_, _, _, refused, _ := e.view()
	inputs := slices.Concat(e.watched(), def.Bundle.Inputs())
	e.accept(def, installed)
	e.refuse(l.File, refused, inputs)
	if refused == "" {
		return nil
	}
	d.log.Warn("container runs with its last good definition", "container", e.name)
	return d.supervisor.Refuse(ctx, e.name, refused)
}

// lastGood is the definition that was in effect last, or the present one if that is good (and what it names is not).
func (d *Daemon) lastGood(l config.Loaded) (*config.Definition, error) {
	src, err := d.definitions.Load(l.Name)
	if err == nil {
		return config.Parse(d.definitionFile(l.Name), src)
	}
	if l.Definition != nil {
		return l.Definition, nil
	}
	return nil, fmt.Errorf("no earlier definition: %w", err)
}

func (d *Daemon) definitionFile(name string) string {
	return filepath.Join(d.settings.Containers, name+".yaml")
}

// removeOrphans ends what has no definition any more: it went while no daemon was there.
func (d *Daemon) removeOrphans(ctx context.Context, loaded []config.Loaded) {
	has := map[string]bool{}
	for _, l := range loaded {
		has[l.Name] = true
	}
	var wg, found sync.WaitGroup
	names := slices.DeleteFunc(d.leftNames(), func(name string) bool { return has[name] })
	found.Add(len(names))
	for _, name := range names {
		wg.Go(func() {
			others := func() []string { found.Done(); found.Wait(); return names }
			if err := d.removeOrphan(ctx, name, sync.OnceValue(others)); err != nil {
				d.log.Error("cannot remove a container without a definition", "container", name, "error", err)
				return
			}
			d.log.Info("container removed: its definition is gone", "container", name)
		})
	}
	wg.Wait()
}

// removeOrphan ends a container the way its last definition says, if there is one. others is called once it is known whether it
// runs, and returns with whom it is removed when that is known of them, too.
func (d *Daemon) removeOrphan(ctx context.Context, name string, others func() []string) error {
	defer others()
	l := config.Loaded{Name: name, File: d.definitionFile(name), Err: errGone}
	e, err := d.catalog.take(ctx, name, l.File)
	if err != nil {
		return err
	}
	defer d.giveBack(e)
	if _, _, _, _, supervised := e.view(); supervised || !errors.Is(reread(&d.loader, l).Err, errGone) {
		e.again.Store(true) // its file is back
		return nil
	}
	if err := d.addOrphan(ctx, e, l); err != nil {
		if err := d.runtime.Remove(ctx, name); err != nil {
			return err
		}
		if err := d.records.Delete(name); err != nil {
			return err
		}
	} else if err := d.supervisor.Found(ctx, name); err != nil {
		d.log.Warn("a container without a definition may end out of order", "container", name, "error", err)
	}
	if change := d.remove(ctx, e, others()); change.Error != "" {
		return fmt.Errorf("%s", change.Error)
	}
	return nil
}

// addOrphan puts a container without a file under supervision, so that it is ended as any other.
func (d *Daemon) addOrphan(ctx context.Context, e *entry, l config.Loaded) error {
	def, err := d.lastGood(l)
	if err != nil {
		return err
	}
	var installed *bundle.Prepared
	if installed, err = d.builder.Installed(e.name); err != nil {
		return err
	}
	off := *def
	off.Enabled = false
	if err := d.addWithoutCycle(ctx, d.specOf(&off, installed), installedAs(installed)); err != nil {
		return err
	}
	e.accept(&off, installed)
	return nil
}
