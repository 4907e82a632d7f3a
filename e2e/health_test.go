package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// probeStatus is an element of `probes` in `status NAME -o json`.
type probeStatus struct {
	Probe   string `json:"probe"`
	Kind    string `json:"kind"`
	Streak  int    `json:"streak"`
	Results []struct {
		Outcome string  `json:"outcome"`
		Output  string  `json:"output"`
		Seconds float64 `json:"seconds"`
	} `json:"results"`
}

// probes returns what `status` tells of a container's probes.
func (n *node) probes(name string) map[string]probeStatus {
	n.Helper()
	var s struct {
		Probes []probeStatus `json:"probes"`
	}
	r := n.runcsup("status", name, "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		n.Fatalf("status %s: %v\n%s", name, err, r.stdout+r.stderr)
	}
	all := map[string]probeStatus{}
	for _, p := range s.Probes {
		all[p.Probe] = p
	}
	return all
}

// waitHealth waits for a verdict on a container.
func (n *node) waitHealth(name, health string) container {
	n.Helper()
	return n.waitFor(name, health, func(c container) bool { return c.Health == health })
}

// withProgram puts the program under test into the node's root file system, where its payloads are: /bin/runcsup.
func (n *node) withProgram() {
	n.Helper()
	data, err := os.ReadFile(binary)
	check(n, err)
	check(n, os.WriteFile(filepath.Join(n.rootfs, "bin/runcsup"), data, 0o755))
}

// A server in a network namespace of its own that hangs is restarted, and again when the next instance hangs too.
func TestHungServerIsRestarted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.withProgram()
	n.define("web", `
command: [runcsup, demo-payload, web, "127.0.0.1:8080"]
restart: {delay: 100ms, steps: 0}
stop: {timeout: 1s}
health:
  startup:   {tcp: {port: 8080}, period: 200ms, failures: 100}
  liveness:  {http: {port: 8080, path: /}, period: 500ms, timeout: 500ms, failures: 3}
  readiness: {exec: [sh, -c, "wget -q -O - http://127.0.0.1:8080/"], period: 1s, timeout: 10s}`)
	n.start()
	for round := range 2 {
		c := n.waitFor("web", "healthy and ready", func(c container) bool { return c.Health == "healthy" && c.Ready && c.Restarts == round })
		if p := n.probes("web"); len(p) != 3 || p["liveness"].Streak < 1 || !strings.Contains(p["liveness"].Results[0].Output, "Hello from a container") {
			t.Errorf("probes are %+v", p)
		}
		check(t, syscall.Kill(c.Pid, syscall.SIGSTOP))
		after := n.waitFor("web", "ended and started again", func(c container) bool { return c.Restarts == round+1 })
		if after.LastExit == nil || after.LastExit.Reason != "unhealthy" {
			t.Errorf("last exit is %s", after.LastExit)
		}
	}
	out := n.must("history", "web")
	if !strings.Contains(out, "no answer within 500ms") {
		t.Errorf("the history does not say why:\n%s", out)
	}
	n.stop()
}

// What follows is the definition's to say.
func TestOnFailure(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, name := range []string{"none", "stop"} {
		n.define(name, "command: [idle]\nhealth: {liveness: {exec: [test, -e, /tmp/"+name+"], period: 300ms, timeout: 20s, failures: 2, onFailure: "+name+"}}")
	}
	n.start()
	ill := n.waitHealth("none", "unhealthy")
	if !ill.Ready || ill.State != "running" {
		t.Errorf("none: %s", ill.brief())
	}
	writeFile(t, filepath.Join(n.rootfs, "tmp/none"), "")
	if well := n.waitHealth("none", "healthy"); well.Pid != ill.Pid || well.Restarts != 0 {
		t.Errorf("none: %s", well.brief())
	}
	c := n.waitFor("stop", "ended", func(c container) bool { return c.Pid == 0 && c.State != "stopping" })
	if c.State == "backoff" || c.LastExit == nil || c.LastExit.Reason != "unhealthy" {
		t.Errorf("stop: %s, last exit %s", c.brief(), c.LastExit)
	}
	writeFile(t, filepath.Join(n.rootfs, "tmp/stop"), "")
	n.must("start", "stop")
	n.waitHealth("stop", "healthy")
	n.stop()
}

