package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ProbeResult is what came of one probe.
type ProbeResult string

// The results of a probe.
const (
	ProbeSuccess ProbeResult = "success"
	ProbeFailure ProbeResult = "failure"
	ProbeUnknown ProbeResult = "unknown" // it could not be carried out
)

// probeMetrics are about the probes of containers. There are series for probes that were carried out, and none for others.
type probeMetrics struct {
	results *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newProbeMetrics() *probeMetrics {
	return &probeMetrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runcsup_probe_results_total",
			Help: "Probes carried out, by result; unknown: it could not be carried out, which counts neither way.",
		}, []string{"name", "probe", "result"}),
		seconds: prometheus.NewHistogramVec(histogram("runcsup_probe_duration_seconds",
			"How long probes took.", .005, .025, .1, .5, 1, 5, 10), []string{"name", "probe"}),
	}
}

func (p *probeMetrics) Describe(ch chan<- *prometheus.Desc) {
	p.results.Describe(ch)
	p.seconds.Describe(ch)
}

func (p *probeMetrics) Collect(ch chan<- prometheus.Metric) {
	p.results.Collect(ch)
	p.seconds.Collect(ch)
}

func (p *probeMetrics) forget(name string) {
	p.results.DeletePartialMatch(prometheus.Labels{"name": name})
	p.seconds.DeletePartialMatch(prometheus.Labels{"name": name})
}

// ObserveProbe counts a probe ("startup", "liveness", "readiness") of a container.
func (e *Exporter) ObserveProbe(container, probe string, result ProbeResult, took time.Duration) {
	for _, r := range []ProbeResult{ProbeSuccess, ProbeFailure, ProbeUnknown} {
		c := e.probes.results.WithLabelValues(container, probe, string(r))
		if r == result {
			c.Inc()
		}
	}
	e.probes.seconds.WithLabelValues(container, probe).Observe(took.Seconds())
}
