package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var updateMetrics = flag.Bool("update-metrics", false, "write testdata/metrics.prom anew")

// webAddresses are where a daemon serves metrics, as `version` tells.
type webAddresses []struct{ Address, Error string }

func (n *node) web() webAddresses {
	n.Helper()
	var v struct {
		Daemon struct{ Metrics webAddresses }
	}
	n.mustJSON(&v, "version", "-o", "json")
	return v.Daemon.Metrics
}

// waitServed waits until all addresses are served and returns the first.
func (n *node) waitServed() (address string) {
	n.Helper()
	eventually(n, patience, "metrics are served", func() error {
		all := n.web()
		if len(all) == 0 {
			return fmt.Errorf("no address yet")
		}
		for _, a := range all {
			if a.Error != "" {
				return fmt.Errorf("%+v", a)
			}
		}
		address = all[0].Address
		return nil
	})
	return address
}

// fetch gets a page. The client has a connection to anything but the network if it is the node's.
func fetch(t testing.TB, c *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	check(t, err)
	resp, err := c.Do(req)
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp.StatusCode, string(body)
}

// dependsOnKernel are metrics that not every kernel has, or only after I/O.
func dependsOnKernel(name string) bool {
	return strings.HasPrefix(name, "container_pressure_") || strings.HasPrefix(name, "container_fs_") || name == "container_memory_max_usage_bytes"
}

