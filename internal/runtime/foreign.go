package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// foreignCall is a runtime process on our runtime directory that no call from here waits for: an earlier daemon's, or what
// is left of one of ours.
type foreignCall struct {
	pid    int
	leader bool // of a process group of its own, as all calls from here are
	fd     *pidfd
}

// settle waits for calls of an earlier daemon that still work on a container, and kills those that take too long.
//
// The calls are looked for once, before this Runtime makes its first one: by then the earlier daemon is gone (one daemon
// to a run directory) and can start no more.
func (r *Runtime) settle(ctx context.Context, id string) error {
	r.foreignMu.Lock()
	if !r.scanned {
		found, err := r.scanCalls()
		if err != nil {
			r.foreignMu.Unlock()
			return err
		}
		r.foreign, r.scanned = found, true
	}
	calls := r.foreign[id]
	r.foreignMu.Unlock()
	if len(calls) == 0 {
		return nil
	}
	if err := r.waitForeign(ctx, id, calls); err != nil {
		return fmt.Errorf("an earlier daemon's call of the runtime is still under way: %w", err)
	}
	r.foreignMu.Lock()
	delete(r.foreign, id)
	r.foreignMu.Unlock()
	closeCalls(calls)
	return nil
}

func (r *Runtime) waitForeign(ctx context.Context, id string, calls []foreignCall) error {
	grace, cancel := context.WithTimeout(ctx, r.limits.foreign)
	defer cancel()
	for _, c := range calls {
		err := c.fd.wait(grace, unix.POLLIN)
		if err == nil {
			continue
		}
		if ctx.Err() != nil || !isContextError(err) {
			return err
		}
		r.log.Warn("killing a runtime call of an earlier daemon that does not end", "container", id, "pid", c.pid)
		return r.endCalls(ctx, id)
	}
	return nil
}

// endCalls kills all runtime calls on a container, those too that have left their process group, as the process does by
// which crun starts a container. It must not be called while another call on that container is under way.
func (r *Runtime) endCalls(ctx context.Context, id string) error {
	for {
		found, err := r.scanCalls()
		if err != nil {
			return err
		}
		calls := found[id]
		for other, cs := range found {
			if other != id {
				closeCalls(cs)
			}
		}
		if len(calls) == 0 {
			return nil // and what a killed one had started meanwhile was found as well
		}
		err = r.killCalls(ctx, calls)
		closeCalls(calls)
		if err != nil {
			return err
		}
	}
}

func (r *Runtime) killCalls(ctx context.Context, calls []foreignCall) error {
	for _, c := range calls {
		if err := c.kill(); err != nil {
			return err
		}
	}
	for _, c := range calls {
		if err := waitDeath(ctx, r.limits.death, c.fd, c.pid); err != nil {
			return err
		}
	}
	return nil
}

func closeCalls(calls []foreignCall) {
	for _, c := range calls {
		_ = c.fd.close() // opened here, and closed but once
	}
}

func (c foreignCall) kill() error {
	if c.leader {
		err := c.fd.signal(unix.SIGKILL, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		if errors.Is(err, unix.EINVAL) && c.fd.unreaped() { // before Linux 6.9
			err = unix.Kill(-c.pid, unix.SIGKILL)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot kill process group %d: %w", c.pid, err)
		}
	}
	if err := c.fd.signal(unix.SIGKILL, 0); err != nil {
		return fmt.Errorf("cannot kill process %d: %w", c.pid, err)
	}
	return nil
}

// scanCalls looks through all processes for those that were given our Root, and gives them by container. Zombies are not
// among them: they have no arguments.
func (r *Runtime) scanCalls() (map[string][]foreignCall, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	pidns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("cannot tell own pid namespace: %w", err)
	}
	found := map[string][]foreignCall{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if r.calledOn(pid) == "" {
			continue
		}
		fd, st, err := openProcess(pid)
		if err != nil {
			continue // ended meanwhile
		}
		// Again, now that the pid cannot be another's. A machine inside this one may use the same path for its own.
		id := r.calledOn(pid)
		if ns, err := os.Readlink("/proc/" + e.Name() + "/ns/pid"); id == "" || err != nil || ns != pidns {
			_ = fd.close()
			continue
		}
		found[id] = append(found[id], foreignCall{pid: pid, leader: st.pgrp == pid, fd: fd})
	}
	return found, nil
}

// calledOn is the container that a process with our Root among its arguments works on, or empty.
func (r *Runtime) calledOn(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || !bytes.Contains(data, []byte(r.cfg.Root)) {
		return ""
	}
	return callID(strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), r.cfg.Root)
}

// callID is the last argument of a runtime call with that root, which is the container in all calls from here.
func callID(args []string, root string) string {
	i := slices.Index(args, "--root")
	switch {
	case slices.Contains(args, "--root="+root):
	case i >= 0 && i+1 < len(args) && args[i+1] == root:
	default:
		return ""
	}
	last := args[len(args)-1]
	if checkID(last) != nil {
		return ""
	}
	return last
}
