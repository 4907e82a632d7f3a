package control

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/runcsup/runcsup/internal/usage"
)

// Stats is what a running container uses. The counters in it begin with its instance: two of them, and the time between,
// give a rate.
type Stats struct {
	Name string `json:"name"`
	Pid  int    `json:"pid"` // of the instance's init
	usage.Usage
}

// Stats returns what running containers use, sorted by name: all, or those named. One that does not run is left out.
func (c *Client) Stats(ctx context.Context, names ...string) ([]Stats, error) {
	var stats []Stats
	return stats, c.do(ctx, http.MethodGet, "/v1/stats"+nameQuery(names), nil, &stats)
}

func (s *Server) stats(r request) (answer, error) {
	stats, err := s.backend.Stats(r.URL.Query()["name"])
	wire := append([]Stats{}, stats...)
	for i := range wire {
		wire[i].At = wire[i].At.UTC().Truncate(time.Millisecond) // rates need more than whole seconds
	}
	slices.SortFunc(wire, func(a, b Stats) int { return cmp.Compare(a.Name, b.Name) })
	return answer{value: wire}, err
}
