package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Files that are no files must not hang the daemon, nor a missing directory stop anything.
func TestOddFilesAreRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", "command: [idle]")
	n.start()
	before := n.waitState("app", "running")
	bundle := filepath.Join(n.dir, "bundle")
	makeBundle(n, bundle, "idle")
	check(t, os.Remove(filepath.Join(bundle, "config.json")))
	check(t, syscall.Mkfifo(filepath.Join(bundle, "config.json"), 0o644))
	check(t, syscall.Mkfifo(filepath.Join(n.dir, "fifo"), 0o644))
	check(t, syscall.Mkfifo(n.definition("fifo"), 0o644))
	check(t, os.Mkdir(n.definition("directory"), 0o755)) // none of its business
	check(t, os.Symlink("/no/such/file", n.definition("dangling")))
	check(t, os.Symlink("/dev/zero", n.definition("endless")))
	check(t, os.Symlink("loop.yaml", n.definition("loop")))
	writeFile(t, n.definition("big"), strings.Repeat("# long\n", 200_000))
	writeFile(t, filepath.Join(n.containers, "other.yml"), n.text("command: [idle]"))
	writeFile(t, filepath.Join(n.containers, "not a name.yaml"), n.text("command: [idle]"))
	writeFile(t, filepath.Join(n.containers, "README"), "no definition\n")
	writeFile(t, filepath.Join(n.containers, ".hidden.yaml"), "no definition\n")
	writeFile(t, filepath.Join(n.containers, "backup.yaml~"), "no definition\n")
	n.define("ready-fifo", "bundle: DIR/bundle")
	n.define("env-fifo", "command: [idle]\nenvFile: [DIR/fifo]")
	n.define("archive-fifo", "rootfs-archive: DIR/fifo\ncommand: [idle]")
	n.define("good", "command: [idle]")
	n.waitState("good", "running")
	changes, code := n.reload()
	if code != 1 {
		t.Errorf("reload: code %d", code)
	}
	for _, name := range []string{"fifo", "dangling", "endless", "loop", "big", "ready-fifo", "env-fifo", "archive-fifo", "other"} {
		if c := changes[name]; c.Action != "refused" || c.Error == "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if !strings.Contains(changes["other"].Error, "other.yaml") {
		t.Errorf("no hint for .yml: %q", changes["other"].Error)
	}
	for name := range changes {
		if strings.Contains(name, "hidden") || strings.Contains(name, "backup") || strings.Contains(name, "README") {
			t.Errorf("%s was taken for a definition", name)
		}
	}
	check(t, os.Rename(n.containers, n.containers+".away"))
	if r := n.runcsup("reload"); r.code != 1 || !strings.Contains(r.stderr, n.containers) {
		t.Errorf("reload without the directory: %+v", r)
	}
	check(t, os.Rename(n.containers+".away", n.containers))
	n.define("later", "command: [idle]")
	n.waitState("later", "running")
	if now := n.get("app"); now.Pid != before.Pid || now.Error != "" {
		t.Errorf("another container did not stay as it was: %s", now.brief())
	}
	n.kill()
	n.start()
	if now := n.waitState("app", "running"); now.Pid != before.Pid {
		t.Errorf("after a restart of the daemon: %s", now.brief())
	}
	n.stop()
}

// A link that leads nowhere, for the moment, is no order to stop.
func TestDanglingDefinitionStopsNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	target := filepath.Join(n.dir, "elsewhere", "app.yaml")
	writeFile(t, target, n.text("command: [idle]\n"))
	symlink(t, target, n.definition("app"))
	n.start()
	before := n.waitState("app", "running")
	check(t, os.Rename(target, target+".away"))
	n.runcsup("reload")
	c := n.waitFor("app", "refused", func(c container) bool { return c.Error != "" })
	if c.Pid != before.Pid || c.State != "running" {
		t.Errorf("it did not stay as it was: %s", c.brief())
	}
	check(t, os.Rename(target+".away", target))
	mended(n, before)
	check(t, os.Remove(n.definition("app")))
	n.waitGone("app")
	n.stop()
}

// Whatever happens in between, the last word counts.
func TestManyChangesEndWithTheLast(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", "command: [idle, '0']")
	n.define("comes-and-goes", "command: [idle, '0']")
	n.start()
	n.waitState("app", "running")
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 10 {
			n.runcsup("reload")
		}
	})
	const last = 25
	for i := 1; i <= last; i++ {
		n.define("app", fmt.Sprintf("command: [idle, '%d']", i))
		if i%2 == 0 {
			n.undefine("comes-and-goes")
		} else {
			n.define("comes-and-goes", fmt.Sprintf("command: [idle, '%d']", i))
		}
		_, _ = n.tryList()
	}
	wg.Wait()
	for _, name := range []string{"app", "comes-and-goes"} {
		eventually(t, patience, name+" runs what was written last", func() error {
			c := n.get(name)
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.Pid))
			if want := fmt.Sprintf("/bin/sh\x00/bin/idle\x00%d\x00", last); err != nil || string(line) != want {
				return fmt.Errorf("it is %s, %q", c.brief(), line)
			}
			return nil
		})
	}
	n.stop()
}

// Verbs from many sides at once: in the end there is one instance or none, as was said last.
func TestVerbsFromManySides(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", "command: [sh, -c, 'exec idle']\nrestart: {delay: 10ms, maxDelay: 10ms, steps: 0, jitter: 0%}\nstop: {timeout: 1s}")
	n.start()
	n.waitState("app", "running")
	var wg sync.WaitGroup
	for _, verbs := range [][]string{{"start", "stop"}, {"restart", "kill -s KILL"}, {"stop", "restart"}} {
		wg.Go(func() {
			for range 4 {
				for _, verb := range verbs {
					r := n.runcsup(append(strings.Fields(verb), "app")...)
					// A stop wins over what others wait for, and nothing can be killed when nothing runs.
					if r.code != 0 && r.code != 1 {
						t.Errorf("%s: %+v", verb, r)
					}
				}
			}
		})
	}
	wg.Wait()
	n.must("start", "app")
	c := n.waitState("app", "running")
	if pids := processesIn(n, "app"); len(pids) == 0 || len(pids) > 2 || !alive(c.Pid) {
		t.Errorf("processes %v are there, want one instance, of pid %d", pids, c.Pid)
	}
	n.must("stop", "app")
	if left := processesIn(n, "app"); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	n.stop()
}

// processesIn returns the processes in a container's cgroups.
func processesIn(n *node, name string) (pids []int) {
	seen := map[int]bool{}
	for _, top := range cgroupsOf(n.run) {
		for _, pid := range processesInCgroup(filepath.Join(top, name)) {
			if !seen[pid] {
				seen[pid] = true
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// enabled: in a definition is about the start of the service; a running container is left to its user.
func TestEnabledInTheDefinition(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", "command: [idle]")
	n.start()
	before := n.waitState("app", "running")
	n.define("app", "command: [idle]\nenabled: false")
	c := n.waitFor("app", "disabled", func(c container) bool { return !c.Enabled })
	if c.State != "running" || c.Pid != before.Pid {
		t.Errorf("it did not stay as it was: %s", c.brief())
	}
	n.must("stop", "app")
	n.define("app", "command: [idle]\nenabled: true")
	n.waitFor("app", "enabled", func(c container) bool { return c.Enabled })
	// By hand has the last word over the file.
	n.must("disable", "app")
	n.define("app", "command: [idle, '2']\nenabled: true")
	n.must("reload")
	if c := n.get("app"); c.Enabled {
		t.Errorf("disabled by hand, but: %s", c.brief())
	}
	n.stop()
}
