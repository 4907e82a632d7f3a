package supervisor

import "time"

// State is where a container is in its life.
type State string

// The states of a container.
const (
	StateStopped  State = "stopped"  // not wanted: by hand, disabled, or never started
	StateWaiting  State = "waiting"  // for a dependency
	StateStarting State = "starting" // the runtime call is queued or under way
	StateRunning  State = "running"
	StateStopping State = "stopping" // told to end, not yet gone
	StateBackoff  State = "backoff"  // ended or could not start; the next start has a time
	StateExited   State = "exited"   // ended, and the policy says no restart
	StateFailed   State = "failed"   // start limit hit, or not startable
)

// Reason says why an instance ended.
type Reason string

// The reasons for which an instance ends.
const (
	ReasonExited      Reason = "exited"       // by itself, with an exit code
	ReasonSignaled    Reason = "signaled"     // by a signal nobody here sent
	ReasonOOM         Reason = "oom"          // killed by the kernel at its memory limit
	ReasonUnhealthy   Reason = "unhealthy"    // ended here because of its liveness probe
	ReasonStartFailed Reason = "start-failed" // never ran
	ReasonStopped     Reason = "stopped"      // ended here because it was told to
	ReasonUnknown     Reason = "unknown"      // ended while nobody could see how
)

// Health is the verdict of a container's probes.
type Health string

// The verdicts on a container's health.
const (
	HealthNone      Health = "none" // no probes defined
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// Exit is how an instance ended. Its JSON form is part of the control API.
type Exit struct {
	Reason Reason `json:"reason"`
	// Code is the exit code, 0 to 255, and -1 where there is none (ended by a signal, never started, unknown).
	Code int `json:"code"`
	// Signal is the name of the signal that ended it, without SIG ("KILL"), else empty.
	Signal string    `json:"signal"`
	At     time.Time `json:"at"`
}

// Snapshot is a container at one moment. Its JSON form is what `runcsup list -o json` prints.
type Snapshot struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
	State   State  `json:"state"`
	// Pid is that of the container's init process on the host, 0 when none runs.
	Pid int `json:"pid"`
	// Ready: it runs and can be used or, one-shot, its task is done.
	Ready     bool       `json:"ready"`
	Health    Health     `json:"health"`
	StartedAt *time.Time `json:"startedAt"`
	// Restarts counts automatic restarts since the container was last started by hand or at boot.
	Restarts    int        `json:"restarts"`
	NextStartAt *time.Time `json:"nextStartAt"`
	// WaitingFor are the names of what a waiting container waits for.
	WaitingFor []string `json:"waitingFor,omitempty"`
	LastExit   *Exit    `json:"lastExit"`
	// Bundle is the directory of the bundle: the user's for a ready one, else the one that was built.
	Bundle  string `json:"bundle"`
	Adopted bool   `json:"adopted"`
	// Error is what the user should know and mend: a refused definition, the last failed start. Empty when all is well.
	Error string `json:"error"`
	// StatusText is what the container says of itself (sd_notify(3), STATUS=), and Probes what its probes have found. Lists
	// have neither: whoever shows one container adds them.
	StatusText string        `json:"statusText,omitempty"`
	Probes     []ProbeStatus `json:"probes,omitempty"`
}

// ProbeStatus is what is known of one probe of a running instance.
type ProbeStatus struct {
	Probe string `json:"probe"` // startup, liveness or readiness
	Kind  string `json:"kind"`  // exec, http, tcp, grpc or notify
	// Streak is how many successes there were in a row, or, negative, how many failures. Unknown results do not count.
	Streak int `json:"streak"`
	// NextAt is when the next one begins, nil if it is not to be asked now, or nobody asks.
	NextAt *time.Time `json:"nextAt"`
	// Results are the last few, the oldest first.
	Results []ProbeResult `json:"results"`
}

// ProbeResult is what came of one probe.
type ProbeResult struct {
	At      time.Time `json:"at"`      // when it began
	Seconds float64   `json:"seconds"` // how long it took
	Outcome string    `json:"outcome"` // success, failure or unknown
	Output  string    `json:"output"`
}
