package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	gorunc "github.com/containerd/go-runc"

	"github.com/runcsup/runcsup/supervisor"
)

// Run implements supervisor.Runtime.
//
// The container has its own stdout and stderr from the runtime, so that what a failing runtime prints there is in the
// container's output as well; the error is from the runtime's log.
func (r *Runtime) Run(ctx context.Context, req supervisor.RunRequest) (supervisor.Process, error) {
	if err := checkID(req.ID); err != nil {
		return nil, err
	}
	if err := r.settle(ctx, req.ID); err != nil {
		return nil, err
	}
	defer r.begin()()
	path, err := bundleCgroupPath(req.Bundle)
	if err != nil {
		return nil, err
	}
	cg := r.cgroup.at(path.dir())
	if err := r.claim(req.ID, path, cg); err != nil {
		return nil, err
	}
	oomKills, _ := cg.oomKills() // of a cgroup that was there already; else 0
	var pidFile string
	defer func() { _ = os.Remove(pidFile) }()
	err = r.call(ctx, req.ID, "run", func(ctx context.Context, rc *gorunc.Runc) error {
		pidFile = rc.Log + ".pid" // as much this call's own as the log
		_, err := rc.Run(ctx, req.ID, req.Bundle, &gorunc.CreateOpts{
			IO: stdio{stdout: req.Stdout, stderr: req.Stderr}, Detach: true, PidFile: pidFile,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	p, err := r.started(ctx, req.ID, cg, pidFile, oomKills)
	if err != nil {
		return nil, fmt.Errorf("%s run: the runtime said that all went well, but %w", r.name(), err)
	}
	return p, nil
}

// claim makes sure that a cgroup is free, and remembers it for the container. A cgroup that is in use is never remembered:
// Remove kills whatever is in the one that is.
func (r *Runtime) claim(id string, path cgroupPath, cg cgroup) error {
	if err := cg.guard(); err != nil {
		return err
	}
	pids, err := cg.pids()
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return fmt.Errorf("cgroup %s is in use by process %s", cg.path, describe(pids))
	}
	return r.rememberCgroup(id, path)
}

// started is the process that the runtime wrote into the pid file.
func (r *Runtime) started(ctx context.Context, id string, cg cgroup, pidFile string, oomKills uint64) (*process, error) {
	pid, fd, st, err := r.identifyStarted(ctx, cg, pidFile)
	if err != nil {
		return nil, err
	}
	return r.watch(id, cg, pid, fd, st, oomKills), nil
}

// identifyStarted opens the process that the runtime wrote into the pid file. It may have ended already: as subreaper this
// process is its parent, so it is still there as a zombie.
func (r *Runtime) identifyStarted(ctx context.Context, cg cgroup, pidFile string) (int, *pidfd, procStat, error) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, nil, procStat{}, fmt.Errorf("it wrote no pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 || pid == os.Getpid() {
		return 0, nil, procStat{}, fmt.Errorf("it wrote no pid into its pid file: %q", excerpt(string(data)))
	}
	fd, st, err := openProcess(pid)
	if err != nil {
		return 0, nil, procStat{}, fmt.Errorf("there is no process %d, which it wrote into its pid file: %w", pid, err)
	}
	if !r.belongs(ctx, pid, fd, st, cg) {
		_ = fd.close()
		return 0, nil, procStat{}, fmt.Errorf("process %d, which it wrote into its pid file, is not of this container", pid)
	}
	return pid, fd, st, nil
}

// belongs tells whether a process was made by the call that has just ended: it is a child of this process that no other
// Process watches, or it is in the container's cgroup.
func (r *Runtime) belongs(ctx context.Context, pid int, fd *pidfd, st procStat, cg cgroup) bool {
	if r.tracked(pid) {
		return false
	}
	if st.ppid == os.Getpid() || cg.has(pid) {
		return true
	}
	// A container that has ended is in no cgroup any more.
	return awaitWorker(ctx, fd, pid, time.Second) && parentOf(pid) == os.Getpid()
}

// awaitWorker waits for the end of a process's parent, if that is a child of this process: the one by which crun starts a
// container, which may outlive crun for a moment. ok is false when there is no such thing to wait for, or no end of it.
func awaitWorker(ctx context.Context, fd *pidfd, pid int, limit time.Duration) (ok bool) {
	ppid := parentOf(pid)
	if ppid <= 1 || !fd.unreaped() {
		return false
	}
	if ppid == os.Getpid() {
		return true // since just now
	}
	parent, st, err := openProcess(ppid)
	if err != nil {
		return parentOf(pid) == os.Getpid() && fd.unreaped()
	}
	defer func() { _ = parent.close() }()
	if st.ppid != os.Getpid() {
		return false
	}
	return waitDeath(ctx, limit, parent, ppid) == nil
}

// parentOf is 0 when the process is gone.
func parentOf(pid int) int {
	st, err := readStat(pid)
	if err != nil {
		return 0
	}
	return st.ppid
}

// bundleCgroupPath reads linux.cgroupsPath of a bundle's config.json.
func bundleCgroupPath(bundle string) (cgroupPath, error) {
	file := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the bundle: %w", err)
	}
	var config struct {
		Linux struct {
			CgroupsPath cgroupPath `json:"cgroupsPath"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", file, err)
	}
	if err := config.Linux.CgroupsPath.check(); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return config.Linux.CgroupsPath, nil
}

// forget takes away what this package itself has written for a container.
func (r *Runtime) forget(id string) error {
	err := os.RemoveAll(filepath.Join(r.cfg.CallDir, id))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove files of runtime calls: %w", err)
	}
	return nil
}

// stdio is a go-runc IO that hands files through; nil ones, and stdin, are /dev/null.
type stdio struct{ stdout, stderr *os.File }

func (s stdio) Set(cmd *exec.Cmd) {
	// A nil *os.File in an interface would not be nil.
	if s.stdout != nil {
		cmd.Stdout = s.stdout
	}
	if s.stderr != nil {
		cmd.Stderr = s.stderr
	}
}

func (stdio) Close() error          { return nil }
func (stdio) Stdin() io.WriteCloser { return nil }
func (stdio) Stdout() io.ReadCloser { return nil }
func (stdio) Stderr() io.ReadCloser { return nil }
