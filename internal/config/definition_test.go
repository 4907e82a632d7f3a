package config

import (
	"math"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/supervisor"
)

// mustParse parses a definition that is expected to be good.
func mustParse(t *testing.T, file, src string) *Definition {
	t.Helper()
	d, err := Parse(file, []byte(src))
	if err != nil {
		t.Fatalf("refused:\n%v", err)
	}
	return d
}

// small is the least that a definition needs; tests append to it.
const small = "rootfs: /srv/app\ncommand: [/bin/app]\n"

func TestDefaults(t *testing.T) {
	d := mustParse(t, "/etc/runcsup/containers.d/app.yaml", small)
	want := &Definition{
		Name: "app", File: "/etc/runcsup/containers.d/app.yaml", Enabled: true,
		Bundle: bundle.Options{
			Name: "app", Rootfs: "/srv/app", Command: []string{"/bin/app"}, Network: bundle.Network{Mode: bundle.NetworkNone},
		},
		Restart: supervisor.RestartPolicy{
			Mode: supervisor.RestartAlways, Delay: 15 * time.Second, MaxDelay: 5 * time.Minute, Steps: 5, Jitter: 0.1,
			ResetAfter: 10 * time.Minute,
		},
		Stop:   supervisor.StopPolicy{Signal: syscall.SIGTERM, Timeout: 10 * time.Second},
		Ready:  supervisor.ReadyPolicy{On: supervisor.ReadyStarted},
		Log:    LogOptions{Driver: LogFile, MaxSize: 10485760, MaxFiles: 5},
		Source: []byte(small),
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got  %+v\nwant %+v", d, want)
	}
}

