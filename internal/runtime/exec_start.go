package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/runcsup/runcsup/supervisor"
)

// StartExec starts a command in a running container and returns its process and, if it got a terminal, the master side of
// that. The command goes on when this process dies. Errors are those of Exec.
//
// For one container one command is started at a time: so what a killed runtime leaves behind is told from other commands.
func (r *Runtime) StartExec(ctx context.Context, id string, req ExecRequest) (p *ExecProcess, master *os.File, err error) {
	if err := checkID(id); err != nil {
		return nil, nil, err
	}
	if len(req.Args) == 0 || req.Args[0] == "" {
		return nil, nil, fmt.Errorf("%w: no command given", ErrBadExecRequest)
	}
	if err := r.settle(ctx, id); err != nil {
		return nil, nil, err
	}
	ctx, done, err := r.execs.take(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	defer r.begin()()
	spec, err := r.execSpec(id, req)
	if err != nil {
		return nil, nil, err
	}
	c, err := r.newExecCall(id, spec)
	if err != nil {
		return nil, nil, err
	}
	defer c.clean()
	if req.Terminal != nil {
		if err := c.listen(); err != nil {
			return nil, nil, err
		}
		req.Stdin, req.Stdout, req.Stderr = nil, nil, nil
	}
	began, err := bootTicks()
	if err != nil {
		return nil, nil, err
	}
	cg := r.cgroupOf(id)
	if err := c.run(ctx, req); err != nil {
		return nil, nil, errors.Join(err, r.endExecCall(ctx, c, cg, began))
	}
	pid, fd, st, err := r.identifyStarted(ctx, cg, c.pidFile())
	if err != nil {
		return nil, nil, fmt.Errorf("%s exec: the runtime said that all went well, but %w", r.name(), err)
	}
	r.trackPid(pid)
	p = &ExecProcess{group: st.pgrp, session: st.session, p: &process{
		rt: r, id: id, started: startedAt(st.start), cgroup: cg, fd: fd,
		identity: supervisor.Identity{BootID: r.bootID, Pid: pid, StartTime: st.start},
	}}
	if req.Terminal != nil {
		if master, err = c.master(*req.Terminal); err != nil {
			kctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.death)
			defer cancel()
			return nil, nil, errors.Join(err, p.killSession(kctx), p.Close())
		}
	}
	return p, master, nil
}
