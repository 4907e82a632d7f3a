package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/logs"
	"github.com/runcsup/runcsup/internal/metrics"
	"github.com/runcsup/runcsup/internal/notify"
	"github.com/runcsup/runcsup/internal/records"
	"github.com/runcsup/runcsup/internal/runtime"
	"github.com/runcsup/runcsup/internal/watch"
	"github.com/runcsup/runcsup/supervisor"
)

// Options is what the daemon gets from its command line and environment.
type Options struct {
	Settings config.Settings
	// Environment is what the service manager handed over.
	Environment notify.Environment
	// Handover is what an earlier program of this process left, nil if there was none.
	Handover *Handover
	Program  Program
	Version  control.VersionInfo
	Log      *slog.Logger

	// Faults says what is wrong with the settings, of which only what is good counts. StopLeft may be called with such ones.
	Faults string

	adoptOnly bool // nothing is started
}

// Daemon is the service. It is made and used by Run alone.
type Daemon struct {
	settings config.Settings
	version  control.VersionInfo
	log      *slog.Logger

	notifier    *notify.Notifier
	descriptors *notify.Descriptors // what outlives this daemon; nil until open has made it
	watchdog    time.Duration
	runtime     *runtime.Runtime
	sweeper     *runtime.Sweeper
	supervisor  *supervisor.Supervisor
	monitor     *monitor
	builder     *bundle.Builder
	logs        *logs.Collector
	records     *records.Store
	definitions definitions
	loader      config.Loader
	watcher     *watch.Watcher
	watchMu     sync.Mutex
	catalog     *catalog
	metrics     *metrics.Exporter
	web         *metrics.Web
	ready       atomic.Bool // the service manager was told so
	history     *history.Log
	bootID      string
	builds      *supervisor.Slots // places for heavy work on bundles
	askUnit     func(context.Context) (notify.Unit, error)
	askJob      func(ctx context.Context, unit string) (job string, err error)
	unit        atomic.Pointer[string] // systemd's name for this daemon, once it is known

	ctx    context.Context // ends when the daemon has nothing more to do
	cancel context.CancelFunc
	// building ends when the daemon is told to stop: no bundle is built any more.
	building     context.Context
	stopBuilding context.CancelFunc

	wg    sync.WaitGroup
	locks map[string]*records.DirLock // by directory

	// What replaces this daemon.
	program Program
	// checkTimeout is for a program to say whether it can take over.
	checkTimeout time.Duration
	replacing    atomic.Bool
	replace      chan os.FileInfo // a program that was tried
	successor    os.FileInfo      // the one that it is to be
	kept         *os.File         // the control socket, for that

	// Containers that could not be looked at because somebody worked on them.
	againMu   sync.Mutex
	again     map[string]bool
	lookAgain chan struct{}
	booting   map[string]chan struct{} // closed when the first look at a container is over; by name, not changed after load
	nudged    chan struct{}            // something that the status line shows has changed
	pings     chan chan struct{}       // answered by the main loop
	missed    chan struct{}            // there was a SIGTERM, of which no signal tells
	signalled bool                     // a signal to end has come; the main loop's own
}

// spawn runs f in a goroutine that the daemon waits for before it ends.
func (d *Daemon) spawn(f func()) { d.wg.Go(f) }

