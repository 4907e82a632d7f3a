package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The life of the service as a package: whatever happens to the daemon, its containers run on; and when it is stopped or
// removed, nothing of them is left.
func TestContainersOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("dpkg", "-i", m.copyPackage(packagesOf(t, olderVersion).deb))
	m.rootfs("/srv/rootfs")
	// The daemon that hangs is to be noticed in a few seconds.
	m.write("/etc/systemd/system/runcsup.service.d/test.conf", "[Service]\nWatchdogSec=5s\n")
	m.must("systemctl", "daemon-reload")
	names := []string{"one", "two", "three"}
	for _, name := range names {
		m.write("/etc/runcsup/containers.d/"+name+".yaml", "rootfs: /srv/rootfs\ncommand: [idle]\nstop: {timeout: 2s}\n")
	}
	m.must("systemctl", "enable", "--now", "runcsup")
	first := m.waitRunning(names...)
	eventually(t, patience, "STATUS says how many run", func() error {
		if text := m.property("runcsup", "StatusText"); !strings.HasPrefix(text, "3 of 3 running") {
			return fmt.Errorf("it is %q", text)
		}
		return nil
	})
	same := func(what string) {
		t.Helper()
		t.Log(what)
		after := m.waitRunning(names...)
		m.sameInstances(first, after)
		if state := m.property("runcsup", "ActiveState"); state != "active" {
			t.Fatalf("after %s the service is %s", what, state)
		}
	}

	pid := m.mainPid()
	m.must("systemctl", "restart", "runcsup")
	m.waitNewDaemon(pid)
	same("restart")

	pid = m.mainPid()
	m.must("systemctl", "reload", "runcsup")
	same("reload")
	if m.mainPid() != pid {
		t.Error("the reload replaced the daemon")
	}

	m.must("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "runcsup")
	m.waitNewDaemon(pid)
	same("kill -9")

	pid = m.mainPid()
	m.must("systemctl", "kill", "--kill-whom=main", "--signal=USR2", "runcsup")
	m.waitNewDaemon(pid)
	same("watchdog")
	journal := m.must("journalctl", "-b", "--no-pager", "-u", "runcsup", "-o", "cat")
	for _, want := range []string{"Watchdog timeout", "SIGABRT", "(*Daemon).loop"} { // where it hung
		if !strings.Contains(journal, want) {
			t.Errorf("the journal does not tell of %s", want)
		}
	}

	pid = m.mainPid()
	m.must("systemctl", "daemon-reexec")
	same("daemon-reexec")
	if m.mainPid() != pid {
		t.Error("the daemon was replaced by systemctl daemon-reexec")
	}

	m.waitDaemon(olderVersion)
	pid = m.mainPid()
	m.must("systemctl", "stop", "runcsup-stop") // as in a version that did not have it; by itself it stops nothing
	same("a stop of runcsup-stop")
	m.must("dpkg", "-i", m.copyPackage(packagesOf(t, newerVersion).deb))
	m.waitDaemon(newerVersion)
	same("upgrade")
	if state := m.property("runcsup-stop", "ActiveState"); state != "active" {
		t.Errorf("after the upgrade runcsup-stop is %s", state)
	}
	if m.mainPid() != pid {
		t.Error("the upgrade restarted the daemon, which had better replaced itself")
	}

	m.must("systemctl", "stop", "runcsup")
	m.nothingRuns(first)

	m.must("systemctl", "start", "runcsup")
	again := m.waitRunning(names...)
	m.must("dpkg", "--remove", "runcsup")
	m.nothingRuns(again)
	m.must("test", "-d", "/var/lib/runcsup")
	m.must("dpkg", "--purge", "runcsup")
	left := strings.Fields(m.must("find", "/etc", "/usr", "/var", "/run", "-xdev", "-iname", "*runcsup*"))
	slices.Sort(left)
	if want := []string{"/etc/runcsup", "/etc/systemd/system/runcsup.service.d"}; !slices.Equal(left, want) {
		t.Errorf("the purge leaves more than the administrator's own files:\n%s", left)
	}
	if left := m.must("ls", "/etc/runcsup/containers.d"); left != "one.yaml\nthree.yaml\ntwo.yaml" {
		t.Errorf("of the definitions there are left:\n%s", left)
	}
}

// An rpm, on a machine whose package manager is another: its scripts are those of any other.
func TestRPM(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	rpm := func(args ...string) {
		m.Helper()
		m.must("rpm", append([]string{"--force-debian", "--nodeps", "--noplugins"}, args...)...)
	}
	rpm("-i", m.copyPackage(packagesOf(t, olderVersion).rpm))
	if state, _ := m.try("systemctl", "is-active", "runcsup"); strings.TrimSpace(state) != "inactive" {
		t.Errorf("after the installation the service is %s", state)
	}
	m.must("systemctl", "enable", "--now", "runcsup")
	m.rootfs("/srv/rootfs")
	m.write("/etc/runcsup/containers.d/app.yaml", "rootfs: /srv/rootfs\ncommand: [idle]\nstop: {timeout: 2s}\n")
	before := m.waitRunning("app")
	rpm("-U", m.copyPackage(packagesOf(t, newerVersion).rpm))
	m.waitDaemon(newerVersion)
	m.sameInstances(before, m.waitRunning("app"))
	rpm("-e", "runcsup")
	m.nothingRuns(before)
	if state, _ := m.try("systemctl", "is-enabled", "runcsup"); !strings.Contains(state, "not-found") && !strings.Contains(state, "No such file") {
		t.Errorf("after the removal the service is %s", state)
	}
}
