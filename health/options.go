package health

import (
	"net/http"
	"time"
)

// Probes is what a container is asked. A nil probe is not there.
type Probes struct {
	// Startup holds the other two back until it has succeeded once.
	Startup *Probe
	// Liveness tells whether the container works, all the time.
	Liveness *Probe
	// Readiness tells whether others can use it. It has no other consequence.
	Readiness *Probe
}

// Role is what a probe is for.
type Role string

// The roles of probes.
const (
	RoleStartup   Role = "startup"
	RoleLiveness  Role = "liveness"
	RoleReadiness Role = "readiness"
)

// Action is what a failed startup or liveness probe leads to.
type Action string

// The actions.
const (
	ActionRestart Action = "restart" // the instance is ended, and the restart policy decides
	ActionNone    Action = "none"    // it is shown, and that is all
	ActionStop    Action = "stop"    // the instance is ended and stays so
)

// Kind is how a probe asks.
type Kind string

// The kinds of probes.
const (
	KindExec   Kind = "exec"
	KindHTTP   Kind = "http"
	KindTCP    Kind = "tcp"
	KindGRPC   Kind = "grpc"
	KindNotify Kind = "notify"
)

// Probe is one question, and what the answers mean. Exactly one of Exec, HTTP, TCP, GRPC and Notify is set.
type Probe struct {
	Exec   []string // a command that ends with code 0
	HTTP   *HTTP
	TCP    *TCP
	GRPC   *GRPC
	Notify bool // no question: the container tells by itself, as sd_notify(3) has it

	// InitialDelay is from the start of the instance to the first probe.
	InitialDelay time.Duration
	// Period is from the beginning of one probe to that of the next. It is 0 with Notify.
	Period time.Duration
	// Timeout is how long an answer may take. With Notify it is how long READY=1 may take (startup) or how far apart two
	// WATCHDOG=1 may be (liveness); 0 for readiness, which has no deadline.
	Timeout time.Duration
	// Failures and Successes are how many of them in a row make the verdict, from 1 on. For startup and liveness Successes
	// is 1, with Notify both are.
	Failures  int
	Successes int
	// OnFailure is for startup and liveness.
	OnFailure Action
}

// HTTP is a request that is answered with a status from MinStatus to MaxStatus. Redirects to the same host are followed; a
// redirect to another one is an answer, as for kubelet. Certificates are not verified.
type HTTP struct {
	Host      string // an IP address or localhost, empty for localhost: as the container sees it
	Port      int
	Path      string // with query, as it is sent; empty is /
	Scheme    string // http or https, empty is http
	Method    string // empty is GET
	Headers   http.Header
	MinStatus int // 0 is 200
	MaxStatus int // 0 is 399
}

// TCP is a connection that can be made.
type TCP struct {
	Host string // as HTTP's
	Port int
}

// GRPC is a question by the standard health service (grpc.health.v1.Health/Check, without TLS) that is answered SERVING.
type GRPC struct {
	Host    string // as HTTP's
	Port    int
	Service string // empty is the server as a whole
}

// Kubernetes' defaults.
const (
	DefaultPeriod    = 10 * time.Second
	DefaultTimeout   = time.Second
	DefaultFailures  = 3
	DefaultSuccesses = 1
	DefaultMinStatus = http.StatusOK
	DefaultMaxStatus = 399
)

// systemd's defaults: TimeoutStartSec=, and what its own services have for WatchdogSec=, shortened to a probe's three
// periods.
const (
	DefaultReadyTimeout    = 90 * time.Second
	DefaultWatchdogTimeout = 30 * time.Second
)

// NewProbe is a probe with the defaults of a role, and no question yet.
func NewProbe(role Role) *Probe {
	p := &Probe{Period: DefaultPeriod, Timeout: DefaultTimeout, Failures: DefaultFailures, Successes: DefaultSuccesses}
	if role != RoleReadiness {
		p.OnFailure = ActionRestart
	}
	return p
}

// Kind returns how the probe asks, empty if it has no question.
func (p *Probe) Kind() Kind {
	switch {
	case p.Notify:
		return KindNotify
	case p.HTTP != nil:
		return KindHTTP
	case p.TCP != nil:
		return KindTCP
	case p.GRPC != nil:
		return KindGRPC
	case len(p.Exec) > 0:
		return KindExec
	}
	return ""
}

// Get returns the probe of a role, nil if there is none.
func (p *Probes) Get(role Role) *Probe {
	switch {
	case p == nil:
		return nil
	case role == RoleStartup:
		return p.Startup
	case role == RoleLiveness:
		return p.Liveness
	}
	return p.Readiness
}

// Empty tells that there is no probe.
func (p *Probes) Empty() bool {
	return p == nil || p.Startup == nil && p.Liveness == nil && p.Readiness == nil
}

// Notified tells whether one of the probes relies on what the container tells by itself.
func (p *Probes) Notified() bool {
	for _, role := range Roles {
		if one := p.Get(role); one != nil && one.Notify {
			return true
		}
	}
	return false
}

// Watchdog is how far apart the container's WATCHDOG=1 may be, 0 if nobody looks at them.
func (p *Probes) Watchdog() time.Duration {
	if one := p.Get(RoleLiveness); one != nil && one.Notify {
		return one.Timeout
	}
	return 0
}

// Roles are all roles, in the order in which they are shown.
var Roles = [...]Role{RoleStartup, RoleLiveness, RoleReadiness}
