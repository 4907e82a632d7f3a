package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/notify"
	"github.com/runcsup/runcsup/internal/records"
)

// How the containers end with the service when their daemon cannot end them: it was killed, hangs, or was about to be started
// again when the service was stopped.

// StopLeftFlag makes `runcsup daemon` do nothing but StopLeft.
const StopLeftFlag = "stop-left-running"

// callerTimeout is how long systemd may take to say what it does. Nothing is done without an answer.
const callerTimeout = 20 * time.Second

// StopLeft stops the containers that a daemon has left running, as that would have, if the unit by which this process was started is
// being stopped. It does nothing if there are none, if the unit is to go on (a restart, a crash), or if a daemon is there that
// does it itself.
func StopLeft(ctx context.Context, o Options) error {
	return stopLeft(ctx, o, notify.AskCaller)
}

func stopLeft(ctx context.Context, o Options, ask func(context.Context) (notify.Unit, error)) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	if _, err := os.Stat(runtimeDir(o.Settings)); errors.Is(err, fs.ErrNotExist) {
		return nil // the daemon has tidied up
	}
	notifier, err := notify.New(o.Environment.Socket)
	if err == nil {
		err = notifier.ExtendTimeout(callerTimeout + extendEvery)
	}
	if err != nil {
		o.Log.Warn("cannot ask the service manager for more time", "error", err)
	}
	askCtx, cancel := context.WithTimeoutCause(ctx, callerTimeout, fmt.Errorf("no answer within %s", callerTimeout))
	defer cancel()
	unit, err := ask(askCtx)
	switch {
	case err != nil:
		return fmt.Errorf("containers that run are left, since nobody can tell whether they are to be stopped: %w", err)
	case unit.Job != "stop":
		o.Log.Debug("containers are left to the next daemon", "unit", unit.Name, "job", unit.Job)
		return nil
	case o.Settings.OnTerminate == config.TerminateLeave:
		o.Log.Info("containers are left to the next daemon", "why", "onTerminate: leave")
		return nil
	case daemonLives(o.Settings):
		o.Log.Debug("containers are left to the daemon that runs", "unit", unit.Name)
		return nil
	}
	if o.Faults != "" {
		o.Log.Warn("the settings have mistakes; what of them is good counts for this stop", "error", o.Faults)
	}
	o.adoptOnly = true
	d := newDaemon(context.WithoutCancel(ctx), o)
	defer d.cancel()
	defer d.stopBuilding()
	defer d.unlock()
	if err := d.openRooms(o); err != nil {
		return fmt.Errorf("cannot stop the containers that a daemon has left: %w; to end them all at once: systemctl stop runcsup.slice", err)
	}
	return d.endLeft(context.WithoutCancel(ctx), signals, "the service is being stopped, and the daemon is down")
}

// daemonLives tells whether a daemon has the state, by the lock's word. A lock may outlive its daemon for a moment.
func daemonLives(s config.Settings) bool {
	for _, patience := range []time.Duration{0, lockPatience} {
		lock, err := records.Lock(s.StateDir, patience)
		if err == nil {
			_ = lock.Close() // it is taken again
			return false
		}
		locked, is := errors.AsType[*records.LockedError](err)
		if !is {
			return false // whoever goes on finds the same
		}
		if locked.Pid > 0 && unix.Kill(locked.Pid, 0) == nil {
			return true
		}
	}
	return true // of a daemon that had no space for its pid
}

// findPatience is for finding out what runs before anything is ended: what is not found by then ends out of order.
const findPatience = 40 * time.Second

// endLeft takes over what runs, and ends it.
func (d *Daemon) endLeft(ctx context.Context, signals <-chan os.Signal, why string) error {
	endHistory := d.keepHistory(ctx)
	defer endHistory() // last of all
	d.noteBegin(d.bootID)
	d.stopBuilding()
	d.signalled = true // systemd sends a signal only when it takes too long
	taken := make(chan struct{})
	d.spawn(func() { d.takeLeft(d.ctx); close(taken) })
	d.tell(d.notifier.ExtendTimeout(findPatience + extendEvery))
	patience := time.NewTimer(findPatience)
	defer patience.Stop()
	select {
	case <-taken:
	case <-patience.C:
		d.log.Warn("not all containers were found in time", "patience", findPatience)
	}
	err := d.finish(ctx, d.stop(signals, why, taken))
	if err == nil {
		err = removeSocket(socketPath(d.settings))
	}
	return err
}

// removeSocket removes what a killed daemon has left of its control socket.
func removeSocket(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the control socket: %w", err)
	}
	return nil
}

// takeLeft puts under supervision what an earlier daemon had, and returns when it is known what of that runs.
func (d *Daemon) takeLeft(ctx context.Context) {
	var wg sync.WaitGroup
	for _, name := range d.leftNames() {
		wg.Go(func() {
			l := reread(&d.loader, config.Loaded{Name: name, File: d.definitionFile(name), Err: errGone})
			e, err := d.catalog.take(ctx, name, l.File)
			if err != nil {
				return // the end is near
			}
			defer d.giveBack(e)
			if err := d.bootLastGood(ctx, e, l); err != nil && d.runtime.Exists(name) {
				d.log.Warn("a container is killed, since nothing is known of how it is to be stopped", "container", name, "error", err)
			}
		})
	}
	wg.Wait()
	for !d.supervisor.Settled() {
		select {
		case <-d.supervisor.Changed():
		case <-ctx.Done():
			return
		}
	}
}

// leftNames are those of containers of which there may be something: what was in effect, and what the runtime has.
func (d *Daemon) leftNames() []string {
	known, err := d.definitions.List()
	if err != nil {
		d.log.Error("cannot list the definitions of earlier containers", "error", err)
	}
	ids, err := d.runtime.IDs()
	if err != nil {
		d.log.Error("cannot list what the runtime has", "error", err)
	}
	names := slices.Concat(known, ids)
	slices.Sort(names)
	return slices.Compact(names)
}
