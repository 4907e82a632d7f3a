package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	gorunc "github.com/containerd/go-runc"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Remove implements supervisor.Runtime. First everything that lives is killed through the cgroup, which needs no runtime;
// then the runtime is told to delete, which for a container that had ended is the only call; and when it cannot, what it
// keeps is removed here.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := r.settle(ctx, id); err != nil {
		return err
	}
	// A command that is just being started in it must not put anything behind.
	done, err := r.execs.seize(ctx, id, errRemoved)
	if err != nil {
		return err
	}
	defer done()
	defer r.begin()()
	path := r.cgroupPathOf(id)
	cg := r.cgroupOf(id)
	unclean := !r.hasState(id) && cg.exists()
	if err := r.endProcesses(ctx, id, cg); err != nil {
		return err
	}
	if r.hasState(id) {
		clean, err := r.delete(ctx, id, cg)
		if err != nil {
			return err
		}
		unclean = !clean
	}
	if cg.exists() {
		// A process that got in while the runtime was at work must not be taken for gone.
		if err := r.endProcesses(ctx, id, cg); err != nil {
			return err
		}
		rctx, cancel := context.WithTimeout(ctx, r.limits.death)
		defer cancel()
		if err := cg.remove(rctx); err != nil {
			return err
		}
	}
	if unclean && path.systemd() {
		r.clearUnit(ctx, id, path.unit())
	}
	return r.forget(id)
}

// clearUnit only logs what goes wrong: a unit that is listed as failed is in nobody's way.
func (r *Runtime) clearUnit(ctx context.Context, id, unit string) {
	cctx, cancel := context.WithTimeout(ctx, r.limits.death)
	defer cancel()
	if err := clearUnit(cctx, unit); err != nil {
		r.log.Warn("systemd may still list a container's unit", "container", id, "error", err)
	}
}

// endProcesses kills all processes of a container and returns when they are dead, and reaped if they are ours to reap.
func (r *Runtime) endProcesses(ctx context.Context, id string, cg cgroup) error {
	p := r.current(id)
	if p != nil && !p.fd.ended() {
		if err := p.KillAll(); err != nil {
			return err
		}
	}
	pids, err := cg.pids()
	if err != nil {
		return err
	}
	dctx, cancel := context.WithTimeout(ctx, r.limits.death)
	defer cancel()
	if len(pids) > 0 {
		if err := cg.kill(); err != nil {
			return err
		}
		if err := cg.waitEmpty(dctx, r.tracked); err != nil {
			return fmt.Errorf("cgroup %s does not get empty: %w", cg.path, err)
		}
	}
	if p == nil {
		return nil
	}
	// The status stays with the Process, for the supervisor's Wait.
	if _, err := p.Wait(dctx); err != nil && !errors.Is(err, os.ErrClosed) && !p.fd.ended() {
		return fmt.Errorf("process %d does not end after SIGKILL: %w", p.identity.Pid, err)
	}
	return nil
}

// delete makes the runtime forget a container of which nothing lives in the cgroup, or forgets it in the runtime's stead.
// clean says that the runtime did it at the first asking.
func (r *Runtime) delete(ctx context.Context, id string, cg cgroup) (clean bool, err error) {
	var plain, force error
	if !r.halfMade(id) { // of those a plain delete says that they do not exist
		plain = r.deleteCall(ctx, id, false)
		if ctx.Err() != nil {
			return false, errors.Join(plain, ctx.Err())
		}
		if !r.hasState(id) {
			return plain == nil, nil
		}
	}
	if !errors.Is(plain, context.DeadlineExceeded) { // a runtime that hangs is not asked twice
		force = r.deleteCall(ctx, id, true)
		if ctx.Err() != nil {
			return false, errors.Join(plain, force, ctx.Err())
		}
		if !r.hasState(id) {
			return false, nil
		}
	}
	err = errors.Join(plain, force)
	if derr := r.discard(ctx, id, cg); derr != nil {
		return false, errors.Join(err, derr)
	}
	r.log.Warn("the runtime could not delete a container; its state was removed by hand", "container", id, "error", err)
	return false, nil
}

// deleteCall leaves time for what is to be done if the runtime hangs.
func (r *Runtime) deleteCall(ctx context.Context, id string, force bool) error {
	limit := r.limits.delete
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	cctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return r.call(cctx, id, "delete", func(ctx context.Context, rc *gorunc.Runc) error {
		return rc.Delete(ctx, id, &gorunc.DeleteOpts{Force: force})
	})
}

// discard removes the runtime's state of a container, when it is certain that nothing of that lives.
func (r *Runtime) discard(ctx context.Context, id string, cg cgroup) error {
	if err := r.endProcesses(ctx, id, cg); err != nil {
		return err
	}
	if err := r.endRecordedInit(ctx, id); err != nil {
		return err
	}
	dir := r.stateDir(id)
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("cannot list mounts: %w", err)
	}
	for i := len(mounts) - 1; i >= 0; i-- { // what is mounted there is not the runtime's to remove
		if err := unix.Unmount(mounts[i].Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", mounts[i].Mountpoint, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove the runtime's state: %w", err)
	}
	return nil
}

// endRecordedInit kills the init process that the runtime wrote down, should it live outside of the cgroup.
func (r *Runtime) endRecordedInit(ctx context.Context, id string) error {
	init, ok := r.recordedInit(id)
	if !ok {
		return nil
	}
	fd, st, err := openProcess(init.pid)
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	defer func() { _ = fd.close() }()
	if st.start != init.start || fd.ended() {
		return nil
	}
	if err := fd.signal(unix.SIGKILL, 0); err != nil {
		return fmt.Errorf("cannot kill process %d: %w", init.pid, err)
	}
	return waitDeath(ctx, r.limits.death, fd, init.pid)
}

// waitDeath waits for a process that was sent SIGKILL.
func waitDeath(ctx context.Context, limit time.Duration, fd *pidfd, pid int) error {
	dctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := fd.wait(dctx, unix.POLLIN); err != nil {
		return fmt.Errorf("process %d does not end after SIGKILL: %w", pid, err)
	}
	return nil
}
