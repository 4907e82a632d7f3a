package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// runtimeCall calls the node's runtime behind the daemon's back, as somebody may who knows it.
func runtimeCall(n *node, args ...string) {
	n.Helper()
	run(n, n.runtime, append([]string{"--root", filepath.Join(n.run, "runtime")}, args...)...)
}

func TestContainerDeletedBehindTheDaemonsBack(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	// A delay in which the call behind the back has certainly ended: a start in the middle of it fails, and is tried again.
	n.define("app", "command: [idle]\nrestart: {delay: 3s, jitter: 0%}")
	n.start()
	before := n.waitState("app", "running")
	runtimeCall(n, "delete", "--force", "app")
	c := n.waitFor("app", "runs again", func(c container) bool { return c.State == "running" && c.Pid != before.Pid })
	if c.LastExit.String() != "signaled/-1/KILL" || c.Restarts != 1 {
		t.Errorf("got %s", c.brief())
	}
	n.stop()
}

func TestPausedContainerIsStopped(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("paused", "command: [idle]")
	n.define("halted", "command: [idle]")
	n.define("removed", "command: [idle]")
	n.define("left", "command: [idle]")
	n.start()
	for _, name := range []string{"paused", "removed", "left"} {
		n.waitState(name, "running")
		runtimeCall(n, "pause", name)
	}
	halted := n.waitState("halted", "running")
	check(t, syscall.Kill(halted.Pid, syscall.SIGSTOP))
	n.must("stop", "paused", "halted")
	for _, name := range []string{"paused", "halted"} {
		if c := n.get(name); c.State != "stopped" || c.Pid != 0 {
			t.Errorf("%s: %s", name, c.brief())
		}
	}
	n.undefine("removed")
	n.waitGone("removed")
	n.stop()
}

// A definition that is mended gets its container going again, also one that was given up.
func TestMendedDefinitionIsStarted(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("given-up", "command: [sh, -c, 'exit 1']\nrestart: {delay: 10ms, limit: {burst: 2, interval: 1h}}")
	n.define("waits", "command: [/no/such/program]\nrestart: {delay: 1h}")
	n.define("done", "command: [sh, -c, 'exit 0']\nrestart: no")
	n.define("stopped", "command: [idle]")
	n.start()
	n.waitState("given-up", "failed")
	n.waitState("waits", "backoff")
	n.waitState("done", "exited")
	n.must("stop", "stopped")
	for _, name := range []string{"given-up", "waits", "done", "stopped"} {
		n.define(name, "command: [idle, mended]")
	}
	for _, name := range []string{"given-up", "waits"} {
		c := n.waitFor(name, "runs", func(c container) bool { return c.State == "running" })
		runs(t, c, "/bin/sh /bin/idle mended")
		if c.Error != "" {
			t.Errorf("%s: %s", name, c.brief())
		}
	}
	// What was done or stopped by hand is not.
	n.must("reload")
	if c := n.get("done"); c.State != "exited" {
		t.Errorf("done: %s", c.brief())
	}
	if c := n.get("stopped"); c.State != "stopped" {
		t.Errorf("stopped: %s", c.brief())
	}
	n.must("start", "done", "stopped")
	for _, name := range []string{"done", "stopped"} {
		runs(t, n.waitState(name, "running"), "/bin/sh /bin/idle mended")
	}
	n.stop()
}

// Two definitions of one bundle are two containers, and a cgroup that a bundle asks for is kept, and removed in the end.
func TestReadyBundlesCgroups(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	bundle, own := filepath.Join(n.dir, "bundle"), filepath.Join(n.dir, "own")
	makeBundle(n, bundle, "idle")
	makeBundle(n, own, "idle")
	path := "/" + cgroupPrefix(n.run) + "-of-its-own"
	editConfig(t, own, func(config object) { config["linux"].(object)["cgroupsPath"] = path })
	n.define("one", "bundle: "+bundle)
	n.define("two", "bundle: "+bundle)
	n.define("own", "bundle: "+own)
	n.start()
	one, two := n.waitState("one", "running"), n.waitState("two", "running")
	if one.Pid == two.Pid {
		t.Error("two containers are one process")
	}
	c := n.waitState("own", "running")
	if got := readFile(t, fmt.Sprintf("/proc/%d/cgroup", c.Pid)); !strings.Contains(got, ":"+path+"\n") {
		t.Errorf("it is not in its own cgroup %s:\n%s", path, got)
	}
	n.stop()
	if left := cgroupsOf(n.run); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// What a definition has in env: is for root and the container only.
func TestOthersCannotReadTheEnvironment(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const value = "n0t-f0r-everybody"
	envFile := filepath.Join(n.dir, "app.env")
	writeFile(t, envFile, "PASSWORD="+value+"\n")
	check(t, os.Chmod(envFile, 0o600))
	token := filepath.Join(n.dir, "token")
	writeFile(t, token, value)
	check(t, os.Chmod(token, 0o600))
	bundle := filepath.Join(n.dir, "bundle")
	makeBundle(n, bundle, "idle")
	editConfig(t, bundle, func(config object) {
		config["process"].(object)["env"] = []string{"PATH=/bin", "PASSWORD=" + value}
	})
	check(t, os.Chmod(bundle, 0o700))
	n.define("app", "command: [sh, -c, 'echo $PASSWORD; exec idle']\nenvFile: [DIR/app.env]\nsecrets: [{source: DIR/token, target: /token}]")
	n.define("off", "command: [idle]\nenvFile: [DIR/app.env]\nenabled: false")
	n.define("ready", "bundle: "+bundle)
	n.start()
	n.waitState("ready", "running")
	n.waitOutput("app", value)
	grep := exec.Command("grep", "-rslF", value, n.dir)
	grep.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := grep.Output()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || len(out) > 0 {
		t.Errorf("everybody can read it in:\n%s(%v)", out, err)
	}
	if strings.Contains(n.log(), value) {
		t.Error("it is in the daemon's log")
	}
	n.stop()
}

func TestLogFormatJSON(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--log-format", "json", "--log-level", "info")
	n.define("app", "command: [idle]")
	n.defineRaw("bad", "comand: [\n")
	n.start()
	n.waitState("app", "running")
	n.stop()
	seen := map[string]bool{}
	for line := range bytes.Lines([]byte(n.log())) {
		var record struct{ Level, Msg, Container string }
		if err := json.Unmarshal(line, &record); err != nil || record.Level == "" || record.Msg == "" {
			t.Errorf("no record of a log: %s", line)
		}
		if record.Level == "DEBUG" {
			t.Errorf("less than was asked for: %s", line)
		}
		seen[record.Container] = true
	}
	if !seen["app"] || !seen["bad"] {
		t.Errorf("the log does not tell of the containers:\n%s", n.log())
	}
}
