package metrics

import (
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

// Config is what an Exporter asks when it is scraped. The functions may be called from any goroutine, side by side.
type Config struct {
	// List returns all containers.
	List func() []supervisor.Snapshot
	// Cgroup tells where a container's cgroup is.
	Cgroup func(name string) usage.Cgroup
	// Image is what a container was made from: an image, an archive or a directory, as the user named it.
	Image func(name string) string
	// Output tells by container's name how much each wrote.
	Output func() iter.Seq2[string, Output]
	// Version, Revision and Runtime go into runcsup_build_info.
	Version, Revision, Runtime string
	Log                        *slog.Logger
}

// Exporter collects the metrics. Its methods may be called from any goroutine; those that observe return at once.
type Exporter struct {
	*daemonMetrics
	tallies *tallies
	probes  *probeMetrics

	registry *prometheus.Registry
	log      *slog.Logger
}

// New returns an exporter of all metrics.
func New(cfg Config) (*Exporter, error) {
	e := &Exporter{
		daemonMetrics: newDaemonMetrics(cfg), tallies: newTallies(), probes: newProbeMetrics(),
		registry: prometheus.NewRegistry(), log: cfg.Log,
	}
	all := append(e.collectors(),
		newContainerCollector(cfg, e.tallies), newCgroupCollector(cfg, e.tallies), newOutputCollector(cfg), e.probes,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for _, c := range all {
		if err := e.registry.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register metrics: %w", err)
		}
	}
	return e, nil
}

// scrapesAtOnce bounds what clients can cost. There is no time limit: nothing in a scrape waits for anybody, and http's
// would keep a copy of all that is sent.
const scrapesAtOnce = 4

// Handler answers scrapes. What cannot be collected is left out and logged; the rest is there.
func (e *Exporter) Handler() http.Handler {
	return promhttp.InstrumentMetricHandler(e.registry, promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		Registry:            e.registry,
		MaxRequestsInFlight: scrapesAtOnce,
		EnableOpenMetrics:   true,
	}))
}

// OnEvent counts what happened to a container.
func (e *Exporter) OnEvent(ev supervisor.Event) {
	e.tallies.count(ev)
	if ev.Type == supervisor.EventRemoved {
		e.probes.forget(ev.Snapshot.Name)
	}
}

// buildInfo is the constant 1 with the program's version in its labels, as Prometheus' own programs have it.
func buildInfo(cfg Config) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "runcsup_build_info",
		Help: "The program that runs, and the OCI runtime it uses. Always 1.",
		ConstLabels: prometheus.Labels{
			"version": cfg.Version, "revision": cfg.Revision, "goversion": runtime.Version(),
			"goos": runtime.GOOS, "goarch": runtime.GOARCH, "runtime": cfg.Runtime,
		},
	})
	g.Set(1)
	return g
}
