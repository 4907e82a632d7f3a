package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// pair is two containers of which one needs the other; they write down how they end. It has been installed, and runs.
func (m *sdMachine) pair() map[string]machineProcess {
	m.Helper()
	m.rootfs("/srv/rootfs")
	for name, needs := range map[string]string{"db": "", "web": "requires: [db]\n"} {
		m.write("/etc/runcsup/containers.d/"+name+".yaml", fmt.Sprintf(`rootfs: /srv/rootfs
command: [sh, -c, "trap 'sleep 2.5; echo %s >>/tmp/ended; exit 0' TERM; echo %[1]s >>/tmp/begun; while :; do sleep 0.1; done"]
stop: {timeout: 50s}
%s`, name, needs))
	}
	m.must("systemctl", "restart", "runcsup")
	return m.pairRuns()
}

func (m *sdMachine) pairRuns() map[string]machineProcess {
	m.Helper()
	found := m.waitRunning("db", "web")
	m.eventuallyOutput("db\nweb", "cat", "/srv/rootfs/tmp/begun") // from then on they hear of signals
	return found
}

// endedInOrder fails the test unless both were ended as they want it, and nothing is left.
func (m *sdMachine) endedInOrder(was map[string]machineProcess) {
	m.Helper()
	m.nothingRuns(was)
	if ended := m.must("cat", "/srv/rootfs/tmp/ended"); ended != "web\ndb" {
		m.Errorf("there ended %q", ended)
	}
	if left := m.must("ls", "/run/runcsup"); left != "" && left != "lock" {
		m.Errorf("in /run/runcsup is left:\n%s", left)
	}
	m.must("rm", "/srv/rootfs/tmp/ended", "/srv/rootfs/tmp/begun")
}

// A stop of the service ends the containers also when there is no daemon that could: it waits for its next start, or dies of the
// very signal that it was to act upon. A crash and a restart leave them alone.
func TestStopWithoutADaemon(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("dpkg", "-i", m.copyPackage(packagesOf(t, olderVersion).deb))
	// Less than the containers take to end, one after the other.
	for _, unit := range []string{"runcsup", "runcsup-stop"} {
		m.write("/etc/systemd/system/"+unit+".service.d/test.conf", "[Service]\nTimeoutStopSec=4s\n")
	}
	m.write("/run/systemd/system/runcsup.service.d/wait.conf", "[Service]\nRestartSec=1h\n")
	m.must("systemctl", "daemon-reload")
	first := m.pair()
	crash := func() {
		t.Helper()
		m.must("systemctl", "kill", "--kill-who=main", "--signal=KILL", "runcsup")
		m.eventuallyOutput("auto-restart", "systemctl", "show", "--value", "--property=SubState", "runcsup")
	}
	crash()
	m.must("systemctl", "restart", "runcsup")
	m.sameInstances(first, m.waitRunning("db", "web"))
	crash()
	// Perhaps the reason why it cannot be started any more.
	m.must("cp", "/etc/runcsup/runcsup.yaml", "/root/runcsup.yaml")
	m.write("/etc/runcsup/runcsup.yaml", "runtme: crun\n")
	m.must("systemctl", "stop", "runcsup")
	m.endedInOrder(first)
	m.must("cp", "/root/runcsup.yaml", "/etc/runcsup/runcsup.yaml")

	// Started again, and told to go on by itself after a crash.
	m.must("rm", "-r", "/run/systemd/system/runcsup.service.d")
	m.must("systemctl", "daemon-reload")
	m.must("systemctl", "start", "runcsup")
	second := m.pairRuns()
	before := m.mainPid()
	m.must("systemctl", "kill", "--kill-who=main", "--signal=KILL", "runcsup")
	m.waitNewDaemon(before)
	m.sameInstances(second, m.waitRunning("db", "web"))

	// Stopped between two programs.
	m.must("mkfifo", "/run/runcsup-hang")
	ctx, hangUp := context.WithCancel(m.ctx)
	reexec := m.Command(ctx, "runcsup", "reexec")
	check(t, reexec.Start())
	t.Cleanup(func() { hangUp(); _ = reexec.Wait() }) // it waits for a daemon to answer
	pid := m.mainPid()
	eventually(t, patience, "the new program does not hear of signals yet", func() error {
		if environ, err := m.try("cat", "/proc/"+pid+"/environ"); err != nil || !strings.Contains(environ, "RUNCSUP_HANDOVER=") {
			return errors.Join(err, errors.New("it is not executed yet"))
		}
		return nil
	})
	m.must("systemctl", "stop", "runcsup")
	m.must("rm", "/run/runcsup-hang")
	m.endedInOrder(second)
	if how := m.property("runcsup", "ExecMainCode") + " " + m.property("runcsup", "ExecMainStatus"); how != "2 15" {
		t.Errorf("the daemon has not been killed by SIGTERM, but ended with code and status %s: this test shows nothing", how)
	}
	for _, unit := range []string{"runcsup", "runcsup-stop"} {
		if state := m.property(unit, "ActiveState"); state != "inactive" {
			t.Errorf("%s is %s in the end", unit, state)
		}
	}
}
