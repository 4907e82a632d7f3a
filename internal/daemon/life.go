package daemon

import (
	"context"
	"errors"
	"os"
	"os/signal"
	goruntime "runtime"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/notify"
	"github.com/runcsup/runcsup/internal/records"
	"github.com/runcsup/runcsup/internal/runtime"
	"github.com/runcsup/runcsup/supervisor"
)

// Run is the daemon's life: it returns nil after an orderly end by SIGTERM or SIGINT. A context that has ended by then counts as a
// SIGTERM; later it does not end the daemon.
func Run(ctx context.Context, o Options) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	hangSignal(signals)
	defer signal.Stop(signals)
	missed := ctx.Err() != nil && len(signals) == 0 // it came before this
	ctx = context.WithoutCancel(ctx)
	for {
		d := newDaemon(ctx, o)
		if missed {
			d.noteMissed()
		}
		err := d.live(ctx, o, signals)
		if !errors.Is(err, errReexec) {
			return err
		}
		o.Handover = d.handOver()
		err = d.execute(o.Handover, o, signals)
		o.Handover.Error = err.Error()
		d.log.Error("the daemon cannot be replaced, and the program that runs goes on", "error", err)
	}
}

func newDaemon(ctx context.Context, o Options) *Daemon {
	d := &Daemon{
		settings: o.Settings, version: o.Version, log: o.Log, watchdog: o.Environment.Watchdog, catalog: newCatalog(),
		builds: supervisor.NewSlots(goruntime.NumCPU(), buildLease), nudged: make(chan struct{}, 1), lookAgain: make(chan struct{}, 1), pings: make(chan chan struct{}), missed: make(chan struct{}, 1),
		askUnit: notify.AskUnit, askJob: notify.AskJob, program: o.Program, checkTimeout: checkTimeout, replace: make(chan os.FileInfo), locks: map[string]*records.DirLock{},
	}
	if o.Handover != nil {
		d.version.Reexecs, d.version.ReexecError = o.Handover.Reexecs, o.Handover.Error
	}
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.building, d.stopBuilding = context.WithCancel(d.ctx)
	return d
}

// live is everything between the first and the last. After errReexec it is left to the caller what is handed over.
func (d *Daemon) live(ctx context.Context, o Options, signals <-chan os.Signal) (err error) {
	defer d.cancel()
	defer d.stopBuilding()
	defer func() {
		if !errors.Is(err, errReexec) {
			d.descriptors.Close()
			d.unlock()
		}
	}()
	listener, err := d.open(o)
	if err != nil {
		return err
	}
	d.sweeper = runtime.NewSweeper(d.runtime, sweepAge(d.settings))
	if o.Handover != nil {
		o.Handover.close()
		if err := d.sweeper.Inherit(); err != nil {
			d.log.Warn("commands in containers, of the program before, may stand as zombies for a while", "error", err)
		}
		d.spawn(d.heedMissedSignal)
	}
	return d.run(ctx, listener, signals)
}
