package supervisor

import (
	"math"
	"slices"
	"syscall"
	"time"
)

// outcome is how an instance ended, as far as the restart policy tells ends apart.
type outcome int

const (
	outcomeClean         outcome = iota // exit 0, a clean signal, or a success status
	outcomeUncleanExit                  // any other exit code
	outcomeUncleanSignal                // any other signal, core dumps included
	outcomeAbnormal                     // OOM kill, failed start, unhealthy, unknown: nothing the program said
)

// cleanSignals end a service without failure, as in systemd.service(5), SuccessExitStatus=.
var cleanSignals = []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE}

// end is an ended instance: the reason, and the wait status where the kernel gave one.
type end struct {
	reason Reason
	status ExitStatus
}

// outcome sorts an end for the policy's success statuses.
func (p RestartPolicy) outcome(e end) outcome {
	switch e.reason {
	case ReasonOOM, ReasonStartFailed, ReasonUnhealthy, ReasonUnknown:
		return outcomeAbnormal
	}
	if !e.status.Known {
		return outcomeAbnormal
	}
	w := e.status.Wait
	switch {
	case p.SuccessStatuses.has(e.status):
		return outcomeClean
	case w.Signaled() && !w.CoreDump() && slices.Contains(cleanSignals, w.Signal()):
		return outcomeClean
	case w.Signaled():
		return outcomeUncleanSignal
	case w.ExitStatus() == 0:
		return outcomeClean
	}
	return outcomeUncleanExit
}

// restarts tells whether the policy starts the container again after this end. The order is systemd's: statuses that
// prevent, statuses that force, then the mode (service_shall_restart in systemd's src/core/service.c). Whether the
// container was stopped by hand is decided before.
func (p RestartPolicy) restarts(e end) bool {
	if p.PreventStatuses.has(e.status) {
		return false
	}
	if p.ForceStatuses.has(e.status) {
		return true
	}
	o := p.outcome(e)
	switch p.Mode {
	case RestartAlways:
		return true
	case RestartOnSuccess:
		return o == outcomeClean
	case RestartOnFailure:
		return o != outcomeClean
	case RestartOnAbnormal:
		return o == outcomeUncleanSignal || o == outcomeAbnormal
	case RestartOnAbort:
		return o == outcomeUncleanSignal
	}
	return false
}

// delay is the wait before the nth restart in a row, n from 1, without jitter: systemd's curve for RestartSteps= and
// RestartMaxDelaySec= (service_restart_usec_next in src/core/service.c).
func (p RestartPolicy) delay(n int) time.Duration {
	if n <= 1 || p.Steps <= 0 || p.MaxDelay <= p.Delay {
		return p.Delay
	}
	if n > p.Steps {
		return p.MaxDelay
	}
	// A delay of nothing has no ratio to grow by: begin at a millisecond.
	r0 := min(max(p.Delay, time.Millisecond), p.MaxDelay)
	return time.Duration(float64(r0) * math.Pow(float64(p.MaxDelay)/float64(r0), float64(n-1)/float64(p.Steps)))
}

// jittered lengthens a delay by a part of itself, up to Jitter; random is in [0, 1). It never shortens: nobody is
// started earlier than the definition asks.
func (p RestartPolicy) jittered(d time.Duration, random float64) time.Duration {
	return d + time.Duration(float64(d)*p.Jitter*random)
}

// has tells whether a known status is in the set.
func (s StatusSet) has(e ExitStatus) bool {
	switch {
	case !e.Known:
		return false
	case e.Wait.Signaled():
		return slices.Contains(s.Signals, e.Wait.Signal())
	}
	return slices.Contains(s.Codes, e.Wait.ExitStatus())
}