// run serves until a signal ends it.
func (d *Daemon) run(ctx context.Context, listener listener, signals <-chan os.Signal) error {
	loaded, err := d.load()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	endHistory := d.keepHistory(ctx)
	defer endHistory() // last of all
	d.noteBegin(d.bootID)
	serving, endServing := context.WithCancelCause(d.ctx)
	defer endServing(nil)
	served := make(chan error, 1)
	server := control.NewServer(d, d.log)
	if err := d.openWeb(server); err != nil {
		d.noteEnd("", err)
		return errors.Join(err, listener.Close())
	}
	go func() { served <- server.Serve(serving, listener) }()

	booted, taken := make(chan struct{}), make(chan struct{})
	d.spawn(func() { d.boot(d.ctx, loaded); close(booted) })
	d.spawn(func() {
		d.removeOrphans(d.ctx, loaded) // takes as long as their stop timeouts: nobody waits for it but a stop
		<-booted
		d.runtime.DropKept(func(name string) bool { return d.catalog.get(name) != nil }, "out.", "err.", notifyPrefix)
		close(taken)
	})
	d.spawn(d.learnUnit)
	d.spawn(func() { d.sweeper.Run(d.ctx) })
	if d.settings.Watch {
		d.spawn(func() { _ = d.watcher.Run(d.ctx) }) // its error is the context's
	}
	d.spawn(func() { d.web.Run(d.ctx, d.nudge) })
	d.spawn(func() { notify.NewWatchdog(d.watchdog, d.watchdogCheck, d.notifier.Ping, d.log).Run(d.ctx) })

	err = d.loop(signals, booted, taken, served)
	if errors.Is(err, errLeave) || errors.Is(err, errReexec) {
		d.takeLeave(err, listener, func(cause error) {
			endServing(cause)
			select {
			case err := <-served:
				if err != nil {
					d.log.Warn("the control API has ended early", "error", err)
				}
			case <-time.After(workTimeout): // something hangs that does not end with its request
			}
		})
	}
	endServing(nil)
	return d.finish(ctx, err)
}

// memoryDelay is how long after something has happened the memory that it took is given back. Go itself would keep what a
// hundred starts at once took until it needs it, which may be never.
const memoryDelay = 20 * time.Second

// statusDelay makes one status of many changes.
const statusDelay = 100 * time.Millisecond

func lookSoon(soon <-chan time.Time) <-chan time.Time {
	if soon != nil {
		return soon
	}
	return time.After(statusDelay)
}

// workTimeout is for work that is under way when the daemon ends, and buildLease is after how long a build lets another
// one begin beside it.
const (
	workTimeout = 5 * time.Second
	buildLease  = 5 * time.Second
)

// loop is the daemon's main loop. It returns nil when all containers were stopped, errLeave or errReexec when the daemon is to
// end without them, and another error when it cannot go on.
func (d *Daemon) loop(signals <-chan os.Signal, booted, taken <-chan struct{}, served <-chan error) error {
	var (
		status = statusLine{d: d}
		soon   <-chan time.Time // when the status is looked at again
		quiet  <-chan time.Time // when memory of what has happened is given back
		ready  bool
		asked  <-chan error // the answer to what a SIGTERM means; see asksToEnd
	)
	for {
		select {
		case <-booted:
			booted, status.booted = nil, true
		case err := <-served:
			return fmt.Errorf("control API: %w", err)
		case <-d.supervisor.Changed():
			soon = lookSoon(soon)
			if quiet == nil {
				quiet = time.After(memoryDelay)
			}
			continue
		case <-quiet:
			quiet = nil
			for range 2 { // each collection halves stacks that have become too large, and empties pools by a step
				goruntime.GC()
			}
			debug.FreeOSMemory()
			continue
		case <-d.nudged:
			soon = lookSoon(soon)
			continue
		case <-soon:
			soon = nil
		case answer := <-d.pings:
			close(answer)
			continue
		case d.successor = <-d.replacement(asked):
			return errReexec
		case <-d.watcher.Changed():
			d.spawn(func() { d.applyChanges(nil) })
			continue
		case <-d.lookAgain:
			names := d.takeAgain()
			d.spawn(func() { d.applyChanges(names) })
			continue
		case s := <-signals:
			hangOn(s)
			if s == unix.SIGHUP {
				d.spawn(func() { d.hangup(ready) })
				continue
			}
			again := d.signalled
			d.signalled = true
			if s == unix.SIGTERM && !again {
				if asked == nil {
					asked = d.asksToEnd()
				}
				continue
			}
			return d.stop(signals, s.String(), taken)
		case <-d.missed:
			if asked == nil {
				asked = d.asksToEnd()
			}
			continue
		case end := <-asked: // and no other program is heard of any more
			if end != nil {
				return end
			}
			return d.stop(signals, unix.SIGTERM.String(), taken)
		}
		if !ready && status.ready() {
			ready = true
			d.ready.Store(true)
			d.tell(d.notifier.Ready(status.text()))
			d.log.Info("ready", "status", status.text())
			continue
		}
		status.send()
	}
}

