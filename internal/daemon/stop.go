package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/notify"
	"github.com/runcsup/runcsup/supervisor"
)

// How the daemon ends: with its containers, or without.

// errLeave is for a daemon that is to end and to leave its containers to the next one.
var errLeave = errors.New("the containers are left to the next daemon")

// jobTimeout is how long systemd may take to say why it sent SIGTERM. Without an answer the containers are stopped: nobody may
// come to look after them.
const jobTimeout = time.Second

// asksToEnd finds out what a SIGTERM is to mean, and gives nil for a stop and errLeave for an end without the containers.
func (d *Daemon) asksToEnd() <-chan error {
	answer := make(chan error, 1)
	d.spawn(func() {
		leave, why := d.isToLeave()
		if !leave {
			d.log.Info("SIGTERM: the containers are stopped", "why", why)
			answer <- nil
			return
		}
		d.log.Info("SIGTERM: the containers are left to the next daemon", "why", why)
		d.tell(d.notifier.Stopping("Leaving the containers to the next daemon"))
		answer <- errLeave
	})
	return answer
}

// isToLeave decides by the settings and, if those say so, by what systemd is about to do with this daemon's unit.
func (d *Daemon) isToLeave() (leave bool, why string) {
	if d.settings.OnTerminate != config.TerminateAuto {
		return d.settings.OnTerminate == config.TerminateLeave, "onTerminate: " + string(d.settings.OnTerminate)
	}
	ctx, cancel := context.WithTimeoutCause(d.ctx, jobTimeout, fmt.Errorf("no answer within %s", jobTimeout))
	defer cancel()
	unit, err := d.job(ctx)
	if err != nil {
		return false, err.Error()
	}
	if unit.Job == "" {
		return false, fmt.Sprintf("systemd has no job for %s", unit.Name)
	}
	return restarts(unit.Job), fmt.Sprintf("systemd is about to %s %s", unit.Job, unit.Name)
}

// restarts tells whether a job of systemd brings a daemon back after this one: those of `systemctl restart`, try-restart and, where
// a unit cannot reload, reload-or-restart.
func restarts(job string) bool { return job == "restart" || job == "try-restart" }

// job asks for as little as is not known yet.
func (d *Daemon) job(ctx context.Context) (notify.Unit, error) {
	name := d.unit.Load()
	if name == nil {
		return d.askUnit(ctx)
	}
	job, err := d.askJob(ctx, *name)
	return notify.Unit{Name: *name, Job: job}, err
}

// learnUnit finds out which unit this daemon is, and how many descriptors systemd keeps for it.
func (d *Daemon) learnUnit() {
	if d.notifier == nil {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, unitTimeout)
	defer cancel()
	unit, err := d.askUnit(ctx)
	if err != nil {
		d.log.Debug("cannot tell which unit this is", "error", err)
		return
	}
	d.unit.Store(&unit.Name)
	d.descriptors.SetLimit(unit.MaxDescriptors)
}

// unitTimeout is for questions to systemd that nothing waits for.
const unitTimeout = 30 * time.Second

// replacement is where a program comes from that is to replace this one. Once it is being asked what a SIGTERM means there is none.
func (d *Daemon) replacement(asked <-chan error) <-chan os.FileInfo {
	if asked != nil {
		return nil
	}
	return d.replace
}

// takeLeave ends what others wait for before a daemon ends without its containers: first the requests, then the runtime's calls.
// endServing returns when the last request was answered.
func (d *Daemon) takeLeave(end error, l listener, endServing func(cause error)) {
	doing := "restarted"
	if errors.Is(end, errReexec) {
		doing = "replaced"
		d.log.Info("the daemon is replaced by the program on disk", "program", d.program.Path)
		if d.ready.Load() {
			d.tell(d.notifier.Reloading("Replacing itself by the program on disk"))
		}
		var err error
		if d.kept, err = control.Keep(l); err != nil {
			d.log.Warn("the next daemon has to listen anew", "error", err)
		}
	}
	endServing(&control.Error{Code: control.CodeUnavailable, Message: "the daemon is being " + doing,
		Hint: "ask again; what was begun may have been done"})
	d.holdCalls()
}

// holdTimeout is how long runtime calls that are under way may take before they are cut short, as they are when the daemon is
// killed.
const holdTimeout = 10 * time.Second