// A real scrape of real containers has the metrics that it is to have, on the web address and on the socket, and promtool
// finds nothing wrong with it.
func TestMetrics(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--web.listen-address", "127.0.0.1:0")
	n.define("web", "command: [idle]\nresources: {memory: 64MiB, cpus: 0.5, pids: 50}\nhealth: {liveness: {exec: [\"true\"], period: 1s}}")
	n.define("crash", "command: [sh, -c, echo gone; exit 3]\nrestart: {delay: 1h}")
	n.define("off", "command: [idle]\nenabled: false")
	n.start()
	n.waitState("web", "running")
	n.waitState("crash", "backoff")
	base := "http://" + n.waitServed()
	for page, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n"} {
		if page == "/readyz" {
			eventually(t, patience, "readiness", func() error {
				if code, text := fetch(t, http.DefaultClient, base+page); code != http.StatusOK {
					return fmt.Errorf("%d %s", code, text)
				}
				return nil
			})
		}
		for of, c := range map[string]*http.Client{base: http.DefaultClient, "http://socket": n.client} {
			if code, text := fetch(t, c, of+page); code != http.StatusOK || text != want {
				t.Errorf("%s%s: %d %s", of, page, code, text)
			}
		}
	}
	var text string
	eventually(t, patience, "a probe was carried out, and output was seen", func() error {
		if _, text = fetch(t, http.DefaultClient, base+"/metrics"); !strings.Contains(text, `runcsup_probe_results_total{name="web",probe="liveness",result="success"}`) {
			return fmt.Errorf("no results")
		}
		if !strings.Contains(text, `runcsup_container_log_lines_total{name="crash",stream="stdout"} 1`) {
			return fmt.Errorf("no output")
		}
		return nil
	})
	if _, other := fetch(t, n.client, "http://socket/metrics"); strings.Join(namesIn(other), "\n") != strings.Join(namesIn(text), "\n") {
		t.Error("the socket has other metrics")
	}
	for _, line := range []string{
		`runcsup_container_state{name="web",state="running"} 1`, `runcsup_container_state{name="crash",state="backoff"} 1`,
		`runcsup_container_state{name="off",state="stopped"} 1`, `runcsup_container_enabled{name="off"} 0`,
		`runcsup_container_log_bytes_total{name="crash",stream="stdout"} 5`, `runcsup_container_log_lines_total{name="crash",stream="stdout"} 1`,
		`runcsup_container_last_exit_code{name="crash"} 3`, `runcsup_container_starts_total{name="web"} 1`,
		`runcsup_runtime_calls_total{operation="run",outcome="success"} 2`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	for _, start := range []string{
		`container_spec_memory_limit_bytes{id="/`, `container_cpu_usage_seconds_total{cpu="total",id="/`,
		`runcsup_runtime_call_duration_seconds_count{operation="exec"}`,
	} {
		if !strings.Contains(text, start) {
			t.Errorf("no %s", start)
		}
	}
	golden := filepath.Join("testdata", "metrics.prom")
	got := strings.Join(slices.DeleteFunc(namesIn(text), dependsOnKernel), "\n") + "\n"
	if *updateMetrics {
		check(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	check(t, err)
	if got != string(want) {
		t.Errorf("the metrics are not those of %s (-update-metrics writes it anew):\n%s", golden, got)
	}
	promtool(t, text, "check", "metrics")
}

// namesIn are the metrics of a scrape that are runcsup's or a container's.
func namesIn(scrape string) (names []string) {
	for line := range strings.Lines(scrape) {
		if f := strings.Fields(line); strings.HasPrefix(line, "# TYPE ") && (strings.HasPrefix(f[2], "runcsup_") || strings.HasPrefix(f[2], "container_")) {
			names = append(names, f[2])
		}
	}
	return names
}

// promtool runs Prometheus' own tool, which has to be content.
func promtool(t testing.TB, stdin string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "should") {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// The rules are what Prometheus understands, and do what their tests say.
func TestPrometheusRules(t *testing.T) {
	t.Parallel()
	const dir = "../packaging/prometheus/"
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", dir+"recording.yaml", dir+"alerts.yaml")
	promtool(t, "", "test", "rules", dir+"tests.yaml")
}

// A port in use keeps no container from being supervised; it is told, and served as soon as it is free. So two daemons with
// the same address run on one machine.
func TestMetricsPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := taken.Addr().String()
	n := newNode(t, "--web.listen-address", address)
	n.define("web", "command: [idle]")
	n.start()
	n.waitState("web", "running")
	eventually(t, patience, "the trouble is told", func() error {
		if all := n.web(); len(all) != 1 || !strings.Contains(all[0].Error, "address already in use") {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	if out := n.must("version"); !strings.Contains(out, address+": not served: cannot listen") {
		t.Error(out)
	}
	check(t, taken.Close())
	if got := n.waitServed(); got != address {
		t.Error(got)
	}
	if code, _ := fetch(t, http.DefaultClient, "http://"+address+"/metrics"); code != http.StatusOK {
		t.Error(code)
	}
}

// TLS and passwords come from the file that all exporters have, and nothing is served without them.
func TestMetricsBehindTLSAndPassword(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--web.listen-address", "127.0.0.1:0", "--web.config.file", "")
	cert, key, file := filepath.Join(n.dir, "cert.pem"), filepath.Join(n.dir, "key.pem"), filepath.Join(n.dir, "web.yaml")
	out, err := exec.CommandContext(t.Context(), "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
		"-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	const hash = "$2a$04$vqCOMxOIkx2.8wQJntGeben2msgwVnBM/.EfnTWjvxBfHJUDivUfa" // "secret" at the least cost
	writeFile(n, file, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prometheus: '"+hash+"'}\n")
	n.args[len(n.args)-1] = file
	n.start()
	url := "https://" + n.waitServed() + "/metrics"
	curl := func(args ...string) string {
		t.Helper()
		out, _ := exec.CommandContext(t.Context(), "curl", append([]string{"-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", cert}, args...)...).Output()
		return string(out)
	}
	for want, args := range map[string][]string{
		"200": {"-u", "prometheus:secret", url}, "401": {url}, "400": {"-u", "prometheus:secret", strings.Replace(url, "https", "http", 1)},
	} {
		if got := curl(args...); got != want {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
}

// alertsOf decodes an answer of Prometheus' /api/v1/alerts.
func alertsOf(t testing.TB, answer string) map[string]string {
	t.Helper()
	var a struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	check(t, json.Unmarshal([]byte(answer), &a))
	states := map[string]string{}
	for _, one := range a.Data.Alerts {
		states[one.Labels["alertname"]+" "+one.Labels["name"]] = one.State
	}
	return states
}

// panels are what the panels of the dashboard ask for, by title and number of the query, with Grafana's variables put in.
func panels(t testing.TB) map[string]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	check(t, json.Unmarshal([]byte(readFile(t, "../packaging/grafana/runcsup.json")), &dashboard))
	variables := strings.NewReplacer("$job", "(runcsup|other)", "$instance", ".+", "$name", ".+", "$__rate_interval", "15s")
	queries := map[string]string{}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			queries[p.Title+" "+q.RefID] = variables.Replace(q.Expr)
		}
	}
	return queries
}

// silent are the panels that have nothing to show where nothing is wrong but a container in a crash loop, or nothing runs long
// enough.
var silent = map[string]bool{
	"Unhealthy A": true, "What is not as it should be A": true, "What is not as it should be B": true, "Held up by the CPU limit A": true,
	"Waiting for a resource (PSI) A": true, "Waiting for a resource (PSI) B": true, "Waiting for a resource (PSI) C": true,
	"Disk A": true, "Disk B": true, "Killed for want of memory A": true, "Failures A": true, "Runtime calls that failed A": true,
}

// A real Prometheus scrapes the service under a real systemd by the settings that packages have, and its alert for a crash
// loop fires, for the container that is in one and no other. The panels of the dashboard get what they ask for.
func TestPrometheusFiresForACrashLoop(t *testing.T) {
	t.Parallel()
	m := service(t)
	m.write("/etc/runcsup/containers.d/loop.yaml", "rootfs: /srv/rootfs\ncommand: [sh, -c, exit 1]\nrestart: {delay: 100ms, maxDelay: 1s}\n")
	m.write("/etc/runcsup/containers.d/web.yaml", `rootfs: /srv/rootfs
command: [sh, -c, "trap 'exit 0' TERM; while :; do echo hello; sleep 0.2; done"]
resources: {memory: 64MiB}
health: {liveness: {exec: ["true"], period: 1s}}
`)
	m.must("systemctl", "start", "runcsup")
	m.waitRunning("web")
	for _, file := range []string{"alerts.yaml", "recording.yaml"} {
		text, err := os.ReadFile("../packaging/prometheus/" + file)
		check(t, err)
		m.write("/etc/prom/"+file, string(text))
	}
	m.write("/etc/prom/prometheus.yml", `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [alerts.yaml, recording.yaml]
scrape_configs:
  - job_name: runcsup
    static_configs: [{targets: ["localhost:10920"]}]
`)
	m.must("systemd-run", "--unit=prom", "--quiet", "prometheus", "--config.file=/etc/prom/prometheus.yml", "--storage.tsdb.path=/var/tmp/prom",
		"--web.listen-address=127.0.0.1:9090")
	eventually(t, patience, "the alert fires", func() error {
		out, err := m.try("curl", "-sSf", "http://127.0.0.1:9090/api/v1/alerts") // 503 while it begins
		if err != nil {
			return err
		}
		states := alertsOf(t, out)
		if states["RuncsupContainerCrashLooping loop"] != "firing" {
			return fmt.Errorf("%v", states)
		}
		if len(states) != 1 {
			t.Errorf("more than one alert: %v", states)
		}
		return nil
	})
	ask := func(query string) (string, error) {
		return m.try("curl", "-sS", "-G", "--data-urlencode", "query="+query, "http://127.0.0.1:9090/api/v1/query")
	}
	if up, err := ask(`up{job="runcsup"}`); err != nil || !strings.Contains(up, `"1"]`) {
		t.Errorf("%v %s", err, up)
	}
	for panel, query := range panels(t) {
		eventually(t, patience, "the panel "+panel+" shows something", func() error {
			answer, err := ask(query)
			switch {
			case err != nil:
				return err
			case !strings.Contains(answer, `"status":"success"`):
				t.Fatalf("panel %s: %s\n%s", panel, query, answer)
			case !silent[panel] && !strings.Contains(answer, `"value":`):
				return fmt.Errorf("%s: %s", query, answer)
			}
			return nil
		})
	}
}
