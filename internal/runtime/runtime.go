package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	gorunc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runcsup/runcsup/supervisor"
)

// Config is what a Runtime needs to know.
type Config struct {
	// Command is the OCI runtime: a name that is looked up in PATH for every call, or a path.
	Command string
	// Root is the runtime's own state directory (its --root), absolute. One directory belongs to one daemon.
	Root string
	// CallDir is for pid files and logs of calls, absolute.
	CallDir string
	// SystemdCgroup makes CgroupsPath give systemd scopes. The driver of a container follows from the form of its
	// linux.cgroupsPath, whatever this says.
	SystemdCgroup bool
	// InstanceID keeps the cgroups of daemons with different run directories apart: empty for the default one, else 8 hex
	// digits.
	InstanceID string
	Keeper     Keeper       // keeps pidfds for the next daemon; nil: they are not kept
	Log        *slog.Logger // nil: nothing is logged
	Observer   Observer     // may be nil
}

// Observer is told of each runtime call when it has ended.
type Observer interface {
	// ObserveRuntimeCall gets what the call was for ("run"), how long it took, and its error, which wraps the context's when
	// it had to be cut short. It must return at once.
	ObserveRuntimeCall(operation string, took time.Duration, err error)
}

// Runtime implements supervisor.Runtime over an OCI runtime's command line.
type Runtime struct {
	cfg    Config
	log    *slog.Logger
	kept   Keeper
	bootID string
	cgroup *hierarchies
	limits limits
	// initialPids says that pids here are those in the kernel's log.
	initialPids bool

	mu    sync.Mutex
	procs map[string]*process // the newest of each container, until it is closed
	pids  map[int]int         // how many processes of ours, not yet known to have ended, have that pid
	calls callLedger

	execs turns

	foreignMu sync.Mutex
	scanned   bool
	foreign   map[string][]foreignCall // runtime calls of an earlier daemon, by container
}

// limits are the durations that bound what Remove and Find do beyond the caller's context.
type limits struct {
	foreign time.Duration // how long an earlier daemon's runtime call may take
	death   time.Duration // from SIGKILL to the end of a process
	delete  time.Duration // one delete call
	state   time.Duration // one state call
	status  time.Duration // for a parent elsewhere to reap a container
}

var _ supervisor.Runtime = (*Runtime)(nil)

// New makes the directories of cfg (mode 0700) and looks up where cgroups are mounted.
func New(cfg Config) (*Runtime, error) {
	if cfg.Command == "" {
		return nil, errors.New("no OCI runtime given")
	}
	for _, dir := range []string{cfg.Root, cfg.CallDir} {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("runtime directory %q is not an absolute path", dir)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make runtime directory: %w", err)
		}
	}
	// The root is compared with other processes' arguments, and given to the runtime, in one spelling.
	cfg.Root, cfg.CallDir = filepath.Clean(cfg.Root), filepath.Clean(cfg.CallDir)
	self, err := openPidfd(os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("this kernel is too old, Linux 5.10 is needed: %w", err)
	}
	if err := self.close(); err != nil {
		return nil, err
	}
	id, err := BootID()
	if err != nil {
		return nil, err
	}
	h, err := mountedHierarchies()
	if err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	kept := cfg.Keeper
	if kept == nil {
		kept = noKeeper{}
	}
	return &Runtime{
		cfg: cfg, log: log, kept: kept, bootID: id, cgroup: h, initialPids: inInitialPidNamespace(),
		limits: limits{
			foreign: 10 * time.Second, death: 10 * time.Second, delete: 15 * time.Second, state: 10 * time.Second,
			status: 10 * time.Second,
		},
		procs: map[string]*process{}, pids: map[int]int{},
	}, nil
}

// containersSlice has the scopes of all containers with systemd's driver.
const containersSlice = "runcsup.slice"

// CgroupsPath is the linux.cgroupsPath for a container whose bundle does not set one.
func (r *Runtime) CgroupsPath(name string) string {
	if r.cfg.SystemdCgroup {
		return containersSlice + ":" + r.cgroupParent() + ":" + name
	}
	return "/" + r.cgroupParent() + "/" + name
}

func (r *Runtime) cgroupParent() string {
	if r.cfg.InstanceID == "" {
		return "runcsup"
	}
	return "runcsup-" + r.cfg.InstanceID
}

// RemoveCgroupParent removes the cgroup above all containers, in every hierarchy in which it exists and is empty. With
// systemd's driver it is a slice, which systemd removes where it manages the hierarchy: there is more to do on v1 alone.
func (r *Runtime) RemoveCgroupParent() error {
	if r.cfg.SystemdCgroup {
		return r.cgroup.at("/" + containersSlice).removeIfEmpty(hierarchy.isController)
	}
	return r.cgroup.at("/" + r.cgroupParent()).removeIfEmpty(func(hierarchy) bool { return true })
}