// holdCalls lets runtime calls end and none begin, as far as that can be waited for.
func (d *Daemon) holdCalls() {
	ctx, cancel := context.WithTimeoutCause(d.ctx, holdTimeout, fmt.Errorf("they took longer than %s", holdTimeout))
	defer cancel()
	held := make(chan error, 1)
	d.spawn(func() {
		_, err := d.supervisor.Hold(ctx) // for good
		held <- err
	})
	for {
		select {
		case err := <-held:
			if err != nil {
				d.log.Warn("runtime calls that are under way are given up; the next daemon cleans up after them", "error", err)
			}
			return
		case answer := <-d.pings:
			close(answer)
		}
	}
}

// stop ends all containers, and the daemon with them.
func (d *Daemon) stop(signals <-chan os.Signal, why string, taken <-chan struct{}) error {
	d.stopBuilding()
	d.ready.Store(false)
	d.log.Info("stopping all containers", "why", why)
	d.tell(d.notifier.Stopping("Stopping all containers"))
	done := make(chan error, 1)
	limit := d.supervisor.StopBound() + stopReserve
	ctx, cancel := context.WithTimeoutCause(d.ctx, limit, fmt.Errorf("not all were down after %s", limit))
	defer cancel()
	d.spawn(func() {
		first := d.supervisor.Shutdown(ctx)
		select {
		case <-taken: // what was still being taken over is ended as well
		case <-ctx.Done(): // a read of a dead network file system does not end
		}
		done <- errors.Join(first, d.supervisor.Shutdown(ctx))
	})
	patience := time.NewTicker(extendEvery)
	defer patience.Stop()
	d.tell(d.notifier.ExtendTimeout(2 * extendEvery))
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("cannot stop all containers: %w", err)
			}
			return nil
		case answer := <-d.pings:
			close(answer)
		case <-patience.C:
			d.tell(d.notifier.ExtendTimeout(2 * extendEvery))
			line := statusLine{d: d, booted: true}
			d.tell(d.notifier.Status("Stopping: " + line.text()))
		case s := <-signals:
			if s == unix.SIGHUP {
				continue
			}
			again := d.signalled
			d.signalled = true
			if again {
				d.log.Warn("told twice to stop: all containers are killed", "signal", s.String())
				d.killAll(ctx)
			}
		}
	}
}

// stopReserve is what a stop may take beyond the stop timeouts of those that end one after the other: for SIGKILL, and for a runtime that hangs. A
// container that is not down by then has a process that the kernel cannot end.
const stopReserve = 2 * time.Minute

// extendEvery is how often systemd is asked for patience while containers are being stopped, for twice that time.
const extendEvery = 5 * time.Second

func (d *Daemon) killAll(ctx context.Context) {
	for _, s := range d.supervisor.List() {
		if s.Pid == 0 {
			continue
		}
		d.spawn(func() {
			var down *supervisor.NotRunningError
			if err := d.supervisor.Kill(ctx, s.Name, syscall.SIGKILL, true); err != nil && !errors.As(err, &down) {
				d.log.Error("cannot kill container", "container", s.Name, "error", err)
			}
		})
	}
}

// finish ends everything but the history. What err says has ended the loop, as loop has it.
func (d *Daemon) finish(ctx context.Context, err error) error {
	if err != nil {
		// What the daemon stumbles over is no reason to end a container: the next one takes them over.
		d.cancel()
		d.supervisor.Close()
	}
	d.cancel()
	d.waitForWork()
	d.supervisor.Close()
	d.monitor.Close()
	why := "its containers were stopped"
	switch {
	case errors.Is(err, errLeave):
		d.closeLogs()
		why, err = err.Error(), nil
	case errors.Is(err, errReexec):
		d.closeLogs()
		d.noteEnd(err.Error(), nil)
		return err
	case err == nil:
		d.settleLogs(ctx)
		d.closeLogs()
		err = d.tidy(ctx)
	default:
		d.closeLogs()
	}
	if err != nil {
		why = ""
	}
	d.noteEnd(why, err)
	return err
}

// waitForWork waits for what the daemon has begun, but not for ever: a read of a dead network file system cannot be cut
// short, and all containers are taken care of.
func (d *Daemon) waitForWork() {
	done := make(chan struct{})
	go func() { d.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(workTimeout):
		d.log.Warn("some work on definitions hangs; the daemon ends without it")
	}
}