// zombiesOf returns the dead children of a process that it has not reaped.
func zombiesOf(pid int) (zombies []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		text := string(data)
		f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(f) > 1 && f[0] == "Z" && f[1] == strconv.Itoa(pid) {
			zombies = append(zombies, text[:strings.LastIndexByte(text, ')')+1])
		}
	}
	return zombies
}

// Probes that hang, fork, fill their output, or cannot be carried out do no harm to anybody.
func TestExecProbesDoNoHarm(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for name, probe := range map[string]string{
		"hangs":   `exec: [sh, -c, "echo begun; trap '' TERM; sleep 4001 & sleep 4002"]`,
		"forks":   `exec: [sh, -c, "for i in 1 2 3 4 5; do sleep 4003 & done; exit 3"]`,
		"floods":  `exec: [sh, -c, "yes $(seq 100)"]`,
		"missing": `exec: [/no/such/program]`,
		"killed":  `exec: [sh, -c, "kill -KILL $$"]`,
	} {
		n.define(name, "command: [idle]\nhealth: {liveness: {"+probe+", period: 1s, timeout: 2s, failures: 1, onFailure: none}}")
	}
	n.start()
	for name, want := range map[string]struct{ outcome, output string }{
		"hangs":   {"failure", "did not end within 2s\nbegun"},
		"forks":   {"failure", "exit code 3"},
		"floods":  {"failure", "did not end within 2s\n1 2 3"},
		"missing": {"unknown", "command not found"},
		"killed":  {"failure", "exit code 137"},
	} {
		eventually(t, patience, name+" was probed twice", func() error {
			p := n.probes(name)["liveness"]
			good := 0
			for _, r := range p.Results {
				if r.Outcome == want.outcome && strings.HasPrefix(r.Output, want.output) && len(r.Output) <= 1024 {
					good++
				}
			}
			if good < 2 {
				return fmt.Errorf("results are %+v", p.Results)
			}
			return nil
		})
	}
	eventually(t, patience, "the daemon has no zombies", func() error {
		// crun itself leaves one with every call that fails, which the daemon takes away after a while.
		z := slices.DeleteFunc(zombiesOf(n.daemon.pid), func(stat string) bool { return strings.HasSuffix(stat, "(crun)") })
		if len(z) > 0 {
			return fmt.Errorf("%v", z)
		}
		return nil
	})
	if !strings.Contains(n.log(), "probe cannot be carried out") {
		t.Error("nothing is logged of a probe that cannot be carried out")
	}
	for _, name := range []string{"hangs", "forks", "floods", "missing", "killed"} {
		n.must("stop", name)
		if left := processesIn(n, name); len(left) > 0 {
			t.Errorf("%s: processes %v are left", name, left)
		}
	}
	n.stop()
}

