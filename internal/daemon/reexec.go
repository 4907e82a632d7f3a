package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/control"
)

// How the daemon is replaced by the program on disk, in the same process: it tries the new one, leaves everything as it does for a
// restart, and executes it. Should that fail the old program goes on from what it has left, just as the new one would have.

// errReexec is for a daemon that is to be replaced by the program on disk.
var errReexec = errors.New("it is replaced by the program on disk")

// Reexec implements control.Backend.
func (d *Daemon) Reexec(ctx context.Context, ifChanged bool) (control.Reexec, error) {
	r := control.Reexec{Program: d.version, Reexecs: d.version.Reexecs}
	if ifChanged && isRunning(d.program.Path) {
		return r, nil
	}
	if !d.replacing.CompareAndSwap(false, true) {
		return r, &control.Error{Code: control.CodeConflict, Message: "the daemon is being replaced already"}
	}
	check, file, err := d.checkProgram(ctx)
	if err == nil {
		r.Program, r.Replacing = check.Version, true
		select {
		case d.replace <- file:
			return r, nil
		case <-d.building.Done():
			err = &control.Error{Code: control.CodeUnavailable, Message: "the daemon is going down"}
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	d.replacing.Store(false)
	d.log.Warn("the daemon is not replaced", "program", d.program.Path, "error", err)
	return r, err
}

// handOver collects what the next program in this process needs, once everything else of this daemon has ended.
func (d *Daemon) handOver() *Handover {
	h := &Handover{
		Version: handoverVersion, Reexecs: d.version.Reexecs + 1, Listener: -1, Locks: map[string]int{}, Descriptors: d.descriptors.HandOver(),
	}
	for dir, lock := range d.locks {
		if fd, err := ownDescriptor(lock.HandOver()); err != nil {
			d.log.Warn("the next daemon has to lock a directory anew", "error", err)
		} else {
			h.Locks[dir] = fd
		}
	}
	d.locks = nil
	if d.kept != nil {
		if fd, err := ownDescriptor(d.kept, nil); err != nil {
			d.log.Warn("the next daemon has to listen anew", "error", err)
		} else {
			h.Listener = fd
		}
	}
	return h
}

// ownDescriptor turns a file into a plain descriptor, which nothing closes by itself.
func ownDescriptor(f *os.File, err error) (fd int, _ error) {
	if err != nil {
		return -1, err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, errors.Join(err, f.Close())
	}
	var dupErr error
	err = conn.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) })
	return fd, errors.Join(err, dupErr, f.Close())
}

// execute replaces this process's program, unless a signal or a change of the file says otherwise. It returns only with an error.
func (d *Daemon) execute(h *Handover, o Options, signals <-chan os.Signal) error {
	now, err := os.Stat(o.Program.Path)
	switch {
	case err != nil:
		return fmt.Errorf("the program is gone: %w", err)
	case !unchanged(d.successor, now):
		return fmt.Errorf("%s was changed since it was tried", o.Program.Path)
	case len(signals) > 0:
		return errors.New("a signal came in between") // which a new program would not hear of
	}
	d.tell(d.notifier.Ping())
	return h.exec(o.Program, o.Environment)
}

// heedMissedSignal does what systemd may have told this process while it was between two programs.
func (d *Daemon) heedMissedSignal() {
	ctx, cancel := context.WithTimeout(d.ctx, unitTimeout)
	defer cancel()
	unit, err := d.askUnit(ctx)
	if err != nil || unit.Job != "stop" && !restarts(unit.Job) {
		return
	}
	d.log.Warn("systemd is about to "+unit.Job+" this service, and nobody heard of it", "unit", unit.Name)
	d.noteMissed()
}

// noteMissed has the main loop act as upon a SIGTERM, unless it does already.
func (d *Daemon) noteMissed() {
	select {
	case d.missed <- struct{}{}:
	default:
	}
}