// IDs are the names of all that the runtime has, running, dead or half-made, in lexical order.
func (r *Runtime) IDs() ([]string, error) {
	entries, err := os.ReadDir(r.cfg.Root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the runtime's containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && checkID(e.Name()) == nil {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Exists implements supervisor.Runtime. A cgroup without any state of the runtime counts: processes may be in it.
func (r *Runtime) Exists(id string) bool {
	return checkID(id) == nil && (r.hasState(id) || r.cgroupOf(id).exists())
}

func (r *Runtime) hasState(id string) bool {
	_, err := os.Lstat(r.stateDir(id))
	return err == nil
}

func (r *Runtime) stateDir(id string) string { return filepath.Join(r.cfg.Root, id) }

// Update implements supervisor.Runtime.
func (r *Runtime) Update(ctx context.Context, id string, res *specs.LinuxResources) error {
	if err := checkID(id); err != nil {
		return err
	}
	if res == nil {
		return nil
	}
	if err := r.settle(ctx, id); err != nil {
		return err
	}
	if !r.hasState(id) {
		return fmt.Errorf("cannot change limits: %w", supervisor.ErrNotFound)
	}
	if r.isCrun(id) {
		res = withoutEndlessQuota(res)
	}
	defer r.begin()()
	return r.call(ctx, id, "update", func(ctx context.Context, rc *gorunc.Runc) error {
		return rc.Update(ctx, id, res)
	})
}

// withoutEndlessQuota replaces the CPU quota -1, which takes a limit away: crun up to 1.9 cannot write it to cgroup v1
// (containers/crun pull request 1186), and later ones make 1 ms of it with systemd on v2 (1794). Ten million CPUs are no
// limit either.
func withoutEndlessQuota(res *specs.LinuxResources) *specs.LinuxResources {
	if res.CPU == nil || res.CPU.Quota == nil || *res.CPU.Quota >= 0 {
		return res
	}
	changed, cpu := *res, *res.CPU
	cpu.Quota = new(int64(1_000_000_000_000))
	cpu.Period = new(uint64(100_000))
	changed.CPU = &cpu
	return &changed
}

// Version is the first line of what the runtime says of its version, such as "runc version 1.1.5". It fails when the
// command is missing or is no OCI runtime.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	if err := r.lookup(); err != nil {
		return "", err
	}
	var out strings.Builder
	cmd := versionCommand(ctx, r.cfg.Command, &out)
	exit, err := gorunc.Monitor.Start(cmd)
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", r.name(), err)
	}
	status, err := gorunc.Monitor.Wait(cmd, exit)
	if err == nil && status != 0 {
		err = &gorunc.ExitError{Status: status}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", r.name(), err)
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	if !strings.Contains(line, "version") {
		return "", fmt.Errorf("%q is no OCI runtime: its --version says %q; install runc or crun, or name one with --runtime",
			r.cfg.Command, excerpt(line))
	}
	return strings.TrimSpace(line), nil
}

func (r *Runtime) name() string { return filepath.Base(r.cfg.Command) }

var validID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

// checkID keeps names that could leave Root or CallDir away from the file system.
func checkID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("%q is no container name", id)
	}
	return nil
}

// callLedger numbers the calls under way, so that the Sweeper can tell that those which might own a zombie are over.
type callLedger struct {
	next uint64
	open map[uint64]struct{}
}

// begin notes that a call is under way, until the returned function is called.
func (r *Runtime) begin() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls.open == nil {
		r.calls.open = map[uint64]struct{}{}
	}
	n := r.calls.next
	r.calls.next++
	r.calls.open[n] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.calls.open, n)
	}
}

// callsBefore tells whether a call that began before mark is still under way.
func (r *Runtime) callsBefore(mark uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.calls.open {
		if n < mark {
			return true
		}
	}
	return false
}

// onlyCall tells whether the caller's is the only call under way.
func (r *Runtime) onlyCall() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls.open) == 1
}

func (r *Runtime) callMark() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls.next
}

func (r *Runtime) current(id string) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.procs[id]
}

func (r *Runtime) track(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.procs[p.id] = p
	r.pids[p.identity.Pid]++
}

// settledPid forgets the pid of a process that was reaped or given up, so that the Sweeper may have it.
func (r *Runtime) settledPid(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pids[pid]--; r.pids[pid] <= 0 {
		delete(r.pids, pid)
	}
}

// trackPid keeps a process that is no container's init from being reaped by others; settledPid ends that.
func (r *Runtime) trackPid(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pids[pid]++
}

func (r *Runtime) forgetProcess(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.procs[p.id] == p {
		delete(r.procs, p.id)
	}
}

func (r *Runtime) tracked(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pids[pid] > 0
}
