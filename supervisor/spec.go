package supervisor

import (
	"context"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Spec is one container as it shall run.
type Spec struct {
	Name    string
	Enabled bool
	// Hash identifies everything that only a new instance can take over. Two specs with one hash run the same container.
	Hash string
	// Resources are the limits that can be applied to a running instance; they are no part of Hash. Nil means none.
	Resources *specs.LinuxResources
	Bundle    Bundle
	Restart   RestartPolicy
	Stop      StopPolicy
	Ready     ReadyPolicy
	Order     Order
	// Oneshot: the container has a task that ends. It is up once it has ended cleanly, and stays so until it is stopped.
	Oneshot bool
	// Health is for the Monitor, nil without probes.
	Health Probes
}

// Probes is what a definition asks of a running container. The supervisor does not look into it, but compares.
type Probes interface {
	// Empty tells that there is no probe; it can be asked of a nil pointer.
	Empty() bool
}

// ReadyOn is what makes a running container ready for those that wait for it.
type ReadyOn string

// What a container can be ready on.
const (
	ReadyStarted ReadyOn = "started" // it runs; empty is the same
	ReadyNotify  ReadyOn = "notify"  // it has said READY=1, as sd_notify(3) has it
	ReadyProbe   ReadyOn = "probe"   // its readiness probe succeeds or, without one, its startup probe has
)

// ReadyPolicy says when a container counts as up.
type ReadyPolicy struct {
	On ReadyOn
	// Timeout is how long after its start an instance may take, 0 for ever. It is not ended then, but is called late.
	Timeout time.Duration
}

// gated tells whether more than a start is needed.
func (p ReadyPolicy) gated() bool { return p.On == ReadyNotify || p.On == ReadyProbe }

// DefaultReadyTimeout is systemd's DefaultTimeoutStartSec=.
const DefaultReadyTimeout = 90 * time.Second

// Bundle is a bundle that was built and checked, and is put in place when the instance before it has ended.
type Bundle interface {
	// Install puts the bundle in place and returns its directory, for the runtime. It is called before every start, with
	// no instance alive, and does nothing that is done already.
	Install(ctx context.Context) (dir string, err error)
	// Released is called after an instance ended and the runtime has forgotten it: what Install made for that instance
	// alone (copies of secrets) goes.
	Released() error
	// Path is the directory that users know the bundle by.
	Path() string
}

// StopPolicy says how an instance is ended.
type StopPolicy struct {
	Signal  syscall.Signal // sent to the container's init
	Timeout time.Duration  // until SIGKILL to the whole cgroup; 0 sends that at once
}

// DefaultStopPolicy is SIGTERM and ten seconds, as docker has it.
func DefaultStopPolicy() StopPolicy {
	return StopPolicy{Signal: syscall.SIGTERM, Timeout: 10 * time.Second}
}

// RestartMode is when a container is restarted, in systemd's words (systemd.service(5), Restart=).
type RestartMode string

// The restart modes.
const (
	RestartAlways     RestartMode = "always"
	RestartOnFailure  RestartMode = "on-failure"
	RestartOnSuccess  RestartMode = "on-success"
	RestartOnAbnormal RestartMode = "on-abnormal"
	RestartOnAbort    RestartMode = "on-abort"
	RestartNo         RestartMode = "no"
)

// RestartPolicy says whether and when an ended container is started again.
type RestartPolicy struct {
	Mode RestartMode
	// Delay is before the first restart; MaxDelay before the Steps+1st and all later ones. Steps 0 keeps Delay for ever.
	Delay    time.Duration
	MaxDelay time.Duration
	Steps    int
	// Jitter is the largest part of the delay that is added to it, 0 to 1.
	Jitter float64
	// ResetAfter is how long an instance has to run for the delays to begin anew. 0: never.
	ResetAfter time.Duration
	Limit      StartLimit
	// PreventStatuses never restart, ForceStatuses always do (in this order), SuccessStatuses count as a clean end.
	PreventStatuses StatusSet
	ForceStatuses   StatusSet
	SuccessStatuses StatusSet
}

// StartLimit ends in StateFailed a container that was started Burst times within Interval. Burst 0: no limit.
type StartLimit struct {
	Burst    int
	Interval time.Duration
}

// StatusSet is a set of exit codes and signals.
type StatusSet struct {
	Codes   []int            // 0 to 255
	Signals []syscall.Signal // that ended the process
}

// DefaultRestartPolicy is what a definition without `restart:` gets: always, 15s growing in 5 steps to 5m with 10%
// jitter, from the beginning after a run of 10m, no start limit.
func DefaultRestartPolicy() RestartPolicy {
	return RestartPolicy{
		Mode: RestartAlways, Delay: 15 * time.Second, MaxDelay: 5 * time.Minute, Steps: 5, Jitter: 0.1,
		ResetAfter: 10 * time.Minute,
	}
}