func TestEveryKeyThatWorks(t *testing.T) {
	src := `
rootfs-archive: /srv/export.tar.gz
command: [/usr/local/bin/npd, --v=3, 7, 1.50, true]
env: {TZ: UTC, PORT: 8080, VERSION: 1.10, DEBUG: True, MODE: 0644, EMPTY: ""}
envFile: [/etc/npd.env, /etc/more.env]
user: "0:adm"
workdir: /var//lib/
readOnly: true
hostname: node-1
mounts:
  - {source: /var/log, target: /var/log/, readOnly: true}
  - {type: tmpfs, target: /tmp, size: 64MiB, mode: "1770", options: [noexec, nosuid]}
secrets:
  - {source: /etc/npd/token, target: /var/run/secrets/token, mode: "0440"}
  - {source: /etc/npd/ca, target: /var/run/secrets/ca}
capabilities: {add: [SYSLOG, CAP_NET_RAW], drop: [ALL]}
network: container:redis
resources: {memory: 256MiB, cpus: 0.5, pids: 100}
rlimits: {nofile: 1024, memlock: unlimited, core: {soft: 0, hard: unlimited}}
oci: {linux: {sysctl: {net.core.somaxconn: "1024"}}, hooks: null, a: [1, -2, 1.5, 1e3, true, x]}
type: simple
ready: {on: started}
restart:
  policy: on-failure
  delay: 1s
  maxDelay: 1min
  steps: 3
  jitter: 25%
  resetAfter: 1h 30min
  limit: {burst: 5, interval: 2m}
  preventExitStatus: [3, SIGABRT]
  forceExitStatus: [0, KILL]
  successExitStatus: [143, USR1]
stop: {signal: SIGQUIT, timeout: 1.5s}
log: {driver: none}
enabled: false
`
	d := mustParse(t, "npd.yaml", src)
	want := bundle.Options{
		Name: "npd", RootfsArchive: "/srv/export.tar.gz",
		Command:  []string{"/usr/local/bin/npd", "--v=3", "7", "1.50", "true"},
		Env:      map[string]string{"TZ": "UTC", "PORT": "8080", "VERSION": "1.10", "DEBUG": "True", "MODE": "0644", "EMPTY": ""},
		EnvFiles: []string{"/etc/npd.env", "/etc/more.env"},
		User:     "0:adm", Workdir: "/var/lib", ReadOnly: true, Hostname: "node-1",
		Mounts: []bundle.Mount{
			{Type: "bind", Source: "/var/log", Target: "/var/log", ReadOnly: true},
			{Type: "tmpfs", Target: "/tmp", Size: 64 << 20, Mode: "1770", Options: []string{"noexec", "nosuid"}},
		},
		Secrets: []bundle.Secret{
			{Source: "/etc/npd/token", Target: "/var/run/secrets/token", Mode: 0o440},
			{Source: "/etc/npd/ca", Target: "/var/run/secrets/ca", Mode: 0o400},
		},
		Capabilities: bundle.Capabilities{Add: []string{"CAP_SYSLOG", "CAP_NET_RAW"}, Drop: []string{"ALL"}},
		Network:      bundle.Network{Mode: bundle.NetworkContainer, Container: "redis"},
		Resources:    bundle.Resources{Memory: 256 << 20, CPUs: 0.5, Pids: 100},
		Rlimits: []bundle.Rlimit{
			{Type: "RLIMIT_CORE", Soft: 0, Hard: math.MaxUint64},
			{Type: "RLIMIT_MEMLOCK", Soft: math.MaxUint64, Hard: math.MaxUint64},
			{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1024},
		},
		OCI: map[string]any{
			"linux": map[string]any{"sysctl": map[string]any{"net.core.somaxconn": "1024"}},
			"hooks": nil,
			"a":     []any{int64(1), int64(-2), 1.5, 1000.0, true, "x"},
		},
	}
	if !reflect.DeepEqual(d.Bundle, want) {
		t.Errorf("bundle\ngot  %+v\nwant %+v", d.Bundle, want)
	}
	wantRestart := supervisor.RestartPolicy{
		Mode: supervisor.RestartOnFailure, Delay: time.Second, MaxDelay: time.Minute, Steps: 3, Jitter: 0.25,
		ResetAfter: 90 * time.Minute, Limit: supervisor.StartLimit{Burst: 5, Interval: 2 * time.Minute},
		PreventStatuses: supervisor.StatusSet{Codes: []int{3}, Signals: []syscall.Signal{syscall.SIGABRT}},
		ForceStatuses:   supervisor.StatusSet{Codes: []int{0}, Signals: []syscall.Signal{syscall.SIGKILL}},
		SuccessStatuses: supervisor.StatusSet{Codes: []int{143}, Signals: []syscall.Signal{syscall.SIGUSR1}},
	}
	if !reflect.DeepEqual(d.Restart, wantRestart) {
		t.Errorf("restart\ngot  %+v\nwant %+v", d.Restart, wantRestart)
	}
	if d.Stop != (supervisor.StopPolicy{Signal: syscall.SIGQUIT, Timeout: 1500 * time.Millisecond}) {
		t.Errorf("stop: %+v", d.Stop)
	}
	if d.Log.Driver != LogNone || d.Enabled {
		t.Errorf("log %v, enabled %v", d.Log, d.Enabled)
	}
}

func TestReadyBundle(t *testing.T) {
	d := mustParse(t, "npd.yaml", "bundle: /srv/npd\nrestart: on-abort\nstop: {timeout: 0s}\nlog: none\nenabled: true\nready: started\n")
	if want := (bundle.Options{Name: "npd", Bundle: "/srv/npd"}); !reflect.DeepEqual(d.Bundle, want) {
		t.Errorf("got %+v, want nothing but name and bundle", d.Bundle)
	}
	if d.Restart.Mode != supervisor.RestartOnAbort || d.Stop.Timeout != 0 || d.Log.Driver != LogNone {
		t.Errorf("got %+v", d)
	}
}

func TestImageOfRootfsArchive(t *testing.T) {
	d := mustParse(t, "a.yaml", "image: rootfs-archive:/srv/export.tar.zst\ncommand: [/a]\n")
	if d.Bundle.RootfsArchive != "/srv/export.tar.zst" {
		t.Errorf("got %+v", d.Bundle)
	}
}

func TestNetworks(t *testing.T) {
	for text, want := range map[string]bundle.Network{
		"none":              {Mode: bundle.NetworkNone},
		"host":              {Mode: bundle.NetworkHost},
		"netns:/run/x:y":    {Mode: bundle.NetworkPath, Path: "/run/x:y"},
		"container:redis.1": {Mode: bundle.NetworkContainer, Container: "redis.1"},
	} {
		if d := mustParse(t, "a.yaml", small+"network: "+text+"\n"); d.Bundle.Network != want {
			t.Errorf("%s: got %+v, want %+v", text, d.Bundle.Network, want)
		}
	}
}

