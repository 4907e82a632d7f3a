package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	gorunc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// execCall is one call of the runtime's exec, with a directory for its files.
//
// go-runc's Exec is not used: it writes the process, with all its environment, to a file in /tmp.
type execCall struct {
	r      *Runtime
	id     string
	dir    string
	socket *consoleSocket
}

func (r *Runtime) newExecCall(id string, spec *specs.Process) (*execCall, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the process: %w", err)
	}
	// Not made with its parents: of a container that was just removed nothing shall be left.
	dir, err := os.MkdirTemp(filepath.Join(r.cfg.CallDir, id), "exec-")
	if errors.Is(err, os.ErrNotExist) {
		return nil, supervisor.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the runtime call: %w", err)
	}
	c := &execCall{r: r, id: id, dir: dir}
	if err := os.WriteFile(c.file("process.json"), data, 0o600); err != nil {
		c.clean()
		return nil, fmt.Errorf("cannot write down the process: %w", err)
	}
	return c, nil
}

func (c *execCall) file(name string) string { return filepath.Join(c.dir, name) }
func (c *execCall) pidFile() string         { return c.file("pid") }

func (c *execCall) clean() {
	if c.socket != nil {
		c.socket.close()
	}
	_ = os.RemoveAll(c.dir)
}

func (c *execCall) listen() (err error) {
	c.socket, err = listenConsole(c.file("tty"))
	return err
}

func (c *execCall) master(size TerminalSize) (*os.File, error) {
	f, err := c.socket.receive()
	if err == nil && size.Rows > 0 && size.Columns > 0 {
		// crun does not look at the size in the process's specification. Without one a terminal is of some use still.
		_ = unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Columns})
	}
	return f, err
}

func (c *execCall) args() []string {
	args := []string{"--root", c.r.cfg.Root, "--log", c.file("log"), "--log-format", "json"}
	if c.r.cgroupPathOf(c.id).systemd() {
		args = append(args, "--systemd-cgroup")
	}
	args = append(args, "exec", "--process", c.file("process.json"), "--detach", "--pid-file", c.pidFile())
	if c.socket != nil {
		args = append(args, "--console-socket", c.socket.address)
	}
	return append(args, c.id)
}

func (c *execCall) run(ctx context.Context, req ExecRequest) error {
	if err := c.r.lookup(); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, c.r.cfg.Command, c.args()...)
	cmd.Env = os.Environ()
	// crun starts the command in its own session, by which it is found again.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A nil *os.File in an interface would not be nil.
	if req.Stdin != nil {
		cmd.Stdin = req.Stdin
	}
	if req.Stdout != nil {
		cmd.Stdout = req.Stdout
	}
	if req.Stderr != nil {
		cmd.Stderr = req.Stderr
	}
	begun := time.Now()
	exit, err := gorunc.Monitor.Start(cmd)
	if err == nil {
		var status int
		if status, err = gorunc.Monitor.Wait(cmd, exit); err == nil && status != 0 {
			err = &gorunc.ExitError{Status: status}
		}
	}
	c.r.observe(ctx, "exec", begun, err)
	if err == nil {
		return nil
	}
	var said string
	if log, lerr := os.Open(c.file("log")); lerr == nil {
		said = lastError(log)
		_ = log.Close()
	}
	err = c.r.explain(ctx, "exec", said, err)
	if ctx.Err() != nil {
		return err
	}
	if init, ok := c.r.initPid(c.id); !ok || hasEnded(init) {
		return fmt.Errorf("%w: %w", supervisor.ErrNotFound, err)
	}
	return commandError(req.Args[0], said, err)
}

func hasEnded(pid int) bool {
	st, err := readStat(pid)
	return err != nil || st.state == 'Z'
}

// What runc and crun say of a program that cannot be executed. runc: exec: "x": executable file not found in $PATH;
// exec: "/x": stat /x: no such file or directory; exec: "/x": permission denied. crun: executable file `x` not found[ in
// $PATH]: No such file or directory; the path `/x` exists but it is not executable.
var (
	notFoundText = regexp.MustCompile(
		"executable file not found in \\$PATH|exec: \".*\": (stat|lstat) .*: no such file or directory|executable file `.*` not found|open executable: No such file")
	notExecutableText = regexp.MustCompile(
		"exec: \".*\": (permission denied|is a directory)|exists but it is not executable|executable file `.*`.*: Permission denied|exec format error|open executable: (Permission denied|Operation not permitted)")
)

func commandError(command, said string, err error) error {
	switch {
	case notFoundText.MatchString(said):
		return fmt.Errorf("%w: %q (%w)", ErrCommandNotFound, command, err)
	case notExecutableText.MatchString(said):
		return fmt.Errorf("%w: %q (%w)", ErrCommandNotExecutable, command, err)
	}
	return err
}

// endExecCall ends what is left of a call that has failed or was killed: runtime processes that left its group, and what
// those have started in the container. Other calls for the container go on.
func (r *Runtime) endExecCall(ctx context.Context, c *execCall, cg cgroup, began uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.death)
	defer cancel()
	found, err := r.scanCalls()
	if err != nil {
		return err
	}
	var calls []foreignCall
	for _, cs := range found {
		for _, call := range cs {
			if cmdlineHas(call.pid, c.dir) {
				calls = append(calls, call)
			} else {
				closeCalls([]foreignCall{call})
			}
		}
	}
	err = r.killCalls(ctx, calls)
	closeCalls(calls)
	if err != nil {
		return err
	}
	return r.endStrays(ctx, cg, began)
}

func cmdlineHas(pid int, s string) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(data, []byte(s))
}

// endStrays kills and reaps children of this process that began in the container at that time or later and are nobody's:
// crun leaves one with every failed call. What is about to end is in no cgroup any more; it is taken when no other call is under
// way that may have made it, and is left to the Sweeper otherwise.
func (r *Runtime) endStrays(ctx context.Context, cg cgroup, began uint64) error {
	pids, err := children()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		st, err := readStat(pid)
		if err != nil || st.start < began || st.ppid != os.Getpid() || r.tracked(pid) {
			continue
		}
		if !cg.has(pid) && (!isContainerMember(pid) || !r.onlyCall()) {
			continue
		}
		if err := r.endStray(ctx, pid, st); err != nil {
			return fmt.Errorf("cannot end process %d: %w", pid, err)
		}
	}
	return nil
}

func (r *Runtime) endStray(ctx context.Context, pid int, seen procStat) error {
	fd, st, err := openProcess(pid)
	if err != nil || st.start != seen.start {
		return nil // gone meanwhile
	}
	defer func() { _ = fd.close() }()
	if err := fd.signal(unix.SIGKILL, 0); err != nil {
		return err
	}
	if err := waitDeath(ctx, r.limits.death, fd, pid); err != nil {
		return err
	}
	_, _, err = fd.reap(pid)
	return err
}
