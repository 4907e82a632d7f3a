package main

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

// withHealth is the fleet with a container that has probes.
func withHealth() []supervisor.Snapshot {
	return append(fleet(), supervisor.Snapshot{Name: "web", Enabled: true, State: supervisor.StateRunning, Pid: 99,
		Health: supervisor.HealthUnhealthy, StartedAt: ago(45 * time.Second), Restarts: 1,
		LastExit: &supervisor.Exit{Reason: supervisor.ReasonUnhealthy, Code: -1, Signal: "KILL", At: *ago(time.Minute)}})
}

// withProbes is a container as only status shows it.
func withProbes() []supervisor.Snapshot {
	s := withHealth()
	web := &s[len(s)-1]
	next := noon.Add(4 * time.Second)
	web.StatusText = "serving 12 clients"
	web.Probes = []supervisor.ProbeStatus{
		{Probe: "startup", Kind: "notify", Streak: 1, Results: []supervisor.ProbeResult{
			{At: *ago(44 * time.Second), Seconds: 1.0123, Outcome: "success", Output: "READY=1"}}},
		{Probe: "liveness", Kind: "http", Streak: -2, NextAt: &next, Results: []supervisor.ProbeResult{
			{At: *ago(26 * time.Second), Seconds: 0.0041, Outcome: "success", Output: "HTTP status 200 OK\nall well"},
			{At: *ago(16 * time.Second), Seconds: 0.0623, Outcome: "failure", Output: "HTTP status 503 Service Unavailable: \x1b[31mno connection to the database\x1b[0m"},
			{At: *ago(6 * time.Second), Seconds: 61, Outcome: "failure", Output: "no answer within 61s"}}},
		{Probe: "readiness", Kind: "exec", NextAt: &next, Results: []supervisor.ProbeResult{}},
	}
	return s
}

// shop has a database that is not to be used now, a task that is done, and what waits for one that is not.
func shop() []supervisor.Snapshot {
	return []supervisor.Snapshot{
		{Name: "app", Enabled: true, State: supervisor.StateWaiting, WaitingFor: []string{"index"},
			Error: `waits: it needs "index", which exited with code 3`},
		{Name: "db", Enabled: true, State: supervisor.StateRunning, Pid: 99, Health: supervisor.HealthHealthy, StartedAt: ago(45 * time.Second)},
		{Name: "index", Enabled: true, State: supervisor.StateExited,
			LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, Code: 3, At: *ago(time.Minute)}},
		{Name: "migration", Enabled: true, State: supervisor.StateExited, Ready: true,
			LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, At: *ago(time.Minute)}},
	}
}

