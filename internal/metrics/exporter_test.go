package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/runcsup/runcsup/supervisor"
)

func scrape(t testing.TB, h http.Handler) string {
	t.Helper()
	r := httptest.NewRecorder()
	h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if r.Code != http.StatusOK {
		t.Fatalf("scrape: %d %s", r.Code, r.Body)
	}
	return r.Body.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("missing %s\nthere is:\n%s", line, linesOf(text, name))
		}
	}
}

func linesOf(text, name string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// What a running container and one in backoff look like to Prometheus.
func TestContainersAsPrometheusSeesThem(t *testing.T) {
	text := scrape(t, full(t).Handler())
	const ids = `id="/runcsup/web",image="/srv/web",name="web"`
	wantLines(t, text,
		`runcsup_container_state{name="web",state="running"} 1`, `runcsup_container_state{name="web",state="failed"} 0`,
		`runcsup_container_state{name="crash",state="backoff"} 1`, `runcsup_container_ready{name="web"} 1`, `runcsup_container_ready{name="crash"} 0`,
		`runcsup_container_health{health="healthy",name="web"} 1`, `runcsup_container_health{health="unhealthy",name="web"} 0`,
		`runcsup_container_last_exit_code{name="web"} 3`,
		`runcsup_container_last_exit_info{name="crash",reason="signaled",signal="SEGV"} 1`,
		`runcsup_container_next_start_timestamp_seconds{name="crash"} 1.8000001e+09`,
		`runcsup_container_restarts_total{name="web"} 0`,
		`runcsup_container_log_bytes_total{name="web",stream="stdout"} 1234`, `runcsup_container_log_lines_total{name="web",stream="stdout"} 56`,
		`container_start_time_seconds{`+ids+`} 1.8e+09`,
		`container_cpu_usage_seconds_total{cpu="total",`+ids+`} 2.5`,
		`container_cpu_cfs_throttled_periods_total{`+ids+`} 12`,
		`container_memory_working_set_bytes{`+ids+`} 8.388608e+06`,
		`container_memory_max_usage_bytes{`+ids+`} 2.097152e+07`,
		`container_spec_memory_limit_bytes{`+ids+`} 6.7108864e+07`,
		`container_threads{`+ids+`} 5`,
		`container_oom_events_total{`+ids+`} 2`,
		`container_pressure_cpu_waiting_seconds_total{`+ids+`} 1.5`,
		`container_pressure_cpu_stalled_seconds_total{`+ids+`} 0.25`,
		`runcsup_probe_results_total{name="web",probe="liveness",result="success"} 1`,
		`runcsup_probe_results_total{name="web",probe="liveness",result="failure"} 0`,
		`runcsup_runtime_calls_total{operation="run",outcome="success"} 1`,
		`runcsup_config_last_reload_successful 1`,
	)
	if strings.Contains(text, `container_last_exit_code{name="crash"}`) {
		t.Error("a container that ended by a signal has an exit code")
	}
	if !strings.Contains(text, `runcsup_build_info{goarch=`) || !strings.Contains(text, `version="1.2.3"} 1`) {
		t.Error(linesOf(text, "runcsup_build_info"))
	}
}

// Names, units and help are as promtool wants them.
func TestNamesPassTheLinter(t *testing.T) {
	problems, err := promlint.New(strings.NewReader(scrape(t, full(t).Handler()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A container whose cgroup vanishes spoils nothing: it has its state and no usage, and the others have theirs.
func TestAContainerVanishesDuringAScrape(t *testing.T) {
	w := newWorld(t)
	w.run(t, "stays")
	w.run(t, "goes")
	e, log := w.exporter(t)
	if err := os.RemoveAll(filepath.Join(w.dir, "goes")); err != nil {
		t.Fatal(err)
	}
	text := scrape(t, e.Handler())
	wantLines(t, text, `runcsup_container_state{name="goes",state="running"} 1`, `container_threads{id="/runcsup/stays",image="/srv/stays",name="stays"} 5`)
	if strings.Contains(text, `id="/runcsup/goes"`) || log.Len() > 0 {
		t.Errorf("%s\n%s", linesOf(text, "container_"), log)
	}
}

// A name that Prometheus cannot have is left out; the rest of the scrape is there.
func TestOneInvalidMetricIsLeftOut(t *testing.T) {
	w := newWorld(t)
	w.run(t, "web")
	w.set(supervisor.Snapshot{Name: "b\xffd", State: supervisor.StateStopped, Health: supervisor.HealthNone})
	e, _ := w.exporter(t)
	wantLines(t, scrape(t, e.Handler()), `runcsup_container_ready{name="web"} 1`)
}

// Events are counted by container, and a removed one leaves nothing behind.
func TestEventsAreCounted(t *testing.T) {
	w := newWorld(t)
	w.run(t, "web")
	e, _ := w.exporter(t)
	tell := func(kind supervisor.EventType, exit *supervisor.Exit) {
		e.OnEvent(supervisor.Event{Type: kind, Snapshot: supervisor.Snapshot{Name: "web", LastExit: exit}})
	}
	tell(supervisor.EventAdopted, nil)
	tell(supervisor.EventExited, &supervisor.Exit{Reason: supervisor.ReasonOOM})
	tell(supervisor.EventRestart, nil)
	tell(supervisor.EventStartFailed, nil)
	tell(supervisor.EventRestart, nil)
	tell(supervisor.EventStarted, nil)
	e.ObserveProbe("web", "startup", ProbeUnknown, time.Second)
	text := scrape(t, e.Handler())
	wantLines(t, text,
		`runcsup_container_adoptions_total{name="web"} 1`, `runcsup_container_starts_total{name="web"} 1`,
		`runcsup_container_start_failures_total{name="web"} 1`, `runcsup_container_restarts_total{name="web"} 2`,
		`runcsup_container_exits_total{name="web",reason="oom"} 1`, `runcsup_container_exits_total{name="web",reason="exited"} 0`,
		`runcsup_probe_results_total{name="web",probe="startup",result="unknown"} 1`,
	)
	tell(supervisor.EventRemoved, nil)
	w.list = nil
	if text := scrape(t, e.Handler()); strings.Contains(text, `name="web"`) {
		t.Error(linesOf(text, "runcsup_container"), linesOf(text, "runcsup_probe"))
	}
}

// OOM kills are counted over all instances, though each has a cgroup that begins at zero.
func TestOOMKillsOutliveTheCgroup(t *testing.T) {
	w := newWorld(t)
	w.run(t, "web")
	e, _ := w.exporter(t)
	kills := func(n int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(w.dir, "web", "memory.events"), fmt.Appendf(nil, "oom_kill %d\n", n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(n int) {
		t.Helper()
		wantLines(t, scrape(t, e.Handler()), fmt.Sprintf(`container_oom_events_total{id="/runcsup/web",image="/srv/web",name="web"} %d`, n))
	}
	end := func(r supervisor.Reason) {
		e.OnEvent(supervisor.Event{Type: supervisor.EventExited, Snapshot: supervisor.Snapshot{Name: "web", LastExit: &supervisor.Exit{Reason: r}}})
	}
	kills(2) // children
	want(2)
	end(supervisor.ReasonExited)
	kills(0) // a new cgroup
	want(2)
	end(supervisor.ReasonOOM) // its init, at once
	want(3)
	kills(1)
	want(4)
}

func TestOutcomes(t *testing.T) {
	for want, err := range map[string]error{
		"success": nil, "error": errors.New("exit status 1"), "timeout": errors.Join(errors.New("killed"), context.DeadlineExceeded),
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// A reload with a refusal is one that failed, and the time of the last good one stays.
func TestReloads(t *testing.T) {
	e, _ := newWorld(t).exporter(t)
	e.ObserveReload(time.Unix(1000, 0), 0, nil)
	e.ObserveReload(time.Unix(2000, 0), 2, nil)
	wantLines(t, scrape(t, e.Handler()),
		"runcsup_config_last_reload_successful 0", "runcsup_config_last_reload_success_timestamp_seconds 1000",
		"runcsup_config_refused_definitions 2", `runcsup_config_reloads_total{outcome="error"} 1`, `runcsup_config_reloads_total{outcome="success"} 1`)
}

// maxScrapeBytes and manyContainers are what is promised: 500 containers, each with a probe and limits, in 5 MB.
const (
	maxScrapeBytes = 5_000_000
	manyContainers = 500
)

func many(t testing.TB) *Exporter {
	w := newWorld(t)
	for i := range manyContainers {
		w.run(t, numbered(i))
	}
	e, _ := w.exporter(t)
	for i := range manyContainers {
		e.ObserveProbe(numbered(i), "liveness", ProbeSuccess, time.Millisecond)
	}
	return e
}

func TestScrapeOfManyContainersIsSmall(t *testing.T) {
	text := scrape(t, many(t).Handler())
	if n := strings.Count(text, "container_threads{"); n != manyContainers {
		t.Errorf("%d containers", n)
	}
	if len(text) > maxScrapeBytes {
		t.Errorf("%d bytes", len(text))
	}
	t.Logf("%d bytes, %d lines", len(text), strings.Count(text, "\n"))
}

// BenchmarkScrape is of 500 containers; the goal is less than 100 ms.
func BenchmarkScrape(b *testing.B) {
	h := many(b).Handler()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(discard{}, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
