package control

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

type route struct {
	method string
	path   string
	handle func(*Server, request) (answer, error)
}

// routes are all there are. docs/api.md describes each.
var routes = []route{
	{http.MethodGet, "/v1/version", (*Server).version},
	{http.MethodGet, "/v1/containers", (*Server).list},
	{http.MethodGet, "/v1/containers/{name}", (*Server).get},
	{http.MethodGet, "/v1/containers/{name}/definition", (*Server).show},
	{http.MethodGet, "/v1/stats", (*Server).stats},
	{http.MethodGet, "/v1/graph", (*Server).graph},
	{http.MethodPost, "/v1/containers/{name}/start", action(Backend.Start)},
	{http.MethodPost, "/v1/containers/{name}/stop", action(Backend.Stop)},
	{http.MethodPost, "/v1/containers/{name}/restart", action(Backend.Restart)},
	{http.MethodPost, "/v1/containers/{name}/kill", (*Server).kill},
	{http.MethodPost, "/v1/containers/{name}/take-over", (*Server).takeOver},
	{http.MethodPost, "/v1/containers/{name}/exec", (*Server).exec},
	{http.MethodPost, "/v1/containers/{name}/enable", enabling(Backend.Enable)},
	{http.MethodPost, "/v1/containers/{name}/disable", enabling(Backend.Disable)},
	{http.MethodPost, "/v1/containers/{name}/reset-failed", (*Server).resetFailed},
	{http.MethodPost, "/v1/containers/{name}/build", (*Server).build},
	{http.MethodPost, "/v1/reload", (*Server).reload},
	{http.MethodGet, "/v1/diff", (*Server).diff},
	{http.MethodPost, "/v1/reexec", (*Server).reexec},
	{http.MethodGet, "/v1/containers/{name}/logs", (*Server).logs},
	{http.MethodGet, "/v1/containers/{name}/history", (*Server).history},
	{http.MethodGet, "/v1/events", (*Server).events},
}

// The bodies of requests.
type (
	// actionOptions are of start, stop and restart.
	actionOptions struct {
		Wait *bool `json:"wait,omitempty"` // nil is true
	}
	killOptions struct {
		Signal string `json:"signal,omitempty"` // empty is TERM
		All    bool   `json:"all,omitempty"`
	}
	// enableOptions are of enable and disable.
	enableOptions struct {
		Now bool `json:"now,omitempty"`
	}
	reloadOptions struct {
		Names []string `json:"names,omitempty"` // empty is all
	}
)

// built is the answer of build.
type built struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

func (s *Server) version(request) (answer, error) {
	return answer{value: s.backend.Version()}, nil
}

func (s *Server) list(r request) (answer, error) {
	snapshots := []supervisor.Snapshot{}
	if names := r.URL.Query()["name"]; len(names) > 0 {
		for _, name := range names {
			snapshot, err := s.backend.Get(name)
			if err != nil {
				return answer{}, err
			}
			snapshots = append(snapshots, forWire(snapshot))
		}
		return answer{value: snapshots}, nil
	}
	for _, snapshot := range s.backend.List() {
		snapshots = append(snapshots, forWire(snapshot))
	}
	slices.SortFunc(snapshots, func(a, b supervisor.Snapshot) int { return cmp.Compare(a.Name, b.Name) })
	return answer{value: snapshots}, nil
}

func (s *Server) get(r request) (answer, error) { return s.snapshot(r.name, http.StatusOK) }

func (s *Server) snapshot(name string, status int) (answer, error) {
	snapshot, err := s.backend.Get(name)
	if err != nil {
		return answer{}, err
	}
	return answer{status: status, value: forWire(snapshot)}, nil
}

func (s *Server) show(r request) (answer, error) {
	shown, err := s.backend.Show(r.name)
	return answer{value: shown}, err
}

func action(do func(Backend, context.Context, string) error) func(*Server, request) (answer, error) {
	return func(s *Server, r request) (answer, error) {
		var o actionOptions
		if err := r.decode(&o); err != nil {
			return answer{}, err
		}
		if o.Wait == nil || *o.Wait {
			if err := do(s.backend, r.Context(), r.name); err != nil {
				return answer{}, err
			}
			return s.snapshot(r.name, http.StatusOK)
		}
		a, err := s.snapshot(r.name, http.StatusAccepted) // also tells a name that does not exist
		if err == nil {
			err = s.detach(r, func(ctx context.Context) error { return do(s.backend, ctx, r.name) })
		}
		return a, err
	}
}

func (s *Server) kill(r request) (answer, error) {
	o := killOptions{Signal: "TERM"}
	if err := r.decode(&o); err != nil {
		return answer{}, err
	}
	sig, err := ParseSignal(o.Signal)
	if err != nil {
		return answer{}, &Error{Code: CodeUsage, Message: fmt.Sprintf("cannot kill %q: %v", r.name, err)}
	}
	if err := s.backend.Kill(r.Context(), r.name, sig, o.All); err != nil {
		return answer{}, err
	}
	return s.snapshot(r.name, http.StatusOK)
}

func enabling(do func(Backend, context.Context, string, bool) error) func(*Server, request) (answer, error) {
	return func(s *Server, r request) (answer, error) {
		var o enableOptions
		if err := r.decode(&o); err != nil {
			return answer{}, err
		}
		if err := do(s.backend, r.Context(), r.name, o.Now); err != nil {
			return answer{}, err
		}
		return s.snapshot(r.name, http.StatusOK)
	}
}

func (s *Server) resetFailed(r request) (answer, error) {
	if err := s.backend.ResetFailed(r.Context(), r.name); err != nil {
		return answer{}, err
	}
	return s.snapshot(r.name, http.StatusOK)
}

func (s *Server) build(r request) (answer, error) {
	path, err := s.backend.Build(r.Context(), r.name)
	return answer{value: built{Name: r.name, Path: path}}, err
}

func (s *Server) reload(r request) (answer, error) {
	var o reloadOptions
	if err := r.decode(&o); err != nil {
		return answer{}, err
	}
	changes, err := s.backend.Reload(r.Context(), o.Names)
	return answer{value: changesForWire(changes)}, err
}

func (s *Server) diff(r request) (answer, error) {
	changes, err := s.backend.Diff(r.Context(), r.URL.Query()["name"])
	return answer{value: changesForWire(changes)}, err
}

// forWire gives times the form that programs read without trouble: UTC, whole seconds.
func forWire(s supervisor.Snapshot) supervisor.Snapshot {
	wire := func(t *time.Time) *time.Time {
		if t == nil {
			return nil
		}
		u := t.UTC().Truncate(time.Second)
		return &u
	}
	s.StartedAt, s.NextStartAt = wire(s.StartedAt), wire(s.NextStartAt)
	if s.LastExit != nil {
		e := *s.LastExit
		e.At = *wire(&e.At)
		s.LastExit = &e
	}
	return s
}

// changesForWire sorts by name and leaves no null where an array is promised.
func changesForWire(changes []Change) []Change {
	wire := slices.Clone(changes)
	if wire == nil {
		wire = []Change{}
	}
	for i := range wire {
		if wire[i].Why == nil {
			wire[i].Why = []string{}
		}
	}
	slices.SortFunc(wire, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return wire
}
