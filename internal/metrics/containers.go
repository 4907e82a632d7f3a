package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/runcsup/runcsup/supervisor"
)

var (
	states = []supervisor.State{
		supervisor.StateStopped, supervisor.StateWaiting, supervisor.StateStarting, supervisor.StateRunning,
		supervisor.StateStopping, supervisor.StateBackoff, supervisor.StateExited, supervisor.StateFailed,
	}
	healths = []supervisor.Health{
		supervisor.HealthNone, supervisor.HealthStarting, supervisor.HealthHealthy, supervisor.HealthUnhealthy,
	}
	reasons = []supervisor.Reason{
		supervisor.ReasonExited, supervisor.ReasonSignaled, supervisor.ReasonOOM, supervisor.ReasonUnhealthy,
		supervisor.ReasonStartFailed, supervisor.ReasonStopped, supervisor.ReasonUnknown,
	}
)

// containerCollector tells what the supervisor knows of each container.
type containerCollector struct {
	list    func() []supervisor.Snapshot
	tallies *tallies
	descriptors
	stateLabels, healthLabels, reasonLabels []*dto.LabelPair

	state, ready, health, enabled, adopted, problem   *prometheus.Desc
	restarts, starts, startFailures, adoptions, exits *prometheus.Desc
	exitCode, exitInfo, exitTime, nextStart           *prometheus.Desc
}

func newContainerCollector(cfg Config, t *tallies) *containerCollector {
	c := &containerCollector{
		list: cfg.List, tallies: t,
		stateLabels: words("state", states), healthLabels: words("health", healths), reasonLabels: words("reason", reasons),
	}
	c.state = c.desc("runcsup_container_state", "1 for the state that the container is in, 0 for the others.", "name", "state")
	c.ready = c.desc("runcsup_container_ready", "1 when the container is ready, else 0.", "name")
	c.health = c.desc("runcsup_container_health", "1 for the verdict of the container's probes, 0 for the others; none: it has no probes.", "name", "health")
	c.enabled = c.desc("runcsup_container_enabled", "1 when the container starts with the daemon, else 0.", "name")
	c.adopted = c.desc("runcsup_container_adopted", "1 when the running instance was started by an earlier daemon, else 0.", "name")
	c.problem = c.desc("runcsup_container_error", "1 when there is something to be mended (a refused definition, a start that failed), else 0; runcsup status says what.", "name")
	c.restarts = c.desc("runcsup_container_restarts_total", "Automatic restarts decided on.", "name")
	c.starts = c.desc("runcsup_container_starts_total", "Starts that worked, by hand and automatic.", "name")
	c.startFailures = c.desc("runcsup_container_start_failures_total", "Starts that failed.", "name")
	c.adoptions = c.desc("runcsup_container_adoptions_total", "Instances of an earlier daemon that were taken over.", "name")
	c.exits = c.desc("runcsup_container_exits_total", "Instances that ended, by reason.", "name", "reason")
	c.exitCode = c.desc("runcsup_container_last_exit_code", "Exit code of the last instance that ended with one.", "name")
	c.exitInfo = c.desc("runcsup_container_last_exit_info", "How the last instance ended: the reason, and the signal if there was one. Always 1.", "name", "reason", "signal")
	c.exitTime = c.desc("runcsup_container_last_exit_timestamp_seconds", "When the last instance ended, in seconds since 1970.", "name")
	c.nextStart = c.desc("runcsup_container_next_start_timestamp_seconds", "When a container in backoff is started again, in seconds since 1970.", "name")
	return c
}

func (c *containerCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.list() {
		c.collect(ch, s)
	}
}

func (c *containerCollector) collect(ch chan<- prometheus.Metric, s supervisor.Snapshot) {
	to := target{ch, []*dto.LabelPair{label("name", s.Name)}}
	for i, state := range states {
		to.with(c.stateLabels[i]).gauge(c.state, truth(s.State == state))
	}
	for i, health := range healths {
		to.with(c.healthLabels[i]).gauge(c.health, truth(s.Health == health))
	}
	to.gauge(c.ready, truth(s.Ready))
	to.gauge(c.enabled, truth(s.Enabled))
	to.gauge(c.adopted, truth(s.Adopted))
	to.gauge(c.problem, truth(s.Error != ""))

	t := c.tallies.read(s.Name)
	to.counter(c.restarts, float64(t.restarts))
	to.counter(c.starts, float64(t.starts))
	to.counter(c.startFailures, float64(t.startFailures))
	to.counter(c.adoptions, float64(t.adoptions))
	for i, reason := range reasons {
		to.with(c.reasonLabels[i]).counter(c.exits, float64(t.exits[reason]))
	}

	if e := s.LastExit; e != nil {
		if e.Code >= 0 {
			to.gauge(c.exitCode, float64(e.Code))
		}
		to.with(label("reason", string(e.Reason)), label("signal", e.Signal)).gauge(c.exitInfo, 1)
		to.gauge(c.exitTime, unix(e.At))
	}
	if s.NextStartAt != nil {
		to.gauge(c.nextStart, unix(*s.NextStartAt))
	}
}

// descriptors is the Describe of a collector that makes its metrics anew for each scrape.
type descriptors struct{ all []*prometheus.Desc }

func (d *descriptors) desc(name, help string, labels ...string) *prometheus.Desc {
	one := prometheus.NewDesc(name, help, labels, nil)
	d.all = append(d.all, one)
	return one
}

func (d *descriptors) Describe(ch chan<- *prometheus.Desc) {
	for _, one := range d.all {
		ch <- one
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
