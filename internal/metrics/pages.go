package metrics

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
)

// Checks answer the questions of load balancers and monitors. nil is yes; an error says why not.
type Checks struct {
	// Healthy tells whether the daemon's loops answer.
	Healthy func(ctx context.Context) error
	// Ready tells whether all that is to run was started, as systemd was told.
	Ready func() error
}

// checkTimeout is how long the loops may take to answer /healthz. They do in microseconds.
const checkTimeout = 5 * time.Second

// Pages are the paths that are served, on the web addresses and on the control socket: /metrics, /healthz and /readyz.
func (e *Exporter) Pages(c Checks) map[string]http.Handler {
	return map[string]http.Handler{
		"/metrics": e.Handler(),
		"/healthz": check(func(r *http.Request) error {
			ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
			defer cancel()
			return c.Healthy(ctx)
		}),
		"/readyz": check(func(*http.Request) error { return c.Ready() }),
	}
}

// WebHandler serves the pages, and one that leads to them.
func WebHandler(pages map[string]http.Handler, version string) (http.Handler, error) {
	landing, err := web.NewLandingPage(web.LandingConfig{
		Name: "runcsup", Description: "Keeps containers running without a container engine", Version: version, Profiling: "false",
		Links: []web.LandingLinks{
			{Address: "/metrics", Text: "Metrics"},
			{Address: "/healthz", Text: "Healthy", Description: "whether the daemon's loops answer"},
			{Address: "/readyz", Text: "Ready", Description: "whether all that is to run was started"},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the landing page: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", landing)
	for path, h := range pages {
		mux.Handle("GET "+path, h)
	}
	return mux, nil
}

func check(ask func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		text := "ok\n"
		if err := ask(r); err != nil {
			text = err.Error() + "\n"
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, text) // a client that has left cannot be told
	})
}
