package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// What StartExec and Exec return, wrapped.
var (
	ErrCommandNotFound      = errors.New("command not found")
	ErrCommandNotExecutable = errors.New("command cannot be executed")
	// ErrBadExecRequest is for a request that makes no sense in any container.
	ErrBadExecRequest = errors.New("wrong request")
)

// ErrNotInTime is what Exec returns, wrapped, when the command ran and did not end before the context did.
var ErrNotInTime = errors.New("did not end in time and was killed")

// ExecRequest says what to execute in a running container. Capabilities, limits, seccomp and all that is not said here are
// those of the container's config.json.
type ExecRequest struct {
	Args []string // the program and its arguments; it is looked up in the container's PATH
	Env  []string // KEY=VALUE, beside those of config.json, which they replace
	Dir  string   // absolute; empty is that of config.json
	User string   // USER[:GROUP], names or numbers, as the container's passwd and group have them; empty is that of config.json
	// Terminal gives the process a terminal of that size, in place of Stdin, Stdout and Stderr.
	Terminal *TerminalSize
	// Files, handed through as they are; nil is /dev/null. The caller closes them.
	Stdin, Stdout, Stderr *os.File
}

// TerminalSize is in characters.
type TerminalSize struct{ Rows, Columns uint16 }

// ExecResult is how a command in a container ended.
type ExecResult struct {
	Status supervisor.ExitStatus
	// Output is the beginning of what it wrote to stdout and stderr.
	Output []byte
	// Truncated says that there was more.
	Truncated bool
}

// Exec executes a command in a running container and waits for its end, as a health check does. It keeps at most output
// bytes of what the command writes, and reads on, so that a command that writes much does not block.
//
// When ctx ends first, all processes of the command's session are killed, whoever became whose child meanwhile, and the
// error wraps the context's; the result has the output until then. What leaves its session (setsid) lives on, as a daemon
// that a check has started would want. When the command has ended by itself, what is left of its process group is killed.
// Nothing of it is left as a zombie of this process.
//
// Starting counts for ctx, and takes some 50 ms of CPU time. The fields Terminal, Stdout and Stderr of req must be nil. A
// container that does not run is supervisor.ErrNotFound; a command that it does not have ErrCommandNotFound or
// ErrCommandNotExecutable. One that ends while the command runs takes the command with it, which then was killed.
func (r *Runtime) Exec(ctx context.Context, id string, req ExecRequest, output int) (ExecResult, error) {
	if req.Terminal != nil || req.Stdout != nil || req.Stderr != nil {
		return ExecResult{}, fmt.Errorf("%w: the output of the command is not the caller's to choose", ErrBadExecRequest)
	}
	rd, wr, err := os.Pipe()
	if err != nil {
		return ExecResult{}, fmt.Errorf("cannot make a pipe: %w", err)
	}
	defer func() { _ = rd.Close() }()
	req.Stdout, req.Stderr = wr, wr
	p, _, err := r.StartExec(ctx, id, req)
	_ = wr.Close()
	if err != nil {
		return ExecResult{}, err
	}
	defer func() { _ = p.Close() }()
	p.endsGroup = true
	kept := make(chan ExecResult, 1)
	go func() { kept <- keepOutput(rd, output) }()

	status, err := p.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		// With a context of its own: what was started is ended, whatever becomes of the caller.
		kctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.death)
		defer cancel()
		err = errors.Join(fmt.Errorf("the command %w: %w", ErrNotInTime, context.Cause(ctx)), p.killSession(kctx))
	}
	// What it wrote is in the pipe by now. Whoever else holds it, in a session of its own, is not waited for.
	_ = rd.SetReadDeadline(time.Now())
	result := <-kept
	drainNow(rd, output, &result)
	result.Status = status
	return result, err
}

// keepOutput reads to the end, or to the deadline, and keeps the first bytes.
func keepOutput(rd *os.File, most int) (kept ExecResult) {
	buf := make([]byte, 4096)
	for {
		n, err := rd.Read(buf)
		kept.keep(buf[:n], most)
		if err != nil {
			return kept
		}
	}
}

func (e *ExecResult) keep(b []byte, most int) {
	n := min(len(b), most-len(e.Output))
	e.Output = append(e.Output, b[:n]...)
	e.Truncated = e.Truncated || n < len(b)
}

// drainNow keeps what a pipe holds at this moment: its capacity at most, or whoever still writes would be read for ever.
func drainNow(rd *os.File, most int, kept *ExecResult) {
	rc, err := rd.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 4096)
	_ = rc.Control(func(fd uintptr) {
		for left := 64 << 10; left > 0; {
			n, err := ignoringEINTRn(func() (int, error) { return unix.Read(int(fd), buf) })
			if n <= 0 || err != nil {
				return
			}
			kept.keep(buf[:n], most)
			left -= n
		}
	})
}

func ignoringEINTRn(f func() (int, error)) (n int, err error) {
	err = ignoringEINTR(func() error {
		n, err = f()
		return err
	})
	return n, err
}
