package daemon

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/supervisor"
)

func historyDir(s config.Settings) string { return filepath.Join(s.StateDir, "history") }

// keepHistory writes the history until the function that it returns is called, which is when nothing happens any more.
func (d *Daemon) keepHistory(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); d.history.Run(ctx) }()
	return func() {
		cancel()
		select {
		case <-done:
		case <-time.After(workTimeout):
			d.log.Warn("the disk with the history hangs; the daemon ends without it")
		}
	}
}

// noteBegin puts the daemon's start into its history and, if it is the first of this boot, the machine's.
func (d *Daemon) noteBegin(bootID string) {
	before, err := d.history.Daemon()
	if err != nil {
		d.log.Error("the history of earlier daemons cannot be read", "error", err)
	}
	why, lastBoot := "", ""
	for _, e := range slices.Backward(before) {
		if e.Type == history.TypeDaemonStopped || e.Type == history.TypeDaemonStarted {
			if e.Type == history.TypeDaemonStarted {
				why = "the one before ended without being told to"
			}
			lastBoot = e.BootID
			break
		}
	}
	if lastBoot != bootID {
		boot := history.Entry{Type: history.TypeBoot, BootID: bootID}
		if why != "" {
			boot.Why, why = "the machine went down without the daemon being told to stop", ""
		}
		d.history.Add(boot)
	}
	d.history.Add(history.Entry{
		Type: history.TypeDaemonStarted, Why: why, Pid: d.version.Pid, Version: d.version.Version, BootID: bootID,
	})
}

// noteEnd puts the daemon's end into its history.
func (d *Daemon) noteEnd(why string, err error) {
	e := history.Entry{Type: history.TypeDaemonStopped, Why: why, Pid: d.version.Pid, Version: d.version.Version, BootID: d.bootID}
	if err != nil {
		e.Error = err.Error()
	}
	d.history.Add(e)
}

// noteChange puts into a container's history what a reload did with it. Refusals are noted where they are new, and that
// it was removed is told by the supervisor.
func (d *Daemon) noteChange(c control.Change) {
	switch c.Action {
	case control.ActionUnchanged, control.ActionRefused, control.ActionRemoved:
		return
	}
	d.history.Add(history.Entry{
		Container: c.Name, Type: history.TypeApplied, Action: c.Action, Why: strings.Join(c.Why, ", "), Error: c.Error,
	})
}

// noteReload puts into the daemon's history what came of a reload that somebody asked for.
func (d *Daemon) noteReload(ctx context.Context, changes []control.Change, err error) {
	count := map[string]int{}
	for _, c := range changes {
		count[c.Action]++
	}
	var parts []string
	for _, action := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[action], action))
	}
	e := history.Entry{Type: history.TypeReload, Cause: string(supervisor.CauseHand), By: supervisor.Behalf(ctx), Why: strings.Join(parts, ", ")}
	if err != nil {
		e.Error = err.Error()
	}
	d.history.Add(e)
}

// forgetStrangers removes the histories of containers that have gone without being removed here.
func (d *Daemon) forgetStrangers() {
	names, err := d.history.Containers()
	if err != nil {
		d.log.Error("cannot list what there is a history of", "error", err)
	}
	for _, name := range names {
		if d.catalog.get(name) == nil {
			d.history.Forget(name)
		}
	}
}

// History returns what happened to a container; see control.Backend.
func (d *Daemon) History(name string, q history.Query) ([]history.Entry, error) {
	if _, err := d.Get(name); err != nil {
		return nil, err
	}
	q.Containers = []string{name}
	return d.history.Read(q)
}

// Events tells what happened and, with follow, what happens; see control.Backend.
func (d *Daemon) Events(ctx context.Context, q history.Query, follow bool, yield func(history.Entry) error) error {
	if follow {
		return d.history.Follow(ctx, q, yield)
	}
	entries, err := d.history.Read(q)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}