func TestOutput(t *testing.T) {
	changes := []control.Change{
		{Name: "big", Action: control.ActionUpdated, Why: []string{"memory 256MiB → 512MiB"}},
		{Name: "gone", Action: control.ActionRemoved},
		{Name: "late", Action: control.ActionChanged, Why: []string{"command changed"}},
		{Name: "new", Action: control.ActionStarted, Why: []string{"new definition"}},
		{Name: "npd", Action: control.ActionRestarted, Why: []string{"env TZ changed", "command changed"}},
		{Name: "off", Action: control.ActionAdded, Why: []string{"new definition"}},
		{Name: "redis", Action: control.ActionUnchanged},
		{Name: "web", Action: control.ActionRefused, Error: "web.yaml:7:3: unknown key \"comand\"\n   7 | comand: [x]\n     | ^\n"},
	}
	shown := control.Shown{File: "/etc/runcsup/containers.d/npd.yaml", Definition: "rootfs: /srv/npd/rootfs\ncommand: [npd]\n",
		Effective: json.RawMessage(`{"rootfs":"/srv/npd/rootfs","command":["npd"]}`)}
	refused := shown
	refused.Error = "npd.yaml:1:1: unknown key \"rotfs\"\n   1 | rotfs: /x"
	for _, tt := range []struct {
		golden string
		b      *controltest.Backend
		code   int
		args   string
	}{
		{"list.txt", &controltest.Backend{Containers: fleet()}, 0, "list"},
		{"list-health.txt", &controltest.Backend{Containers: withHealth()}, 0, "list"},
		{"list-order.txt", &controltest.Backend{Containers: shop()}, 0, "list"},
		{"status-order.txt", &controltest.Backend{Containers: shop()}, 3, "status migration index db app"},
		{"list-calm.txt", &controltest.Backend{Containers: fleet()[2:4]}, 0, "list"},
		{"list-named.txt", &controltest.Backend{Containers: fleet()}, 0, "list redis npd redis"},
		{"list.json", &controltest.Backend{Containers: fleet()[2:]}, 0, "list -o json"},
		{"list-empty.json", &controltest.Backend{}, 0, "list -o json"},
		{"status-running.txt", &controltest.Backend{Containers: fleet(), Shown: shown, Usage: used(), Entries: night()}, 0, "status npd"},
		{"status-several.txt", &controltest.Backend{Containers: withHealth()}, 3, "status given-up worker broken redis web"},
		{"status-probes.txt", &controltest.Backend{Containers: withProbes()}, 0, "status web"},
		{"status-probes.json", &controltest.Backend{Containers: withProbes()}, 0, "status web -o json"},
		{"status.json", &controltest.Backend{Containers: fleet()}, 0, "status npd -o json"},
		{"status-several.json", &controltest.Backend{Containers: fleet()}, 3, "status npd redis -o json"},
		{"reload.txt", &controltest.Backend{Changes: changes}, 1, "reload"},
		{"reload-named.txt", &controltest.Backend{Changes: changes}, 0, "reload npd redis"},
		{"reload.json", &controltest.Backend{Changes: changes[4:]}, 1, "reload -o json"},
		{"diff.txt", &controltest.Backend{Changes: changes}, 1, "diff"},
		{"diff.json", &controltest.Backend{Changes: changes[:1]}, 0, "diff -o json"},
		{"show.txt", &controltest.Backend{Containers: fleet(), Shown: shown}, 0, "show npd"},
		{"show-refused.txt", &controltest.Backend{Containers: fleet(), Shown: refused}, 0, "show npd"},
		{"show-effective.json", &controltest.Backend{Containers: fleet(), Shown: shown}, 0, "show npd --effective"},
		{"show.json", &controltest.Backend{Containers: fleet(), Shown: shown}, 0, "show npd -o json"},
		{"top.txt", &controltest.Backend{Containers: fleet(), Usage: used()}, 0, "top --once --sort memory -d 100ms"},
		{"top.json", &controltest.Backend{Containers: fleet(), Usage: used()}, 0, "top -o json -d 100ms npd"},
		{"build.txt", &controltest.Backend{Containers: fleet()}, 0, "build npd"},
		{"build.json", &controltest.Backend{Containers: fleet()}, 0, "build npd -o json"},
		{"act.json", &controltest.Backend{Containers: fleet(), Fail: map[string]error{"stop redis": errors.New("cannot stop \"redis\": busy")}}, 4, "stop npd redis nosuch -o json"},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			got := run(t, tt.b, strings.Fields(tt.args)...)
			if got.code != tt.code {
				t.Errorf("exit code is %d, want %d; standard error:\n%s", got.code, tt.code, got.stderr)
			}
			if strings.HasSuffix(tt.golden, ".json") && !json.Valid([]byte(got.stdout)) {
				t.Errorf("the output is no JSON")
			}
			golden(t, tt.golden, got.stdout)
		})
	}
}