// Sizes are docker's: all letters mean powers of 1024, with or without iB.
func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"268435456": 268435456, "64M": 64 << 20, "64m": 64 << 20, "64MB": 64 << 20, "64MiB": 64 << 20, "64 MiB": 64 << 20,
		"1.5g": 3 << 29, "8192k": 8 << 20, "8388608b": 8 << 20, "1TiB": 1 << 40, `"4194304"`: 4 << 20,
	} {
		if d := mustParse(t, "a.yaml", small+"resources: {memory: "+text+"}\n"); d.Bundle.Resources.Memory != want {
			t.Errorf("%s: got %d, want %d", text, d.Bundle.Resources.Memory, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"15s": 15 * time.Second, "5m": 5 * time.Minute, "5min": 5 * time.Minute, "1h30m": 90 * time.Minute,
		"1h 30min": 90 * time.Minute, "250ms": 250 * time.Millisecond, "1.5s": 1500 * time.Millisecond,
		"2 minutes 3 seconds": 123 * time.Second, "1d": 24 * time.Hour, "2w": 14 * 24 * time.Hour, "10us": 10 * time.Microsecond,
		"0s": 0, "365d": 365 * 24 * time.Hour,
	} {
		if d := mustParse(t, "a.yaml", small+"stop: {timeout: "+text+"}\n"); d.Stop.Timeout != want {
			t.Errorf("%s: got %v, want %v", text, d.Stop.Timeout, want)
		}
	}
}

// The kernel's numbers; real-time signals count from 34, as for docker.
func TestSignals(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"TERM": 15, "SIGTERM": 15, "HUP": 1, "KILL": 9, "WINCH": 28, "SYS": 31, "PWR": 30,
		"RTMIN": 34, "SIGRTMIN+3": 37, "RTMIN+30": 64, "RTMAX": 64, "RTMAX-1": 63, "SIGRTMAX-30": 34,
	} {
		if d := mustParse(t, "a.yaml", small+"stop: {signal: "+text+"}\n"); d.Stop.Signal != want {
			t.Errorf("%s: got %d, want %d", text, d.Stop.Signal, want)
		}
	}
	if names := signalNames(); len(names) != 31 {
		t.Errorf("%d signals: %v", len(names), names)
	}
}

// A policy either grows, or has steps 0 and a maxDelay that is the delay.
func TestGrowth(t *testing.T) {
	const s, m = time.Second, time.Minute
	for _, tt := range []struct {
		restart         string
		delay, maxDelay time.Duration
		steps           int
	}{
		{"{}", 15 * s, 5 * m, 5},
		{"always", 15 * s, 5 * m, 5},
		{"{delay: 1s}", s, 5 * m, 5},
		{"{steps: 0}", 15 * s, 15 * s, 0},
		{"{delay: 10m}", 10 * m, 10 * m, 0},
		{"{delay: 0s}", 0, 0, 0},
		{"{delay: 2s, maxDelay: 2s}", 2 * s, 2 * s, 0},
		{"{delay: 2s, maxDelay: 2s, steps: 0}", 2 * s, 2 * s, 0},
		{"{delay: 2s, maxDelay: 120s, steps: 1}", 2 * s, 2 * m, 1},
		{"{maxDelay: 1h}", 15 * s, 60 * m, 5},
	} {
		r := mustParse(t, "a.yaml", small+"restart: "+tt.restart+"\n").Restart
		if r.Delay != tt.delay || r.MaxDelay != tt.maxDelay || r.Steps != tt.steps {
			t.Errorf("%s: got delay %v, maxDelay %v, steps %d", tt.restart, r.Delay, r.MaxDelay, r.Steps)
		}
	}
}

