package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// tell is a shell command that tells whoever supervises the container something.
const tell = "runcsup demo-payload tell "

// notifying is a container with a startup probe by notify, and what it runs.
func notifying(script, timeout, more string) string {
	return fmt.Sprintf("command: [sh, -c, %q]\nrestart: {delay: 100ms, steps: 0}\nstop: {timeout: 2s}\n"+
		"health: {startup: {notify: true, timeout: %s}, readiness: {notify: true}%s}\n", script, timeout, more)
}

// READY=1 may come late, twice, never, or not before the end.
func TestReadyByNotify(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.withProgram()
	n.define("late", notifying("until test -e /tmp/go; do sleep 0.1; done; "+tell+"READY=1 'STATUS=at last'; exec idle", "1h", ""))
	n.define("later", notifying("until test -e /tmp/later; do sleep 0.1; done; "+tell+"READY=1; exec idle", "1h", ""))
	n.define("twice", "user: app\nreadOnly: true\n"+notifying(tell+"READY=1; "+tell+"READY=1 STATUS=again; exec idle", "1h", ""))
	n.define("never", notifying("exec idle", "1s", ""))
	n.define("dies", notifying("exit 3", "1h", ""))
	n.start()
	early := n.waitState("late", "running")
	if early.Ready || early.Health != "starting" {
		t.Errorf("late, before READY=1: %s, health %s, ready %v", early.brief(), early.Health, early.Ready)
	}
	twice := n.waitFor("twice", "ready", func(c container) bool { return c.Ready && c.Health == "healthy" })
	writeFile(t, filepath.Join(n.rootfs, "tmp/go"), "")
	late := n.waitFor("late", "ready", func(c container) bool { return c.Ready && c.Health == "healthy" })
	if late.Pid != early.Pid {
		t.Errorf("late was restarted")
	}
	if out := n.must("status", "late"); !strings.Contains(out, "Status: at last") || !strings.Contains(out, "READY=1") {
		t.Errorf("its status does not say so:\n%s", out)
	}
	never := n.waitFor("never", "ended", func(c container) bool { return c.LastExit != nil && c.Restarts > 1 })
	if never.LastExit.Reason != "unhealthy" || never.Ready {
		t.Errorf("never: last exit %s", never.LastExit)
	}
	dies := n.waitFor("dies", "ended", func(c container) bool { return c.LastExit != nil && c.Restarts > 1 })
	if dies.LastExit.String() != "exited/3/" || dies.Ready {
		t.Errorf("dies: last exit %s", dies.LastExit)
	}
	// A daemon that replaces itself keeps its ears, and one that comes after it knows what was said.
	n.must("reexec")
	writeFile(t, filepath.Join(n.rootfs, "tmp/later"), "")
	later := n.waitFor("later", "ready", func(c container) bool { return c.Ready && c.Adopted })
	n.kill()
	n.start()
	for name, before := range map[string]container{"late": late, "twice": twice, "later": later} {
		if c := n.waitFor(name, "adopted", func(c container) bool { return c.Adopted && c.Health != "starting" }); c.Pid != before.Pid || !c.Ready {
			t.Errorf("%s after a restart of the daemon: %s, ready %v", name, c.brief(), c.Ready)
		}
	}
	n.stop()
}

// A container that does not ping its watchdog any more is restarted, as is one that says that it does not work; also with a
// ready bundle.
func TestWatchdogOfContainers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.withProgram()
	const watchdog = "restart: {delay: 100ms, steps: 0}\nstop: {timeout: 1s}\nhealth: {liveness: {notify: true, timeout: 4s}}\n"
	pings := "for i in 1 2 3; do " + tell + "WATCHDOG=1; sleep 0.5; done; echo $WATCHDOG_USEC; "
	n.define("silent", fmt.Sprintf("command: [sh, -c, %q]\n", pings+"exec idle")+watchdog)
	n.define("trigger", fmt.Sprintf("command: [sh, -c, %q]\n", pings+tell+"WATCHDOG=trigger; exec idle")+watchdog)
	makeBundle(n, filepath.Join(n.dir, "ready"), "sh", "-c", pings+"exec idle")
	n.define("bundle", "bundle: DIR/ready\n"+watchdog)
	n.start()
	for _, name := range []string{"silent", "trigger", "bundle"} {
		n.waitHealth(name, "healthy")
		c := n.waitFor(name, "started again", func(c container) bool { return c.Restarts > 0 })
		if c.LastExit == nil || c.LastExit.Reason != "unhealthy" {
			t.Errorf("%s: last exit %s", name, c.LastExit)
		}
		n.waitOutput(name, "(?m)^4000000$")
	}
	n.stop()
}

