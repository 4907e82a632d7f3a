package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The outcomes of what the daemon does.
const (
	outcomeSuccess = "success"
	outcomeError   = "error"
	outcomeTimeout = "timeout" // had to be cut short
)

// daemonMetrics are about the daemon itself.
type daemonMetrics struct {
	info         prometheus.Collector
	calls        *prometheus.CounterVec
	callSeconds  *prometheus.HistogramVec
	reloads      *prometheus.CounterVec
	reloadOK     prometheus.Gauge
	reloadTime   prometheus.Gauge
	refused      prometheus.Gauge
	builds       *prometheus.CounterVec
	buildSeconds prometheus.Histogram
	watchdog     prometheus.Histogram
}

func newDaemonMetrics(cfg Config) *daemonMetrics {
	m := &daemonMetrics{
		info: buildInfo(cfg),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runcsup_runtime_calls_total",
			Help: "Calls of the OCI runtime, by operation and outcome; timeout: it had to be killed.",
		}, []string{"operation", "outcome"}),
		callSeconds: prometheus.NewHistogramVec(histogram("runcsup_runtime_call_duration_seconds",
			"How long calls of the OCI runtime took, by operation.", .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30), []string{"operation"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runcsup_config_reloads_total",
			Help: "Times that definitions were read again, told to or because files changed, by outcome; error: at least one was refused.",
		}, []string{"outcome"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runcsup_config_last_reload_successful",
			Help: "1 when nothing was refused the last time that definitions were read, else 0.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runcsup_config_last_reload_success_timestamp_seconds",
			Help: "When definitions were last read without a refusal, in seconds since 1970.",
		}),
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "runcsup_config_refused_definitions",
			Help: "Definitions whose file has errors; their containers run on as they were.",
		}),
		builds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "runcsup_bundle_builds_total",
			Help: "Bundles built, by outcome.",
		}, []string{"outcome"}),
		buildSeconds: prometheus.NewHistogram(histogram("runcsup_bundle_build_duration_seconds",
			"How long it took to build bundles.", .001, .01, .1, 1, 10, 60, 300)),
		watchdog: prometheus.NewHistogram(histogram("runcsup_watchdog_check_duration_seconds",
			"How long the daemon's loops took to answer the watchdog; they have to within half of WatchdogSec.", .001, .01, .1, 1, 10)),
	}
	for _, outcome := range []string{outcomeSuccess, outcomeError, outcomeTimeout} {
		m.builds.WithLabelValues(outcome)
		if outcome != outcomeTimeout {
			m.reloads.WithLabelValues(outcome)
		}
		for _, operation := range operations {
			m.calls.WithLabelValues(operation, outcome)
			m.callSeconds.WithLabelValues(operation)
		}
	}
	return m
}

// operations are what the OCI runtime is called for.
var operations = []string{"run", "delete", "state", "update", "exec"}

// histogram has classic buckets for every Prometheus and native ones for those that ask for them.
func histogram(name, help string, buckets ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}
}

func (m *daemonMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.info, m.calls, m.callSeconds, m.reloads, m.reloadOK, m.reloadTime, m.refused, m.builds, m.buildSeconds, m.watchdog,
	}
}

// ObserveRuntimeCall counts a call of the OCI runtime.
func (m *daemonMetrics) ObserveRuntimeCall(operation string, took time.Duration, err error) {
	m.calls.WithLabelValues(operation, outcomeOf(err)).Inc()
	m.callSeconds.WithLabelValues(operation).Observe(took.Seconds())
}

// ObserveReload notes that definitions were read, and how many of all there are have faults now.
func (m *daemonMetrics) ObserveReload(at time.Time, refused int, err error) {
	m.refused.Set(float64(refused))
	if err != nil || refused > 0 {
		m.reloads.WithLabelValues(outcomeError).Inc()
		m.reloadOK.Set(0)
		return
	}
	m.reloads.WithLabelValues(outcomeSuccess).Inc()
	m.reloadOK.Set(1)
	m.reloadTime.Set(unix(at))
}

// ObserveBuild counts a bundle that was built.
func (m *daemonMetrics) ObserveBuild(took time.Duration, err error) {
	m.builds.WithLabelValues(outcomeOf(err)).Inc()
	m.buildSeconds.Observe(took.Seconds())
}

// ObserveWatchdog notes how long the daemon's loops took to answer.
func (m *daemonMetrics) ObserveWatchdog(took time.Duration) { m.watchdog.Observe(took.Seconds()) }

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return outcomeSuccess
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return outcomeTimeout
	}
	return outcomeError
}
