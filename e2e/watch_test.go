package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// promptly is how soon after a write the new process has to be there: within 2 s. On a machine so loaded that even a
// restart by hand takes more than a quarter of a second it is more, in proportion.
func promptly(n *node, name string) time.Duration {
	n.Helper()
	began := time.Now()
	n.must("restart", name)
	return max(2*time.Second, time.Second+4*time.Since(began))
}

// changesPromptly makes a change and checks that this container is promptly restarted because of it, and no other.
func changesPromptly(n *node, name string, change func()) container {
	n.Helper()
	within := promptly(n, name)
	before := map[string]int{}
	for _, c := range n.list() {
		before[c.Name] = c.Pid
	}
	change()
	now := n.waitWithin(within, name, "restarted", func(c container) bool { return c.State == "running" && c.Pid != before[name] })
	for _, c := range n.list() {
		if c.Name != name && c.Pid != before[c.Name] {
			n.Errorf("%s was restarted though only %s changed", c.Name, name)
		}
	}
	return now
}

// These have a deadline of 2 s, so they do not run beside other tests.
func TestChangedFilesAreAppliedWithinTwoSeconds(t *testing.T) {
	n := newNode(t)
	ready := filepath.Join(n.dir, "ready")
	makeBundle(n, ready, "idle", "1")
	// As a ConfigMap does: config/config.json → ..data/config.json, ..data → a directory of its own for each version.
	mapped := filepath.Join(n.dir, "mapped")
	for _, version := range []string{"1", "2"} {
		makeBundle(n, filepath.Join(mapped, "..v"+version), "idle", version)
	}
	symlink(t, "..v1", filepath.Join(mapped, "..data"))
	symlink(t, "..data/config.json", filepath.Join(mapped, "config.json"))
	// As a release does: current → a directory.
	released := filepath.Join(n.dir, "released")
	for _, version := range []string{"1", "2"} {
		makeBundle(n, filepath.Join(released, version), "idle", version)
	}
	symlink(t, "1", filepath.Join(released, "current"))
	// A definition that is a link into a ConfigMap.
	definitions := filepath.Join(n.dir, "definitions")
	for _, version := range []string{"1", "2"} {
		writeFile(t, filepath.Join(definitions, "..v"+version, "linked.yaml"), n.text("command: [idle, '"+version+"']\n"))
	}
	symlink(t, "..v1", filepath.Join(definitions, "..data"))
	symlink(t, filepath.Join(definitions, "..data/linked.yaml"), n.definition("linked"))
	envFile := filepath.Join(n.dir, "app.env")
	writeFile(t, envFile, "VERSION=1\n")

	const quick = "\nstop: {timeout: 1s}\n"
	n.define("ready", "bundle: "+ready+quick)
	n.define("mapped", "bundle: "+mapped+quick)
	n.define("released", "bundle: "+released+"/current"+quick)
	n.define("plain", "command: [idle]"+quick)
	n.define("env", "command: [sh, -c, 'echo version $VERSION; exec idle']\nenvFile: [DIR/app.env]"+quick)
	n.define("other", "command: [idle]"+quick)
	n.start()
	names := []string{"ready", "mapped", "released", "plain", "env", "other", "linked"}
	for _, name := range names {
		n.waitState(name, "running")
	}
	config := filepath.Join(ready, "config.json")
	for _, tt := range []struct {
		what, name, runs string
		change           func(t *testing.T)
	}{
		{"config.json in place", "ready", "/bin/sh /bin/idle 2", func(t *testing.T) { editConfig(t, ready, withArgs("idle", "2")) }},
		{"config.json by rename", "ready", "/bin/sh /bin/idle 3", func(t *testing.T) {
			replaceFile(t, config, changedConfig(t, ready, withArgs("idle", "3")))
		}},
		{"config.json removed and made again", "ready", "/bin/sh /bin/idle 4", func(t *testing.T) {
			text := changedConfig(t, ready, withArgs("idle", "4"))
			check(t, os.Remove(config))
			check(t, os.WriteFile(config, []byte(text), 0o644))
		}},
		{"config.json of a ConfigMap", "mapped", "/bin/sh /bin/idle 2", func(t *testing.T) { symlink(t, "..v2", filepath.Join(mapped, "..data")) }},
		{"the bundle's directory is a link", "released", "/bin/sh /bin/idle 2", func(t *testing.T) { symlink(t, "2", filepath.Join(released, "current")) }},
		{"definition by rename", "plain", "/bin/sh /bin/idle 2", func(*testing.T) { n.define("plain", "command: [idle, '2']"+quick) }},
		{"definition in place", "plain", "/bin/sh /bin/idle 3", func(t *testing.T) {
			writeFile(t, n.definition("plain"), n.text("command: [idle, '3']"+quick))
		}},
		{"definition of a ConfigMap", "linked", "/bin/sh /bin/idle 2", func(t *testing.T) { symlink(t, "..v2", filepath.Join(definitions, "..data")) }},
		{"env file in place", "env", "/bin/sh /bin/idle", func(t *testing.T) { writeFile(t, envFile, "VERSION=2\n") }},
		{"env file by rename", "env", "/bin/sh /bin/idle", func(t *testing.T) { replaceFile(t, envFile, "VERSION=3\n") }},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := changesPromptly(n.in(t), tt.name, func() { tt.change(t) })
			runs(t, c, tt.runs)
		})
	}
	n.waitOutput("env", `(version 1\n)+(version 2\n)+(version 3\n)+`)

	t.Run("same content", func(t *testing.T) {
		before := n.list()
		writeFile(t, config, readFile(t, config))
		replaceFile(t, n.definition("plain"), readFile(t, n.definition("plain"))+"# a remark\n")
		replaceFile(t, envFile, "VERSION=3\n")
		// A real change after it shows that all have been looked at.
		n.define("marker", "command: [idle]"+quick)
		n.waitState("marker", "running")
		for _, c := range before {
			if now := n.get(c.Name); now.Pid != c.Pid {
				t.Errorf("%s was restarted", c.Name)
			}
		}
	})
	n.stop()
}