// A container that is stopped by hand during a probe stays stopped, whatever the probe would have found.
func TestStopDuringProbe(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", `
command: [idle]
restart: {delay: 0s}
health: {liveness: {exec: [sh, -c, "echo x > /tmp/probed; sleep 4004; exit 1"], period: 100ms, timeout: 1h, failures: 1}}`)
	n.start()
	n.waitState("app", "running")
	eventually(t, patience, "the probe runs", func() error {
		_, err := os.Stat(filepath.Join(n.rootfs, "tmp/probed"))
		return err
	})
	n.must("stop", "app")
	// A restart would have no delay, and be an event.
	if c := n.get("app"); c.State != "stopped" || c.LastExit == nil || c.LastExit.Reason != "stopped" || c.Restarts != 0 {
		t.Errorf("%s, last exit %s", c.brief(), c.LastExit)
	}
	n.must("reload")
	if c := n.get("app"); c.State != "stopped" {
		t.Errorf("later: %s", c.brief())
	}
	n.stop()
}

// What an earlier daemon knew of an instance is not found out anew: a container that was ready stays so, and is watched on.
func TestHealthOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", `
command: [idle]
restart: {delay: 0s}
stop: {timeout: 1s}
health:
  startup:   {exec: [test, -e, /tmp/started], period: 200ms, timeout: 20s, failures: 1000}
  liveness:  {exec: [test, -e, /tmp/well], period: 300ms, timeout: 20s, failures: 2}
  readiness: {exec: ["true"], period: 1h, timeout: 20s}`)
	writeFile(t, filepath.Join(n.rootfs, "tmp/well"), "")
	writeFile(t, filepath.Join(n.rootfs, "tmp/started"), "")
	n.start()
	before := n.waitFor("app", "healthy and ready", func(c container) bool { return c.Health == "healthy" && c.Ready })
	eventually(t, patience, "that is on disk", func() error {
		text, err := os.ReadFile(filepath.Join(n.run, "health", "app.json"))
		if err == nil && (!strings.Contains(string(text), `"ready":true`) || !strings.Contains(string(text), `"health":"healthy"`)) {
			err = errors.New(string(text))
		}
		return err
	})
	n.kill()
	check(t, os.Remove(filepath.Join(n.rootfs, "tmp/started")))
	n.start()
	// Its next readiness probe is an hour away.
	after := n.waitFor("app", "adopted", func(c container) bool { return c.Adopted && c.Health == "healthy" })
	if after.Pid != before.Pid || !after.Ready {
		t.Errorf("after the restart: %s", after.brief())
	}
	check(t, os.Remove(filepath.Join(n.rootfs, "tmp/well")))
	n.waitFor("app", "ended because of its probe", func(c container) bool { return c.LastExit != nil && c.LastExit.Reason == "unhealthy" })
	n.stop()
}

// Probes that are changed in the definition are others from then on, without a restart.
func TestProbesAreReloaded(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", "command: [idle]")
	n.start()
	before := n.waitState("app", "running")
	if before.Health != "none" {
		t.Errorf("without probes: %s", before.Health)
	}
	n.define("app", "command: [idle]\nhealth: {liveness: {exec: ['false'], period: 200ms, timeout: 20s, onFailure: none}}")
	if c := n.waitHealth("app", "unhealthy"); c.Pid != before.Pid {
		t.Errorf("it was restarted: %s", c.brief())
	}
	n.define("app", "command: [idle]\nhealth: {liveness: {exec: ['true'], period: 200ms, timeout: 20s, onFailure: none}}")
	if c := n.waitHealth("app", "healthy"); c.Pid != before.Pid {
		t.Errorf("it was restarted: %s", c.brief())
	}
	n.stop()
}

// A runtime that hangs or fails says nothing about a container: its probe is unknown, and costs it and others nothing.
func TestProbeThatCannotBeCarriedOut(t *testing.T) {
	t.Parallel()
	n := newFaultyNode(t)
	n.define("app", "command: [idle]\nstop: {timeout: 1s}\nhealth: {liveness: {exec: ['true'], period: 300ms, timeout: 5s, failures: 1}}")
	n.start()
	before := n.waitHealth("app", "healthy")
	pids := n.othersRun()
	for _, fault := range []struct{ script, says string }{
		{"hang", "did not end in time"},
		{`echo '{"level":"error","msg":"cgroups are on fire"}' >> "$(echo "$@" | sed 's/.*--log \([^ ]*\).*/\1/')"; exit 1`, "cgroups are on fire"},
	} {
		n.spoil("app", "exec", fault.script)
		eventually(t, patience, "its probe is unknown", func() error {
			p := n.probes("app")["liveness"]
			if last := p.Results[len(p.Results)-1]; last.Outcome != "unknown" || !strings.Contains(last.Output, fault.says) {
				return fmt.Errorf("last is %+v", last)
			}
			return nil
		})
		if c := n.get("app"); c.Pid != before.Pid || c.Health != "healthy" || !c.Ready {
			t.Errorf("%s: %s, health %s, ready %v", fault.says, c.brief(), c.Health, c.Ready)
		}
		n.othersWork(pids)
		n.mend("app")
		eventually(t, patience, "it is carried out again", func() error {
			p := n.probes("app")["liveness"]
			if last := p.Results[len(p.Results)-1]; last.Outcome != "success" {
				return fmt.Errorf("last is %+v", last)
			}
			return nil
		})
	}
	n.spoil("app", "exec", "touch "+filepath.Join(n.dir, "hangs")+"; hang")
	eventually(t, patience, "a probe hangs", func() error {
		_, err := os.Stat(filepath.Join(n.dir, "hangs"))
		return err
	})
	n.must("stop", "app")
	n.nothingOf("app")
	n.stop()
}