// What a container says while there is no daemon is heard by the next one: the service manager keeps the socket.
func TestReadyWithoutDaemon(t *testing.T) {
	t.Parallel()
	m := service(t)
	m.must("cp", "/usr/bin/runcsup", "/srv/rootfs/bin/runcsup")
	script := "until test -e /tmp/go; do sleep 0.1; done; " + tell + "READY=1 && touch /tmp/told; exec idle"
	m.write("/etc/runcsup/containers.d/app.yaml", "rootfs: /srv/rootfs\n"+notifying(script, "1h", ""))
	m.must("systemctl", "start", "runcsup")
	before := m.waitAll("running")["app"]
	if before.Ready {
		t.Fatal("it is ready before it said so")
	}
	// Stopped, the daemon hears nothing; then it is killed.
	daemon := m.property("runcsup", "MainPID")
	m.must("kill", "-STOP", daemon)
	m.must("touch", "/srv/rootfs/tmp/go")
	eventually(t, patience, "the container has said that it is ready", func() error {
		_, err := m.try("test", "-e", "/srv/rootfs/tmp/told")
		return err
	})
	m.must("kill", "-KILL", daemon)
	eventually(t, patience, "the next daemon knows", func() error {
		list, err := m.list()
		if err != nil {
			return err
		}
		if c := list["app"]; !c.Ready || c.Pid != before.Pid {
			return fmt.Errorf("%s, ready %v", c.brief(), c.Ready)
		}
		return nil
	})
	m.must("systemctl", "stop", "runcsup")
}

// With ready: notify others wait for READY=1, whether it comes late, never, or the container dies first.
func TestOthersWaitForReady(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.withProgram()
	ready := func(on, script string) string {
		return fmt.Sprintf("ready: %s\ncommand: [sh, -c, %q]\nrestart: {delay: 100ms, steps: 0}\nstop: {timeout: 2s}\n", on, script)
	}
	for name, definition := range map[string]string{
		"late":  ready("notify", "until test -e /tmp/go; do sleep 0.1; done; "+tell+"READY=1; exec idle"),
		"never": ready("{on: notify, timeout: 1s}", "exec idle"),
		"dies":  ready("notify", "sleep 0.3; exit 3"),
	} {
		n.define(name, definition)
		n.define("after-"+name, "command: [idle]\nrequires: ["+name+"]\nafter: ["+name+"]\n")
	}
	n.start()
	late := n.waitState("late", "running")
	never := n.waitState("never", "running")
	n.waitFor("dies", "started again", func(c container) bool { return c.Restarts > 1 })
	eventually(t, patience, "never is late", func() error {
		if !strings.Contains(n.must("history", "never"), "not ready within 1s") {
			return fmt.Errorf("history:\n%s", n.must("history", "never"))
		}
		return nil
	})
	for _, name := range []string{"late", "never", "dies"} {
		if c := n.get("after-" + name); c.Pid != 0 || n.get(name).Ready {
			t.Errorf("before READY=1: %s", c.brief())
		}
	}
	writeFile(t, filepath.Join(n.rootfs, "tmp/go"), "")
	n.waitState("after-late", "running")
	if c := n.get("late"); !c.Ready || c.Pid != late.Pid || c.Health != "none" {
		t.Errorf("late: %s, ready %v, health %s", c.brief(), c.Ready, c.Health)
	}
	if c := n.get("never"); c.Pid != never.Pid || c.State != "running" {
		t.Errorf("never: %s", c.brief())
	}
	n.stop()
}
