package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/runtime"
	"github.com/runcsup/runcsup/supervisor"
)

// maxExecOutput is the most that is kept of a command's output when nobody brings files for it.
const maxExecOutput = 256 << 10

// CanExec tells why nothing can be executed in a container now.
func (d *Daemon) CanExec(name string) error {
	return d.act(d.ctx, name, func() error {
		if err := d.supervisor.Found(d.ctx, name); err != nil {
			return err
		}
		s, err := d.supervisor.Get(name)
		if err == nil && s.Pid == 0 {
			err = &supervisor.NotRunningError{Name: name, State: s.State}
		}
		return err
	})
}

// Exec executes a command in a container to its end.
func (d *Daemon) Exec(ctx context.Context, name string, o control.ExecOptions) (control.Executed, error) {
	if err := d.CanExec(name); err != nil {
		return control.Executed{}, err
	}
	result, err := d.runtime.Exec(ctx, name, execRequest(o), maxExecOutput)
	if err != nil {
		return control.Executed{}, d.execError(name, err)
	}
	return control.Executed{
		Exit: exitOf(result.Status), Output: strings.ToValidUTF8(string(result.Output), "\uFFFD"), Truncated: result.Truncated,
	}, nil
}

// StartExec starts a command that lives as long as it wants, or until the container ends.
func (d *Daemon) StartExec(ctx context.Context, name string, o control.ExecOptions, files control.ExecFiles) (control.ExecSession, error) {
	if err := d.CanExec(name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.settings.StartTimeout)
	defer cancel()
	req := execRequest(o)
	req.Stdin, req.Stdout, req.Stderr = files.Stdin, files.Stdout, files.Stderr
	p, terminal, err := d.runtime.StartExec(ctx, name, req)
	if err != nil {
		return nil, d.execError(name, err)
	}
	d.log.Info("command started in container", "container", name, "command", o.Args[0], "pid", p.Pid())
	s := &execSession{p: p, terminal: terminal, done: make(chan struct{}), closed: make(chan struct{})}
	d.spawn(func() { d.watchExec(name, s) })
	return s, nil
}

// watchExec reaps a command, whatever becomes of the request: a zombie that nobody reaps keeps the container from ending.
func (d *Daemon) watchExec(name string, s *execSession) {
	status, err := s.p.Wait(d.ctx)
	if err != nil && d.ctx.Err() == nil {
		d.log.Error("cannot tell how a command in a container ended", "container", name, "pid", s.p.Pid(), "error", err)
	}
	s.exit = exitOf(status)
	close(s.done)
	select {
	case <-s.closed:
	case <-d.ctx.Done():
	}
	if err := s.p.Close(); err != nil {
		d.log.Error("cannot give up a command in a container", "container", name, "error", err)
	}
}

func execRequest(o control.ExecOptions) runtime.ExecRequest {
	req := runtime.ExecRequest{Args: o.Args, Env: o.Env, Dir: o.Dir, User: o.User}
	if o.Terminal != nil {
		req.Terminal = &runtime.TerminalSize{Rows: o.Terminal.Rows, Columns: o.Terminal.Columns}
	}
	return req
}

// execError says in the API's words why a command was not started.
func (d *Daemon) execError(name string, err error) error {
	text := fmt.Errorf("cannot execute in %q: %w", name, err)
	switch {
	case errors.Is(err, runtime.ErrCommandNotFound):
		return &control.Error{Code: control.CodeCommandNotFound, Message: text.Error(),
			Hint: "it is looked up in the container's PATH; an image without a shell has no sh"}
	case errors.Is(err, runtime.ErrCommandNotExecutable):
		return &control.Error{Code: control.CodeNotExecutable, Message: text.Error()}
	case errors.Is(err, supervisor.ErrNotFound): // it has ended since it was looked at
		if err := d.CanExec(name); err != nil {
			return err
		}
		return &control.Error{Code: control.CodeConflict, Message: fmt.Sprintf("%q is not running any more", name)}
	case errors.Is(err, runtime.ErrBadExecRequest):
		return &control.Error{Code: control.CodeUsage, Message: text.Error()}
	}
	return text
}

func exitOf(status supervisor.ExitStatus) control.Exit {
	if !status.Known {
		return control.Exit{Code: -1}
	}
	return control.ExitOf(status.Wait)
}

// execSession is a command that a client has started.
type execSession struct {
	p        *runtime.ExecProcess
	terminal *os.File
	exit     control.Exit // before done
	done     chan struct{}
	closed   chan struct{}
}

func (s *execSession) Process() (*os.File, int, error) {
	pidfd, err := s.p.Pidfd()
	return pidfd, s.p.Pid(), err
}

func (s *execSession) Terminal() *os.File              { return s.terminal }
func (s *execSession) Done() <-chan struct{}           { return s.done }
func (s *execSession) Exit() control.Exit              { return s.exit }
func (s *execSession) Signal(sig syscall.Signal) error { return s.p.Signal(sig) }
func (s *execSession) Hangup() error                   { return s.p.Hangup() }
func (s *execSession) Close()                          { close(s.closed) }
