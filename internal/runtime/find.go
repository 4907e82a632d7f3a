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

// Find implements supervisor.Runtime. A process that has just ended is found as well, for its exit status, as long as
// nobody has reaped it. When the runtime cannot tell the state of a container, its own files do.
func (r *Runtime) Find(ctx context.Context, id string, known *supervisor.Identity) (supervisor.Process, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	defer r.begin()()
	if known != nil && known.BootID == r.bootID && known.Pid > 1 {
		p, err := r.adopt(id, initRecord{known.Pid, known.StartTime})
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, supervisor.ErrNotFound) {
			return nil, err
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
	p, err := r.adopt(id, init)
	if err != nil {
		return nil, err
	}
	return p, nil
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
