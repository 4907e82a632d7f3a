package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// machineProcess is a process of a container that is not confused with another one of the same pid.
type machineProcess struct {
	pid     int
	started string // field 22 of /proc/PID/stat
}

// instanceOf looks at a process of the machine.
func (m *sdMachine) instanceOf(pid int) (machineProcess, error) {
	out, err := m.try("cat", fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return machineProcess{}, err
	}
	fields := strings.Fields(out[strings.LastIndexByte(out, ')')+1:])
	if fields[0] == "Z" {
		return machineProcess{}, errors.New("it is a zombie")
	}
	return machineProcess{pid, fields[19]}, nil
}

// waitRunning waits until the daemon answers and all of these containers run, and returns their instances.
func (m *sdMachine) waitRunning(names ...string) map[string]machineProcess {
	m.Helper()
	found := map[string]machineProcess{}
	eventually(m, patience, fmt.Sprintf("%v run", names), func() error {
		clear(found)
		all, err := m.list()
		if err != nil {
			return err
		}
		for _, name := range names {
			c := all[name]
			if c.State != "running" {
				return fmt.Errorf("%s is %q: %s", name, c.State, c.Error)
			}
			if found[name], err = m.instanceOf(c.Pid); err != nil {
				return err
			}
		}
		return nil
	})
	return found
}

// sameInstances fails the test unless the containers are the ones they were.
func (m *sdMachine) sameInstances(before, after map[string]machineProcess) {
	m.Helper()
	for name, was := range before {
		if is := after[name]; is != was {
			m.Errorf("%s was %v and is %v", name, was, is)
		}
	}
	if m.Failed() {
		m.FailNow()
	}
}

// nothingRuns fails the test if one of the instances lives, or anything is left of a container in cgroups and mounts.
func (m *sdMachine) nothingRuns(instances map[string]machineProcess) {
	m.Helper()
	for name, was := range instances {
		if is, err := m.instanceOf(was.pid); err == nil && is == was {
			m.Errorf("%s still runs: %v", name, was)
		}
	}
	if left := m.must("find", "/sys/fs/cgroup", "-name", "*runcsup*"); left != "" {
		m.Errorf("cgroups are left:\n%s", left)
	}
	for line := range strings.Lines(m.must("cat", "/proc/1/mountinfo")) {
		if point := strings.Fields(line)[4] + "/"; strings.HasPrefix(point, "/run/runcsup/") || strings.HasPrefix(point, "/var/lib/runcsup/") {
			m.Errorf("a mount is left: %s", line)
		}
	}
}

// mainPid is the daemon's.
func (m *sdMachine) mainPid() string {
	m.Helper()
	return m.property("runcsup", "MainPID")
}

// waitNewDaemon waits until the service is active with another process than before.
func (m *sdMachine) waitNewDaemon(before string) {
	m.Helper()
	eventually(m, patience, "another daemon runs", func() error {
		state, pid := m.property("runcsup", "ActiveState"), m.mainPid()
		if state != "active" || pid == before || pid == "0" {
			return fmt.Errorf("it is %s with pid %s, which was %s", state, pid, before)
		}
		return nil
	})
}

// A stop takes as long as the containers need, not as long as systemd thinks a service may: the daemon asks for more.
func TestStopLastsAsLongAsContainersNeed(t *testing.T) {
	t.Parallel()
	m := service(t)
	m.write("/etc/systemd/system/runcsup.service.d/test.conf", "[Service]\nTimeoutStopSec=4s\n")
	m.must("systemctl", "daemon-reload")
	m.write("/etc/runcsup/containers.d/stubborn.yaml", `rootfs: /srv/rootfs
command: [sh, -c, "trap '' TERM; echo deaf >/tmp/deaf; while :; do sleep 0.2; done"]
stop: {timeout: 12s}
`)
	m.must("systemctl", "start", "runcsup")
	before := m.waitRunning("stubborn")
	m.eventuallyOutput("deaf", "cat", "/srv/rootfs/tmp/deaf")
	m.must("systemctl", "stop", "runcsup")
	m.nothingRuns(before)
	if result := m.property("runcsup", "Result"); result != "success" {
		t.Errorf("the result of the stop is %s", result)
	}
	out := m.must("journalctl", "-b", "--no-pager", "-u", "runcsup", "-o", "cat")
	if strings.Contains(out, "timed out") {
		t.Errorf("systemd lost its patience:\n%s", out)
	}
}
