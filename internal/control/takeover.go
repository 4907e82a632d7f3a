package control

import (
	"context"
	"net/http"

	"github.com/runcsup/runcsup/supervisor"
)

// TakeOverOptions say which container is taken over, and how it is to run from then on.
type TakeOverOptions struct {
	Definition string `json:"definition"`        // text of the definition
	Root       string `json:"root"`              // the state directory of the runtime that it was started with
	ID         string `json:"id"`                // of the container in it
	Replace    bool   `json:"replace,omitempty"` // a definition's file that is there
}

func (s *Server) takeOver(r request) (answer, error) {
	var o TakeOverOptions
	if err := r.decode(&o); err != nil {
		return answer{}, err
	}
	if err := s.backend.TakeOver(r.Context(), r.name, o); err != nil {
		return answer{}, err
	}
	return s.snapshot(r.name, http.StatusOK)
}

// TakeOver has the daemon take over a running container that somebody else has started.
func (c *Client) TakeOver(ctx context.Context, name string, o TakeOverOptions) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/take-over", o)
}
