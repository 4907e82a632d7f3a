package supervisor

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoContainer is the answer for a name that the supervisor does not know.
var ErrNoContainer = errors.New("no such container")

// ErrClosed is the answer of a supervisor that ends.
var ErrClosed = errors.New("the daemon is shutting down")

// StartLimitError is the answer to a start that the start limit forbids.
type StartLimitError struct {
	Name  string
	Limit StartLimit
}

func (e *StartLimitError) Error() string {
	return fmt.Sprintf("cannot start %q: it was started %d times within %s", e.Name, e.Limit.Burst, e.Limit.Interval)
}

// Error says why the instance is ended.
func (u *Unhealthy) Error() string { return "unhealthy: " + u.Why }

// DependencyError says why a container waits in vain for others.
type DependencyError struct {
	Text string
	// Root is the first of them that does not merely wait itself, and what is the matter with it: `"db", which has failed`.
	Root string
}

func (e *DependencyError) Error() string { return e.Text }

// LateError says that a container runs, but was not ready in time.
type LateError struct {
	Name    string
	Timeout time.Duration
}

func (e *LateError) Error() string {
	return fmt.Sprintf("%q runs, but was not ready within %s", e.Name, e.Timeout)
}

// NotRunningError is the answer to what only a running container can take.
type NotRunningError struct {
	Name  string
	State State
}

func (e *NotRunningError) Error() string {
	return fmt.Sprintf("%q is not running: it is %s", e.Name, e.State)
}
