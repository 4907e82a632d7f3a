package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// process implements supervisor.Process. It has no goroutine of its own: whoever calls Wait parks in Go's poller.
type process struct {
	rt       *Runtime
	id       string
	identity supervisor.Identity
	started  time.Time
	cgroup   cgroup
	fd       *pidfd
	turn     chan struct{} // holds a token while one of the waiters watches the pidfd
	done     chan struct{} // closed when status is set

	status   supervisor.ExitStatus // written once, before done
	mu       sync.Mutex
	oomKills uint64 // of the cgroup, at a time when this process was not yet killed
	untrack  sync.Once
}

// watch makes a Process of a container's init and makes it the container's newest.
func (r *Runtime) watch(id string, cg cgroup, pid int, fd *pidfd, st procStat, oomKills uint64) *process {
	p := &process{
		rt: r, id: id, started: startedAt(st.start), cgroup: cg, fd: fd, oomKills: oomKills,
		identity: supervisor.Identity{BootID: r.bootID, Pid: pid, StartTime: st.start},
		turn:     make(chan struct{}, 1), done: make(chan struct{}),
	}
	r.track(p)
	r.keep(p)
	return p
}

// Identity implements supervisor.Process.
func (p *process) Identity() supervisor.Identity { return p.identity }

// StartedAt implements supervisor.Process. It is exact to a clock tick (10 ms).
func (p *process) StartedAt() time.Time { return p.started }

// Wait implements supervisor.Process.
//
// OOMKilled is told by the cgroup's count of OOM kills, compared with its value before the start, at adoption, or before a
// SIGKILL that was sent through this Process; and by the kernel's log, which names the victim. Where that log cannot be
// read, or does not reach back to the start, a SIGKILL from elsewhere that follows the OOM kill of a child is taken for one
// of init; and an OOM kill is not seen when systemd is faster in removing the cgroup than this process in reading it.
func (p *process) Wait(ctx context.Context) (supervisor.ExitStatus, error) {
	select {
	case <-p.done:
		return p.status, nil
	default:
	}
	select {
	case <-p.done:
		return p.status, nil
	case <-ctx.Done():
		return supervisor.ExitStatus{}, ctx.Err()
	case p.turn <- struct{}{}:
	}
	defer func() { <-p.turn }()
	select {
	case <-p.done: // by the waiter before
		return p.status, nil
	default:
	}
	if err := p.fd.wait(ctx, unix.POLLIN); err != nil {
		return supervisor.ExitStatus{}, p.waitError(err)
	}
	// Before the reap: whoever hears of the end next may delete the cgroup.
	kills, counted := p.cgroup.oomKills()
	peak := p.cgroup.memoryPeak()
	status, err := p.exitStatus(ctx)
	if err != nil {
		return supervisor.ExitStatus{}, p.waitError(err)
	}
	status.MemoryPeak = peak
	if status.Known && status.Wait.Signaled() && status.Wait.Signal() == syscall.SIGKILL {
		p.mu.Lock()
		before := p.oomKills
		p.mu.Unlock()
		status.OOMKilled = p.rt.oomKilled(ctx, p.identity.Pid, p.identity.StartTime, kills, counted, before)
	}
	p.status = status
	p.forgetPid()
	close(p.done)
	return p.status, nil
}

func (p *process) waitError(err error) error {
	if isContextError(err) {
		return err
	}
	if errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("process %d is not watched any more: %w", p.identity.Pid, os.ErrClosed)
	}
	return fmt.Errorf("cannot wait for process %d: %w", p.identity.Pid, err)
}

// exitStatus gets the status of a process that has ended: by reaping it, or, where somebody else is the parent, from the
// kernel once the parent has.
func (p *process) exitStatus(ctx context.Context) (supervisor.ExitStatus, error) {
	const look = time.Second
	deadline := time.Now().Add(p.rt.limits.status)
	for {
		ws, ok, err := p.fd.reap(p.identity.Pid)
		if ok {
			return supervisor.ExitStatus{Known: true, Wait: ws}, nil
		}
		if err != nil && !errors.Is(err, unix.ECHILD) {
			return supervisor.ExitStatus{}, err
		}
		left := time.Until(deadline)
		if err != nil && left > 0 && awaitWorker(ctx, p.fd, p.identity.Pid, min(left, look)) {
			continue
		}
		ws, known := p.fd.exitInfo()
		switch {
		case known == exitKnown:
			return supervisor.ExitStatus{Known: true, Wait: ws}, nil
		case known == exitNever && errors.Is(err, unix.ECHILD), left <= 0:
			return supervisor.ExitStatus{}, nil
		}
		// Look again from time to time: when the parent dies, the zombie may become a child of this process.
		lctx, cancel := context.WithTimeout(ctx, min(left, look))
		err = p.fd.wait(lctx, unix.POLLHUP)
		cancel()
		if err != nil && (ctx.Err() != nil || !isContextError(err)) {
			return supervisor.ExitStatus{}, err
		}
		if err == nil {
			// Reaped. Should that have been here, by another Process of the same container, the kernel knows no less.
			if ws, known := p.fd.exitInfo(); known == exitKnown {
				return supervisor.ExitStatus{Known: true, Wait: ws}, nil
			}
			return supervisor.ExitStatus{}, nil
		}
	}
}

// Signal implements supervisor.Process.
func (p *process) Signal(sig syscall.Signal) error {
	if sig == syscall.SIGKILL {
		p.noteKill()
	}
	if err := p.fd.signal(sig, 0); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", p.identity.Pid, err)
	}
	return nil
}

// noteKill keeps earlier OOM kills of the container's other processes from being taken for the cause of a SIGKILL that is
// about to be sent from here.
func (p *process) noteKill() {
	kills, ok := p.cgroup.oomKills()
	if !ok || p.fd.ended() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.oomKills = kills
}

// KillAll implements supervisor.Process. Of a Process that is closed, or whose container has a newer one, it does nothing
// to the cgroup, which is no longer its own.
func (p *process) KillAll() error {
	p.noteKill()
	var errs []error
	if p.rt.current(p.id) == p {
		if err := p.cgroup.kill(); err != nil {
			errs = append(errs, fmt.Errorf("cannot kill all processes: %w", err))
		}
	}
	// Should it have left the cgroup, it is ended all the same.
	if err := p.fd.signal(syscall.SIGKILL, 0); err != nil && !errors.Is(err, os.ErrClosed) {
		errs = append(errs, fmt.Errorf("cannot kill process %d: %w", p.identity.Pid, err))
	}
	return errors.Join(errs...)
}

// Close implements supervisor.Process. It ends every Wait under way.
func (p *process) Close() error {
	p.rt.forgetProcess(p)
	p.forgetPid()
	if err := p.fd.close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot close the pidfd of process %d: %w", p.identity.Pid, err)
	}
	return nil
}

func (p *process) forgetPid() { p.untrack.Do(func() { p.rt.settledPid(p.identity.Pid) }) }
