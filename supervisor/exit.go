package supervisor

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reasonOf says why an instance ended that nobody here told to.
func reasonOf(s ExitStatus) Reason {
	switch {
	case !s.Known:
		return ReasonUnknown
	case s.Wait.Signaled() && s.OOMKilled:
		return ReasonOOM
	case s.Wait.Signaled():
		return ReasonSignaled
	}
	return ReasonExited
}

// exitOf is the record of an end.
func exitOf(reason Reason, s ExitStatus, at time.Time) *Exit {
	e := &Exit{Reason: reason, Code: -1, At: at.UTC()}
	switch {
	case !s.Known:
	case s.Wait.Signaled():
		e.Signal = signalName(s.Wait.Signal())
	default:
		e.Code = s.Wait.ExitStatus()
	}
	return e
}

// signalName is "KILL" for SIGKILL, and the number for a signal without a name.
func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(s))
}

// inWords says it as a sentence about the container has it.
func (e *Exit) inWords() string {
	switch {
	case e == nil, e.Reason == ReasonUnknown:
		return "has ended"
	case e.Reason == ReasonStartFailed:
		return "could not be started"
	case e.Reason == ReasonOOM:
		return "was killed at its memory limit"
	case e.Reason == ReasonUnhealthy:
		return "was unhealthy"
	case e.Reason == ReasonSignaled:
		return "was ended by SIG" + e.Signal
	case e.Reason == ReasonExited:
		return fmt.Sprintf("exited with code %d", e.Code)
	}
	return "was stopped"
}

// String says in words how an instance ended.
func (e *Exit) String() string {
	switch {
	case e == nil:
		return "never ran"
	case e.Code >= 0:
		return fmt.Sprintf("%s with code %d", e.Reason, e.Code)
	case e.Signal != "":
		return fmt.Sprintf("%s by SIG%s", e.Reason, e.Signal)
	}
	return string(e.Reason)
}
