package control

import (
	"errors"
	"net/http"

	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/supervisor"
)

// Code tells programs what went wrong.
type Code string

// The codes of an Error.
const (
	CodeUsage            Code = "usage"              // the request makes no sense
	CodeNoSuchContainer  Code = "no-such-container"  //
	CodeNoSuchRoute      Code = "no-such-route"      //
	CodeMethodNotAllowed Code = "method-not-allowed" //
	CodeConflict         Code = "conflict"           // not in the state the container is in
	CodeStartLimit       Code = "start-limit"        // started too often; ResetFailed helps
	CodeRefused          Code = "refused"            // the definition has errors
	CodeCommandNotFound  Code = "command-not-found"  // the container has no such program
	CodeNotExecutable    Code = "not-executable"     // the container's file is no program
	CodeFailed           Code = "failed"             // it was tried, and did not work
	CodeInternal         Code = "internal"           // a fault of the daemon
	CodeUnavailable      Code = "unavailable"        // the daemon is going down
	CodeTooSlow          Code = "too-slow"           // a stream was cut off because its reader is slower than the events come

	// The rest comes from the client alone.
	CodeNoDaemon   Code = "no-daemon"  // nobody listens on the socket
	CodePermission Code = "permission" // the socket is not for this user
)

// Error is an error that travels over the control API.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do about it
}

func (e *Error) Error() string { return e.Message }

// errorBody is the body of every answer that is not a success.
type errorBody struct {
	Error *Error `json:"error"`
}

// asError turns what a backend returned into what the client gets: the message of the whole, and code and hint by the
// *Error inside or by the supervisor's errors.
func asError(err error) *Error {
	answer := &Error{Code: CodeFailed, Message: err.Error()}
	var (
		own        *Error
		startLimit *supervisor.StartLimitError
		notRunning *supervisor.NotRunningError
	)
	switch {
	case errors.As(err, &own):
		answer.Code, answer.Hint = own.Code, own.Hint
	case errors.As(err, &startLimit):
		answer.Code, answer.Hint = CodeStartLimit, "mend what ends it, then: runcsup reset-failed "+startLimit.Name
	case errors.As(err, &notRunning):
		answer.Code = CodeConflict
	case errors.Is(err, supervisor.ErrNoContainer):
		answer.Code, answer.Hint = CodeNoSuchContainer, "runcsup list shows all"
	case errors.Is(err, supervisor.ErrClosed), errors.Is(err, history.ErrEnded):
		answer.Code = CodeUnavailable
	case errors.Is(err, history.ErrTooSlow):
		answer.Code, answer.Hint = CodeTooSlow, "ask again with after= and the id of the last one"
	}
	return answer
}

func (e *Error) status() int {
	switch e.Code {
	case CodeUsage:
		return http.StatusBadRequest
	case CodeNoSuchContainer, CodeNoSuchRoute:
		return http.StatusNotFound
	case CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case CodeConflict, CodeStartLimit:
		return http.StatusConflict
	case CodeRefused, CodeCommandNotFound, CodeNotExecutable:
		return http.StatusUnprocessableEntity
	case CodeUnavailable, CodeTooSlow:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}
