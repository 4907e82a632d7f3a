package supervisor

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ErrNotFound is what Runtime.Find returns when the runtime has no running container of that name.
var ErrNotFound = errors.New("no such container in the runtime")

// Runtime is the OCI runtime as the supervisor needs it. Every call obeys its context: when that ends, the call ends its
// runtime process with all that belongs to it and returns. Calls for different containers may run side by side; for one
// container the supervisor makes one call at a time.
type Runtime interface {
	// Exists tells, without a runtime call, whether the runtime has anything by that name: running, dead or half-made.
	Exists(id string) bool
	// Run creates and starts a container and returns its init process. After an error something may be left of it, which
	// Remove takes away.
	Run(ctx context.Context, req RunRequest) (Process, error)
	// Find returns the init process of a container that already runs: one that an earlier daemon started. If known is not
	// nil and that very process lives, it is the one, and the runtime is not asked (a runtime that hangs must not cost a
	// running container). Otherwise Find waits for runtime calls of that earlier daemon that are still under way, and asks
	// the runtime. A container that certainly does not run is ErrNotFound, what is left of it is for Remove, and an
	// *EndedError if it is known which instance has ended; any other error means that nobody can tell.
	Find(ctx context.Context, id string, known *Identity) (Process, error)
	// Remove ends whatever is left of a container, all processes in its cgroup included, and makes the runtime forget it.
	// It returns nil only when nothing is left. It is no error if nothing was there.
	Remove(ctx context.Context, id string) error
	// Forget lets go of what the runtime keeps of an ended instance so that a later daemon's Find can tell how it ended. It is
	// called when that is on disk.
	Forget(id string, instance Identity)
	// Update applies limits to a running container.
	Update(ctx context.Context, id string, res *specs.LinuxResources) error
}

// RunRequest is what Runtime.Run starts.
type RunRequest struct {
	ID     string
	Bundle string   // directory
	Stdout *os.File // nil: discarded; the caller closes it
	Stderr *os.File
}

// Process is the init process of a running container. It stays valid after its end, until Close.
type Process interface {
	Identity() Identity
	// StartedAt is when the process started, reckoned from its age, so that it carries a monotonic reading.
	StartedAt() time.Time
	// Wait returns how the process ended, once that is known, or the context's error. It must be called before the
	// container is removed, so that an OOM kill can be told from other signals.
	Wait(ctx context.Context) (ExitStatus, error)
	// Signal sends a signal to the process; it is no error if that has ended.
	Signal(sig syscall.Signal) error
	// KillAll sends SIGKILL to every process of the container.
	KillAll() error
	Close() error
}

// Identity tells a process from every other that ever had its pid.
type Identity struct {
	BootID    string `json:"bootId"`    // /proc/sys/kernel/random/boot_id
	Pid       int    `json:"pid"`       // on the host
	StartTime uint64 `json:"startTime"` // clock ticks after boot, /proc/PID/stat field 22
}

// ExitStatus is what the kernel said of an ended process.
type ExitStatus struct {
	Known     bool               // false: nobody could see it
	Wait      syscall.WaitStatus // if Known
	OOMKilled bool               // ended by SIGKILL, and its cgroup counts an OOM kill of this instance
	// MemoryPeak is the most memory that all of the container's processes used at one time, in bytes; 0 when it could not
	// be read. It may be there when Known is not.
	MemoryPeak uint64
}

// Output is where a container's output goes.
type Output interface {
	// Open returns files for stdout and stderr, nil for discarded ones. The supervisor closes them when the runtime has
	// them.
	Open(name string) (stdout, stderr *os.File, err error)
	// Ended tells that nothing of the container is running any more, so that its last line is one even without an end. It
	// does not wait for anything.
	Ended(name string)
}

// Monitor finds out how running containers are.
type Monitor interface {
	// Watch begins to look after an instance and calls report from any goroutine, first soon with what is known at once,
	// then whenever something of it changed. It is called for containers alone that have probes, or are ready on more than
	// their start. report does not take long, but it may wait for the supervisor, and so must not be called by Watch
	// itself. stop ends the watch and must not wait for a report that is under way; what is reported later changes nothing.
	Watch(in Instance, report func(Report)) (stop func())
}

// Instance is what a Monitor watches.
type Instance struct {
	Spec     *Spec
	Identity Identity
	// StartedAt carries a monotonic reading.
	StartedAt time.Time
	// Adopted: an earlier daemon started it. Ready: it was ready when it was last seen; an adopted instance that was, or one
	// whose probes were changed while it runs, need not come up again.
	Adopted bool
	Ready   bool
}

// Report is how a watched instance is.
type Report struct {
	Health Health
	// Ready: its readiness probe says so, without one its startup probe, with ReadyNotify the container itself. It is true
	// where nothing of that is defined.
	Ready bool
	// Unhealthy is why the liveness or the startup probe says that something must be done, empty when it does not. What is
	// done says OnFailure.
	Unhealthy string
	OnFailure OnFailure
}

// OnFailure is what follows when an instance is found unhealthy.
type OnFailure string

// The consequences.
const (
	OnFailureRestart OnFailure = "restart" // it is ended, and the restart policy goes on from there; empty is the same
	OnFailureNone    OnFailure = "none"    // it is told, and nothing else
	OnFailureStop    OnFailure = "stop"    // it is ended, and not started again before the next boot or by hand
)

// Store keeps what has to outlive the daemon. Calls for one name never overlap.
type Store interface {
	// Load returns the zero Record for a name it does not know.
	Load(name string) (Record, error)
	// Save replaces the record. When durable, it must have reached the disk when Save returns.
	Save(name string, r Record, durable bool) error
	Delete(name string) error
}

// Record is what is kept of one container across daemons.
type Record struct {
	Version int `json:"version"`
	// BootID is the boot in which the record was written. Of an earlier boot's record only EnabledOverride and LastExit count.
	BootID string `json:"bootId"`
	// StoppedByHand lasts until the next boot.
	StoppedByHand bool `json:"stoppedByHand"`
	// EnabledOverride is what enable and disable said, nil when the definition decides.
	EnabledOverride *bool `json:"enabledOverride,omitempty"`
	State           State `json:"state"`
	// Instance is the one that was last seen running, nil when none was.
	Instance  *Identity  `json:"instance,omitempty"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	// Ready and Health are the last that was known of the instance, Unhealthy is set while it is ended because of it.
	Ready     bool       `json:"ready,omitempty"`
	Health    Health     `json:"health,omitempty"`
	Unhealthy *Unhealthy `json:"unhealthy,omitempty"`
	// BoundTo are the instances with which this one ends.
	BoundTo map[string]Identity `json:"boundTo,omitempty"`
	// Done: the task of a one-shot container is done.
	Done        bool        `json:"done,omitempty"`
	Restarts    int         `json:"restarts"`
	Attempt     int         `json:"attempt"`          // consecutive restarts, for the delay
	Starts      []time.Time `json:"starts,omitempty"` // within the start limit's interval
	NextStartAt *time.Time  `json:"nextStartAt,omitempty"`
	LastExit    *Exit       `json:"lastExit,omitempty"`
}

// Unhealthy is why an instance is ended that works no more.
type Unhealthy struct {
	Why   string `json:"why"`
	Final bool   `json:"final,omitempty"` // it is not started again
}

// RecordVersion is the version of Record that this program writes. It grows with every new field: a program that does not know one
// must not forget what it says. Records of all earlier versions are read.
const RecordVersion = 2
