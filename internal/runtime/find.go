package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	gorunc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// Find implements supervisor.Runtime. How an instance ended is told as long as nobody has reaped it, and later by the pidfd that
// was kept of it (Linux ≥ 6.15). When the runtime cannot tell the state of a container, its own files do.
func (r *Runtime) Find(ctx context.Context, id string, known *supervisor.Identity) (supervisor.Process, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	defer r.begin()()
	var last *initRecord
	if known != nil && known.BootID == r.bootID && known.Pid > 1 {
		last = &initRecord{known.Pid, known.StartTime}
	}
	p, err := r.find(ctx, id, last)
	switch {
	case err == nil && !p.fd.ended():
		r.dropOthers(id, &initRecord{p.identity.Pid, p.identity.StartTime})
		return p, nil
	case err == nil:
		return nil, r.ended(ctx, p)
	case !errors.Is(err, supervisor.ErrNotFound):
		return nil, err
	}
	r.dropOthers(id, last)
	if last == nil {
		return nil, err
	}
	return nil, r.endOf(ctx, id, *last)
}

// find looks for a container's init, living or zombie: the last one that is known, one that is not known because it was
// written down nowhere but here, or the one that the runtime knows.
func (r *Runtime) find(ctx context.Context, id string, last *initRecord) (*process, error) {
	if last != nil {
		if p, err := r.adopt(id, *last); err == nil || !errors.Is(err, supervisor.ErrNotFound) {
			return p, err
		}
	}
	for _, init := range r.keptOf(id) {
		if !init.lives() {
			continue
		}
		if p, err := r.adopt(id, init); err == nil || !errors.Is(err, supervisor.ErrNotFound) {
			return p, err
		}
	}
	if err := r.settle(ctx, id); err != nil {
		return nil, err
	}
	if !r.hasState(id) || r.halfMade(id) {
		return nil, supervisor.ErrNotFound
	}
	init, err := r.runningInit(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.adopt(id, init)
}

// lives tells whether the process is there and no zombie.
func (i initRecord) lives() bool {
	st, err := readStat(i.pid)
	return err == nil && st.start == i.start && st.state != 'Z'
}

// adopt makes a Process of the one that was written down, living or zombie. It is ErrNotFound when that is gone.
func (r *Runtime) adopt(id string, init initRecord) (*process, error) {
	fd, st, err := openProcess(init.pid)
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: no process %d", supervisor.ErrNotFound, init.pid)
	case err != nil:
		return nil, err
	}
	cg := r.cgroupOf(id)
	if st.start != init.start {
		_ = fd.close()
		return nil, fmt.Errorf("%w: process %d is another one now", supervisor.ErrNotFound, init.pid)
	}
	kills, _ := cg.oomKills()
	if fd.ended() {
		// One of those may be its own; of a living process all are of others.
		kills = 0
	}
	return r.watch(id, cg, init.pid, fd, st, kills), nil
}

// runningInit is the init process of a container that is running or paused, according to the runtime.
func (r *Runtime) runningInit(ctx context.Context, id string) (initRecord, error) {
	state, err := r.state(ctx, id)
	if ctx.Err() != nil {
		return initRecord{}, err
	}
	init, recorded := r.recordedInit(id)
	switch {
	case err == nil && (state.Status == "created" || state.Status == "stopped"):
		return initRecord{}, fmt.Errorf("%w: it is %s", supervisor.ErrNotFound, state.Status)
	case err == nil && (state.Status == "running" || state.Status == "paused") && state.Pid > 1:
		if recorded && init.pid == state.Pid {
			return init, nil
		}
		return r.identify(id, state.Pid)
	case err == nil:
		err = fmt.Errorf("%s state: status %q, process %d", r.name(), excerpt(state.Status), state.Pid)
	}
	if recorded {
		r.log.Warn("the runtime cannot tell a container's state; going by its files", "container", id, "error", err)
		return init, nil
	}
	if pids, cerr := r.cgroupOf(id).pids(); cerr == nil && len(pids) == 0 {
		return initRecord{}, fmt.Errorf("%w: %w", supervisor.ErrNotFound, err)
	}
	if init, ok := r.initInCgroup(id); ok {
		r.log.Warn("the runtime cannot tell a container's state, and its files neither; going by its cgroup", "container", id, "pid", init.pid, "error", err)
		return init, nil
	}
	return initRecord{}, err
}

// identify is for runtimes whose files are not known: a process in the container's cgroup is of this container.
func (r *Runtime) identify(id string, pid int) (initRecord, error) {
	st, err := readStat(pid)
	if err != nil || !r.cgroupOf(id).has(pid) {
		return initRecord{}, fmt.Errorf("%w: process %d is not in its cgroup", supervisor.ErrNotFound, pid)
	}
	return initRecord{pid, st.start}, nil
}

func (r *Runtime) state(ctx context.Context, id string) (*gorunc.Container, error) {
	// Should the runtime hang, there is time left for its files.
	limit := r.limits.state
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	sctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var state *gorunc.Container
	err := r.call(sctx, id, "state", func(ctx context.Context, rc *gorunc.Runc) (err error) {
		state, err = rc.State(ctx, id)
		return err
	})
	return state, err
}
