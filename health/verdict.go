package health

// Health is the verdict of the startup and the liveness probe.
type Health string

// The verdicts.
const (
	None      Health = "none" // neither probe is there
	Starting  Health = "starting"
	Healthy   Health = "healthy"
	Unhealthy Health = "unhealthy"
)

// Outcome is what came of one probe.
type Outcome string

// The outcomes.
const (
	Success Outcome = "success"
	Failure Outcome = "failure"
	Unknown Outcome = "unknown" // it could not be carried out: counts neither way
)

// Status is how an instance is, as its probes see it.
type Status struct {
	Health Health
	// Ready is that startup is over, the readiness probe succeeds and, where that is asked for, READY=1 was said. What is
	// not there does not count.
	Ready bool
	// Unhealthy is why the instance has failed its startup or liveness probe, empty as long as it has not. With an Action
	// other than ActionNone it stays so, and no further probe runs.
	Unhealthy string
	Action    Action // what that leads to
	// Message is the container's last STATUS=, bounded and printable.
	Message string
}

// State is what has to be known of an instance for another engine to go on with it. The zero value is a fresh one.
type State struct {
	Started  bool   `json:"started"`  // startup is over
	Ready    bool   `json:"ready"`    // as the readiness probe has it
	Notified bool   `json:"notified"` // READY=1 was said, and no STOPPING=1 since
	Stopping bool   `json:"stopping"` // STOPPING=1 was said
	Health   Health `json:"health"`
	Message  string `json:"message,omitempty"`
}

// verdict turns outcomes into a Status. It reads no clock and calls nothing.
type verdict struct {
	probes *Probes
	// readyOnNotify: the instance is not ready before READY=1.
	readyOnNotify bool

	state  State
	streak map[Role]int // successes in a row, negative for failures
	why    string
	action Action
	over   bool // an action is due, nothing counts any more
}

func newVerdict(probes *Probes, readyOnNotify bool, state State) *verdict {
	v := &verdict{probes: probes, readyOnNotify: readyOnNotify, state: state, streak: map[Role]int{}}
	if probes.Get(RoleStartup) == nil {
		v.state.Started = true
	}
	if v.state.Health == "" {
		v.state.Health = Starting
	}
	return v
}

// active tells whether the probe of a role is to be asked now.
func (v *verdict) active(role Role) bool {
	p := v.probes.Get(role)
	switch {
	case p == nil, v.over:
		return false
	case role == RoleStartup:
		return !v.state.Started
	case role == RoleLiveness && p.Notify && (v.state.Stopping || v.readyOnNotify && !v.state.Notified):
		return false // as for systemd, the watchdog's time is from READY=1 to STOPPING=1
	}
	return v.state.Started
}

// take counts an outcome; why tells of a failure.
func (v *verdict) take(role Role, o Outcome, why string) {
	if o == Unknown || !v.active(role) {
		return
	}
	p, n := v.probes.Get(role), v.streak[role]
	if o == Success {
		n = max(n, 0) + 1
	} else {
		n = min(n, 0) - 1
	}
	v.streak[role] = n
	switch {
	case n >= p.Successes:
		v.succeed(role)
	case -n >= p.Failures && role == RoleReadiness:
		v.state.Ready = false
	case -n >= p.Failures:
		v.state.Health, v.why, v.action = Unhealthy, string(role)+" probe: "+oneLine(why, maxWhy), p.OnFailure
		v.over = v.action != ActionNone
	}
}

func (v *verdict) succeed(role Role) {
	if role == RoleReadiness {
		v.state.Ready = true
		return
	}
	v.why, v.action = "", ""
	if role == RoleStartup {
		v.state.Started = true
		v.state.Health = Starting // of the liveness probe, if there is one
		if v.probes.Liveness != nil {
			return
		}
	}
	v.state.Health = Healthy
}

// status is the verdict as it is now.
func (v *verdict) status() Status {
	s := Status{Health: v.state.Health, Unhealthy: v.why, Action: v.action, Message: v.state.Message, Ready: v.state.Started && !v.over}
	p := v.probes.Get(RoleReadiness)
	if p != nil && !p.Notify {
		s.Ready = s.Ready && v.state.Ready
	}
	if v.readyOnNotify || p != nil && p.Notify {
		s.Ready = s.Ready && v.state.Notified
	}
	if v.probes.Get(RoleStartup) == nil && v.probes.Get(RoleLiveness) == nil {
		s.Health = None
	}
	return s
}