func TestRestartValues(t *testing.T) {
	for text, want := range map[string]float64{"10%": 0.1, "0.1": 0.1, "0": 0, "1": 1, "100%": 1, "2.5%": 0.025, "0%": 0} {
		if r := mustParse(t, "a.yaml", small+"restart: {jitter: "+text+"}\n").Restart; math.Abs(r.Jitter-want) > 1e-12 {
			t.Errorf("jitter %s: got %v", text, r.Jitter)
		}
	}
	r := mustParse(t, "a.yaml", small+"restart: {limit: {burst: 3}}\n").Restart
	if r.Limit != (supervisor.StartLimit{Burst: 3, Interval: 10 * time.Minute}) {
		t.Errorf("limit without interval: %+v", r.Limit)
	}
	for _, mode := range []supervisor.RestartMode{"always", "on-failure", "on-success", "on-abnormal", "on-abort", "no"} {
		if r := mustParse(t, "a.yaml", small+"restart: "+string(mode)+"\n").Restart; r.Mode != mode {
			t.Errorf("restart: %s: got %q", mode, r.Mode)
		}
	}
}

func TestUsers(t *testing.T) {
	for text, want := range map[string]string{
		`"0:0"`: "0:0", "0:0": "0:0", "1000": "1000", "app": "app", "app:www-data": "app:www-data", "_apt": "_apt", `"4294967294"`: "4294967294",
	} {
		if d := mustParse(t, "a.yaml", small+"user: "+text+"\n"); d.Bundle.User != want {
			t.Errorf("%s: got %q", text, d.Bundle.User)
		}
	}
}

// Capabilities are those of the kernel: CAP_CHECKPOINT_RESTORE is number 40, the last.
func TestCapabilityNames(t *testing.T) {
	if len(capabilityNames) != 41 {
		t.Errorf("%d capabilities, want 41", len(capabilityNames))
	}
	d := mustParse(t, "a.yaml", small+"capabilities: {add: [ALL]}\n")
	if !reflect.DeepEqual(d.Bundle.Capabilities.Add, []string{"ALL"}) {
		t.Errorf("got %v", d.Bundle.Capabilities)
	}
}

// What YAML allows in looks does not matter.
func TestLooks(t *testing.T) {
	want := mustParse(t, "a.yaml", small).Bundle
	for name, src := range map[string]string{
		"header and end":       "---\n" + small + "...\n",
		"crlf":                 "rootfs: /srv/app\r\ncommand: [/bin/app]\r\n",
		"byte order mark":      "\ufeff" + small,
		"no newline":           "rootfs: /srv/app\ncommand: [/bin/app]",
		"flow":                 "{rootfs: /srv/app, command: [/bin/app]}",
		"json":                 `{"rootfs": "/srv/app", "command": ["/bin/app"]}`,
		"comments":             "# a\nrootfs: /srv/app # b\n\n# c\ncommand:\n  # d\n  - /bin/app # e\n# f\n",
		"list without indent":  "command:\n- /bin/app\nrootfs: '/srv/app'\n",
		"tab in a comment":     "rootfs: /srv/app #\tx\n#\ty\ncommand: [/bin/app]\n",
		"block scalar":         "rootfs: >-\n  /srv/app\ncommand:\n  - |-\n    /bin/app\n",
		"flow over many lines": "rootfs: /srv/app\ncommand: [\n  /bin/app,\n]\n",
	} {
		if d := mustParse(t, "a.yaml", src); !reflect.DeepEqual(d.Bundle, want) {
			t.Errorf("%s: got %+v", name, d.Bundle)
		}
	}
}

func TestNullDeletesInMergePatchOnly(t *testing.T) {
	d := mustParse(t, "a.yaml", small+"oci:\n  hooks:\n  linux: {seccomp: ~}\n")
	want := map[string]any{"hooks": nil, "linux": map[string]any{"seccomp": nil}}
	if !reflect.DeepEqual(d.Bundle.OCI, want) {
		t.Errorf("got %v", d.Bundle.OCI)
	}
}

func TestSourceIsACopy(t *testing.T) {
	src := []byte(small)
	d := mustParse(t, "a.yaml", small)
	d2, err := Parse("a.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	src[0] = 'X'
	if string(d2.Source) != string(d.Source) {
		t.Error("Source changes with the caller's slice")
	}
}