// The list of an ordinary machine fits a terminal.
func TestListIsAtMost80Wide(t *testing.T) {
	for _, line := range strings.Split(run(t, &controltest.Backend{Containers: fleet()}, "list").stdout, "\n") {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// list -o json has the fields of design.md, in their order.
func TestListJSONIsTheDesigns(t *testing.T) {
	s := supervisor.Snapshot{Name: "npd", Enabled: true, State: supervisor.StateRunning, Pid: 4711, Ready: true,
		Health: supervisor.HealthHealthy, StartedAt: ago(0), Restarts: 3,
		LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, Code: 3, At: *ago(15 * time.Second)}, Bundle: "/b"}
	got := run(t, &controltest.Backend{Containers: []supervisor.Snapshot{s}}, "list", "-o", "json").stdout
	squeezed := strings.NewReplacer("\n", "", " ", "").Replace(got)
	const want = `[{"name":"npd","enabled":true,"state":"running","pid":4711,"ready":true,"health":"healthy",` +
		`"startedAt":"2026-11-23T12:00:00Z","restarts":3,"nextStartAt":null,` +
		`"lastExit":{"reason":"exited","code":3,"signal":"","at":"2026-11-23T11:59:45Z"},` +
		`"bundle":"/b","adopted":false,"error":""}]`
	if squeezed != want {
		t.Errorf("got\n%s\nwant\n%s", squeezed, want)
	}
}

func TestEmptyListSaysSoOnStandardError(t *testing.T) {
	got := run(t, &controltest.Backend{}, "list")
	if got != (result{0, "", "no containers are defined\n"}) {
		t.Errorf("got %+v", got)
	}
}

// What a container or a file says cannot command the operator's terminal.
func TestEscapesAreNotPrinted(t *testing.T) {
	s := fleet()[2]
	s.Error = "evil \x1b]0;pwned\x07 \u202e text"
	b := &controltest.Backend{
		Containers: []supervisor.Snapshot{s},
		Changes:    []control.Change{{Name: "npd", Action: control.ActionRefused, Why: []string{"\x1b[2J"}, Error: "\x1b[2J"}},
		Shown:      control.Shown{Definition: "# \x1b[2J\n"},
		Fail:       map[string]error{"stop npd": errors.New("\x1b[2J")},
	}
	for _, args := range []string{"list", "status npd", "reload", "diff", "show npd", "stop npd"} {
		got := run(t, b, strings.Fields(args)...)
		if strings.ContainsAny(got.stdout+got.stderr, "\x1b\x07\u202e") {
			t.Errorf("%s: %q", args, got.stdout+got.stderr)
		}
		if !strings.ContainsRune(got.stdout+got.stderr, '\uFFFD') {
			t.Errorf("%s: no mark where the escape was: %q", args, got.stdout+got.stderr)
		}
	}
}

func TestShort(t *testing.T) {
	for in, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59*time.Second + 900*time.Millisecond: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m",
		time.Hour: "1h0m", 3*time.Hour + 12*time.Minute: "3h12m", 24 * time.Hour: "1d0h", 400*24*time.Hour + 5*time.Hour: "400d5h",
	} {
		if got := short(in); got != want {
			t.Errorf("short(%v) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[time.Duration]string{-time.Second: "now", 0: "now", time.Millisecond: "in 1s", 12 * time.Second: "in 12s"} {
		if got := until(noon.Add(in), noon); got != want {
			t.Errorf("until(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	b := &controltest.Backend{Info: control.VersionInfo{Version: "1.2.3", Pid: 12, Runtime: "runc 1.1.5"}}
	got := run(t, b, "version")
	if got.code != 0 || !strings.HasPrefix(got.stdout, "runcsup ") || !strings.Contains(got.stdout, "daemon:  1.2.3 (pid 12, runc 1.1.5)\n") {
		t.Errorf("got %+v", got)
	}
	for name, tt := range map[string]struct {
		socket string
		daemon string
	}{
		"with a daemon": {serve(t, b), "1.2.3"},
		"without":       {"/nonexistent/control.sock", ""},
	} {
		got = runWith(t, nil, "version", "-o", "json", "--socket", tt.socket)
		var v struct {
			Version, Go, Platform string
			Daemon                *control.VersionInfo
		}
		if err := json.Unmarshal([]byte(got.stdout), &v); err != nil || got.code != 0 {
			t.Fatalf("%s: %v; %+v", name, err, got)
		}
		if v.Version == "" || !strings.HasPrefix(v.Go, "go1.") || v.Platform != "linux/"+runtime.GOARCH {
			t.Errorf("%s: %+v", name, v)
		}
		if (v.Daemon != nil) != (tt.daemon != "") || v.Daemon != nil && v.Daemon.Version != tt.daemon {
			t.Errorf("%s: daemon is %+v, want version %q", name, v.Daemon, tt.daemon)
		}
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	var stderr strings.Builder
	p := &program{stdout: full, stderr: &stderr, getenv: os.Getenv, now: time.Now}
	socket := serve(t, &controltest.Backend{Containers: fleet()})
	if code := p.run(t.Context(), []string{"list", "--socket", socket}); code != exitFailed || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("exit code %d, standard error %q", code, stderr.String())
	}
}

// used is what the fleet uses. It uses nothing more while it is looked at.
func used() []control.Stats {
	return []control.Stats{
		{Name: "npd", Pid: 4711, Usage: usage.Usage{At: noon, Cgroup: "/runcsup/npd", CPU: &usage.CPU{UsageSeconds: 12.5, SystemSeconds: 2.5, Limit: 0.5, Periods: 100, ThrottledPeriods: 25},
			Memory: &usage.Memory{WorkingSet: 24 << 20, Limit: 64 << 20, Peak: 31 << 20, RSS: 20 << 20, Cache: 4 << 20, OOMKills: 1}, Pids: &usage.Pids{Current: 7, Limit: 100},
			IO: []usage.Device{{Major: 8, ReadBytes: 5 << 20, WriteBytes: 1 << 10}}, Pressure: &usage.Pressure{CPU: &usage.Stall{SomePercent: 12.5}}}},
		{Name: "worker", Pid: 4712, Usage: usage.Usage{At: noon, Cgroup: "/runcsup/worker", Memory: &usage.Memory{WorkingSet: 1 << 30}, IO: []usage.Device{}}},
	}
}