// check is the watchdog's question: do the loops answer?
func (d *Daemon) check(ctx context.Context) error {
	answer := make(chan struct{})
	select {
	case d.pings <- answer:
	case <-ctx.Done():
		return fmt.Errorf("the main loop does not answer: %w", context.Cause(ctx))
	}
	return d.supervisor.Ping(ctx)
}

// tell logs that the service manager could not be told something. Nothing else can be done about it.
func (d *Daemon) tell(err error) {
	if err != nil {
		d.log.Warn("cannot notify the service manager", "error", err)
	}
}

// nudge has the status line looked at again.
func (d *Daemon) nudge() {
	select {
	case d.nudged <- struct{}{}:
	default:
	}
}

// hangup is a reload by SIGHUP.
func (d *Daemon) hangup(ready bool) {
	if ready {
		d.tell(d.notifier.Reloading("Reloading"))
	}
	changes, err := d.reload(d.ctx, nil)
	d.noteReload(d.ctx, changes, err)
	if err != nil {
		d.log.Error("cannot reload", "error", err)
	}
	for _, c := range changes {
		d.logChange(c)
	}
	if ready {
		s := statusLine{d: d, booted: true}
		d.tell(d.notifier.Ready(s.text()))
	}
}

// logChange logs what was done with a definition. Refusals are logged where they are new.
func (d *Daemon) logChange(c control.Change) {
	switch {
	case c.Action == control.ActionUnchanged, c.Action == control.ActionRefused:
	case c.Error != "":
		d.log.Error("definition applied, but not all of it worked", "container", c.Name, "action", c.Action, "why", c.Why, "error", c.Error)
	default:
		d.log.Info("definition applied", "container", c.Name, "action", c.Action, "why", c.Why)
	}
}

// logRefusal logs what is wrong with a definition, on one line.
func (d *Daemon) logRefusal(name string, err error) {
	text := err.Error()
	if faults, ok := errors.AsType[config.Errors](err); ok {
		text = faults.Summary()
	}
	d.log.Error("definition refused; the container is left as it is", "container", name, "error", text)
}

// watchFiles tells the watcher what there is to be watched now.
func (d *Daemon) watchFiles() {
	d.watchMu.Lock() // the newest list is to be set last
	defer d.watchMu.Unlock()
	d.watcher.Set(append(d.catalog.files(), d.settings.Containers))
}

// unlock gives the directories back.
func (d *Daemon) unlock() {
	for _, l := range d.locks {
		if err := l.Close(); err != nil {
			d.log.Warn("cannot unlock a directory", "error", err)
		}
	}
}

// runtimeDir and the like are where things lie in the run and state directories.
func runtimeDir(s config.Settings) string     { return filepath.Join(s.RunDir, "runtime") }
func callDir(s config.Settings) string        { return filepath.Join(s.RunDir, "calls") }
func notifyDir(s config.Settings) string      { return filepath.Join(s.RunDir, "notify") } // as bundle has it
func healthDir(s config.Settings) string      { return filepath.Join(s.RunDir, "health") }
func bundlesDir(s config.Settings) string     { return filepath.Join(s.StateDir, "bundles") }
func recordsDir(s config.Settings) string     { return filepath.Join(s.StateDir, "records") }
func definitionsDir(s config.Settings) string { return filepath.Join(s.StateDir, "definitions") }

// sweepAge is longer than any runtime call takes.
func sweepAge(s config.Settings) time.Duration { return s.StartTimeout + time.Minute }