// runs waits until a container's init process is what it should be: when the runtime has started it, it need not have
// become its program yet.
func runs(t testing.TB, c container, want string) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("%s (pid %d) is %q", c.Name, c.Pid, want), func() error {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.Pid))
		if err != nil {
			return err
		}
		if got := strings.ReplaceAll(strings.TrimSuffix(string(data), "\x00"), "\x00", " "); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

func TestNewAndRemovedDefinitions(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("stays", "command: [idle]")
	n.start()
	stays := n.waitState("stays", "running")
	n.define("comes", "command: [idle]")
	comes := n.waitState("comes", "running")
	n.undefine("comes")
	n.waitGone("comes")
	if alive(comes.Pid) {
		t.Error("the container's process is still there")
	}
	for _, left := range []string{
		filepath.Join(n.run, "runtime/comes"), filepath.Join(n.state, "bundles/comes"), filepath.Join(n.state, "records/comes.json"),
		filepath.Join(n.state, "definitions/comes.yaml"),
	} {
		if _, err := os.Lstat(left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	if n.runcsup("status", "comes").code != 4 {
		t.Error("status knows a container without definition")
	}
	// What went while no daemon was there is ended by the next one.
	n.define("goes", "command: [idle]")
	goes := n.waitState("goes", "running")
	n.kill()
	n.undefine("goes")
	n.start()
	eventually(t, patience, "the orphan is ended", func() error {
		if alive(goes.Pid) {
			return fmt.Errorf("process %d lives", goes.Pid)
		}
		return nil
	})
	n.waitGone("goes")
	if c := n.waitState("stays", "running"); c.Pid != stays.Pid || !c.Adopted {
		t.Errorf("stays: got %s, want the same process, adopted", c.brief())
	}
	n.stop()
}

// Limits are applied to what runs.
func TestLimitsAreAppliedLive(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ready := filepath.Join(n.dir, "ready")
	makeBundle(n, ready, "idle")
	n.define("ready", "bundle: "+ready)
	n.define("plain", "command: [idle]\nresources: {memory: 32MiB, cpus: 0.5, pids: 50}")
	n.start()
	plain, isReady := n.waitState("plain", "running"), n.waitState("ready", "running")
	limits := func(name, memory, cpu, pids string) {
		t.Helper()
		eventually(t, patience, name+" has its limits", func() error {
			got := [3]string{cgroupValue(n, name, "memory"), cgroupValue(n, name, "cpu"), cgroupValue(n, name, "pids")}
			if want := [3]string{memory, cpu, pids}; got != want {
				return fmt.Errorf("they are %q, want %q", got, want)
			}
			return nil
		})
	}
	limits("plain", "33554432", "50000", "50")
	n.define("plain", "command: [idle]\nresources: {memory: 48MiB, cpus: 0.25, pids: 60}")
	limits("plain", "50331648", "25000", "60")
	n.define("plain", "command: [idle]\nresources: {memory: 24MiB, cpus: 2, pids: 40}")
	limits("plain", "25165824", "200000", "40")
	n.define("plain", "command: [idle]\nresources: {pids: 40}")
	limits("plain", "max", "max", "40")
	editConfig(t, ready, func(config object) {
		config["linux"].(object)["resources"] = object{
			"devices": config["linux"].(object)["resources"].(object)["devices"],
			"memory":  object{"limit": 64 << 20}, "pids": object{"limit": 30}, "cpu": object{"quota": 30000, "period": 100000},
		}
	})
	limits("ready", "67108864", "30000", "30")
	for _, before := range []container{plain, isReady} {
		if now := n.get(before.Name); now.Pid != before.Pid || now.State != "running" {
			t.Errorf("%s was restarted: %s", before.Name, now.brief())
		}
	}
	// The next instance has them too.
	n.must("restart", "ready")
	limits("ready", "67108864", "30000", "30")
	// Together with something else it is a restart.
	n.define("plain", "command: [idle, again]\nresources: {pids: 45}")
	n.waitFor("plain", "restarted", func(c container) bool { return c.State == "running" && c.Pid != plain.Pid })
	limits("plain", "max", "max", "45")
	n.stop()
}

// What is built for a start that does not come is not left lying beside.
func TestBuildsAreNotLeftBeside(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("runs", "command: [idle]\nresources: {pids: 40}")
	n.define("off", "command: [idle]\nenabled: false")
	n.start()
	before := n.waitState("runs", "running")
	beside := func() []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(n.state, "bundles", ".*"))
		check(t, err)
		return found
	}
	for i := range 4 {
		n.define("runs", fmt.Sprintf("command: [idle]\nresources: {pids: %d}", 50+i))
		n.define("off", fmt.Sprintf("command: [idle, '%d']\nenabled: false", i))
		if _, code := n.reload(); code != 0 {
			t.Fatalf("reload: code %d", code)
		}
	}
	if now := n.get("runs"); now.Pid != before.Pid {
		t.Errorf("restarted: %s", now.brief())
	}
	// One for each may wait for its start.
	if found := beside(); len(found) > 2 {
		t.Errorf("superseded builds are left: %q", found)
	}
	n.stop()
	if found := beside(); len(found) > 0 {
		t.Errorf("builds are left after the daemon has ended: %q", found)
	}
}
