package control

import (
	"context"
	"encoding/json"
	"syscall"

	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/logs"
	"github.com/runcsup/runcsup/supervisor"
)

// Backend is the daemon as the control API needs it. Its methods may be called side by side. They obey their context in
// that they return when it ends; what was begun for a container goes on nevertheless. An error that wraps an *Error gives
// its code and hint to the caller; errors of package supervisor have codes of their own (ErrNoContainer is
// CodeNoSuchContainer); all others are CodeFailed.
type Backend interface {
	// List returns all containers; the order is of no importance.
	List() []supervisor.Snapshot
	Get(name string) (supervisor.Snapshot, error)
	// Graph returns the order of all containers.
	Graph() []GraphNode

	// Start returns when the container runs or this attempt has definitely failed. One that runs stays as it is.
	Start(ctx context.Context, name string) error
	// Stop returns when nothing of the container is left running.
	Stop(ctx context.Context, name string) error
	// Restart stops what runs and starts it anew; it returns as Start does.
	Restart(ctx context.Context, name string) error
	// Kill sends a signal to the container's init or, with all, to each of its processes.
	Kill(ctx context.Context, name string, signal syscall.Signal, all bool) error
	// TakeOver takes over a running container that somebody else has started, and writes its definition. After an error
	// nothing has changed.
	TakeOver(ctx context.Context, name string, o TakeOverOptions) error
	// CanExec tells why nothing can be executed in the container now.
	CanExec(name string) error
	// Exec executes a command in the container and returns when it has ended. With ctx it is killed.
	Exec(ctx context.Context, name string, o ExecOptions) (Executed, error)
	// StartExec starts a command in the container. It goes on when ctx ends.
	StartExec(ctx context.Context, name string, o ExecOptions, files ExecFiles) (ExecSession, error)
	// Enable makes the container start with the daemon, and starts it now if told to.
	Enable(ctx context.Context, name string, now bool) error
	// Disable keeps the container from starting with the daemon, and stops it now if told to.
	Disable(ctx context.Context, name string, now bool) error
	// ResetFailed forgets counted starts and delays; a failed container becomes a stopped one.
	ResetFailed(ctx context.Context, name string) error

	// Reload applies what changed on disk, for all containers if names is empty. It returns a Change for each container
	// it looked at; the error is for what is not about a single one.
	Reload(ctx context.Context, names []string) ([]Change, error)
	// Diff returns what Reload would do, and does nothing.
	Diff(ctx context.Context, names []string) ([]Change, error)

	// Stats returns what running containers use now, for all if names is empty. Those that do not run are left out.
	Stats(names []string) ([]Stats, error)

	// Logs calls yield with lines of a container's output, oldest first, until the context ends or yield fails. Text is
	// valid during the call alone.
	Logs(ctx context.Context, name string, q logs.Query, yield func(logs.Line) error) error

	// History returns what happened to a container, oldest first.
	History(name string, q history.Query) ([]history.Entry, error)
	// Events calls yield with what happened to the containers and the daemon, oldest first, and with follow also with
	// what happens, until the context ends or yield fails. history.ErrTooSlow is that yield took too long.
	Events(ctx context.Context, q history.Query, follow bool, yield func(history.Entry) error) error

	Show(name string) (Shown, error)
	// Build builds the container's bundle without starting anything and returns its directory.
	Build(ctx context.Context, name string) (path string, err error)
	Version() VersionInfo

	// Reexec makes the daemon replace itself by the program on disk, soon after it has returned. An error is that this one
	// stays, which it also is when that program cannot go on from its state. With ifChanged nothing is done when that is
	// the program which runs.
	Reexec(ctx context.Context, ifChanged bool) (Reexec, error)
}

// The actions of a Change. Diff uses the same words for what would happen.
const (
	ActionUnchanged = "unchanged"
	ActionAdded     = "added"     // known now, not started
	ActionStarted   = "started"   // known now or mended, and started
	ActionRestarted = "restarted" // what runs is of the new definition
	ActionUpdated   = "updated"   // limits applied to what runs
	ActionChanged   = "changed"   // applies at the next start
	ActionRemoved   = "removed"   // the definition is gone; stopped and forgotten
	ActionRefused   = "refused"   // the definition has errors; the container is as it was
)

// Change is what a reload did, or would do, with one container.
type Change struct {
	Name   string   `json:"name"`
	Action string   `json:"action"`
	Why    []string `json:"why"`   // what changed ("env TZ changed"); never secret values
	Error  string   `json:"error"` // for refused: what is to be mended, of several lines; else why the action failed
}

// Shown is a container's definition.
type Shown struct {
	Name       string          `json:"name"`
	File       string          `json:"file"`       // absolute path of the definition
	Definition string          `json:"definition"` // its text as it is in effect
	Effective  json.RawMessage `json:"effective"`  // the same with all defaults filled in
	Error      string          `json:"error"`      // why the file's present text is not in effect; empty when it is
}

// VersionInfo tells which program this is.
type VersionInfo struct {
	Version   string `json:"version"`
	Commit    string `json:"commit"`    // of the source, "-dirty" behind it if that was changed; may be empty
	BuildDate string `json:"buildDate"` // RFC 3339; may be empty
	Go        string `json:"go"`        // "go1.26.8"
	Platform  string `json:"platform"`  // "linux/amd64"
	// Runtime and Pid are of a daemon.
	Runtime string `json:"runtime,omitempty"` // "runc 1.1.5"
	Pid     int    `json:"pid,omitempty"`
	// Ready is whether a daemon has taken over, and started, all that is to run.
	Ready bool `json:"ready,omitempty"`
	// Reexecs is how often a daemon was told to replace itself, which leaves its pid as it is. ReexecError is why the last one
	// of those left the one before.
	Reexecs     int    `json:"reexecs,omitempty"`
	ReexecError string `json:"reexecError,omitempty"`
	// Metrics are the addresses of a daemon's metrics.
	Metrics []WebAddress `json:"metrics,omitempty"`
}

// WebAddress is an address at which the daemon serves metrics, or would.
type WebAddress struct {
	Address string `json:"address"` // "127.0.0.1:10920"
	Error   string `json:"error"`   // why it does not; empty when it does
}
