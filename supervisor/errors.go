package supervisor

import (
	"errors"
	"fmt"
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

// NotRunningError is the answer to what only a running container can take.
type NotRunningError struct {
	Name  string
	State State
}

func (e *NotRunningError) Error() string {
	return fmt.Sprintf("%q is not running: it is %s", e.Name, e.State)
}
