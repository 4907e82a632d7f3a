package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// service is a machine with runcsup installed as `make install` does, and not started.
func service(t *testing.T) *sdMachine {
	t.Helper()
	m := newMachine(t)
	m.rootfs("/srv/rootfs")
	for _, unit := range []string{"runcsup.service", "runcsup-stop.service", "runcsup.slice"} {
		check(t, m.CopyIn(m.ctx, "../packaging/systemd/"+unit, "/usr/lib/systemd/system/"+unit, 0o644))
	}
	m.must("systemctl", "daemon-reload")
	return m
}

// list is `runcsup list -o json` by name.
func (m *sdMachine) list() (map[string]container, error) {
	out, err := m.try("runcsup", "list", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []container
	if err := json.NewDecoder(bytes.NewBufferString(out)).Decode(&list); err != nil {
		return nil, err
	}
	byName := map[string]container{}
	for _, c := range list {
		byName[c.Name] = c
	}
	return byName, nil
}

// waitAll waits until all containers are in a state, and returns them.
func (m *sdMachine) waitAll(state string) (list map[string]container) {
	m.Helper()
	eventually(m, patience, "all containers are "+state, func() (err error) {
		if list, err = m.list(); err != nil {
			return err
		}
		for name, c := range list {
			if c.State != state {
				return fmt.Errorf("%s is %s: %s", name, c.State, c.Error)
			}
		}
		return nil
	})
	return list
}

// A restart of the service leaves the containers alone, a stop ends them.
func TestRestartOrStopOfTheService(t *testing.T) {
	t.Parallel()
	m := service(t)
	for _, name := range []string{"a", "b"} {
		m.write("/etc/runcsup/containers.d/"+name+".yaml", "rootfs: /srv/rootfs\ncommand: [idle]\nstop: {timeout: 2s}\n")
	}
	m.must("systemctl", "start", "runcsup")
	before := m.waitAll("running")
	daemon := m.property("runcsup", "MainPID")
	for _, args := range [][]string{{"restart"}, {"try-restart"}, {"reload-or-restart"}, {"restart"}} {
		m.must("systemctl", append(args, "runcsup")...)
		after := m.waitAll("running")
		for name, c := range after {
			if c.Pid != before[name].Pid {
				t.Errorf("systemctl %s: %s has another pid", args[0], name)
			}
		}
		pid := m.property("runcsup", "MainPID")
		if replaced := pid != daemon; replaced == (args[0] == "reload-or-restart") {
			t.Errorf("systemctl %s: the daemon had pid %s and has %s", args[0], daemon, pid)
		}
		daemon = pid
	}
	if n := m.property("runcsup", "NRestarts"); n != "0" {
		t.Errorf("%s restarts were not asked for", n)
	}
	m.must("systemctl", "stop", "runcsup")
	for name, c := range before {
		if _, err := m.try("kill", "-0", fmt.Sprint(c.Pid)); err == nil {
			t.Errorf("%s runs although the service was stopped", name)
		}
	}
	if out := m.must("systemctl", "list-units", "--no-legend", "--all", "runcsup-*.scope"); out != "" {
		t.Errorf("scopes are left:\n%s", out)
	}

	// A signal by hand is no restart.
	m.must("systemctl", "start", "runcsup")
	before = m.waitAll("running")
	m.must("systemctl", "kill", "-s", "TERM", "--kill-who=main", "runcsup")
	eventually(t, patience, "the containers were replaced", func() error {
		list, err := m.list()
		if err != nil {
			return err
		}
		for name, c := range list {
			if c.State != "running" || c.Pid == before[name].Pid {
				return fmt.Errorf("%s is %s with pid %d", name, c.State, c.Pid)
			}
		}
		return nil
	})

	// What the settings say wins.
	m.write("/etc/runcsup/runcsup.yaml", "onTerminate: leave\n")
	m.must("systemctl", "restart", "runcsup")
	before = m.waitAll("running")
	m.must("systemctl", "stop", "runcsup")
	m.must("systemctl", "start", "runcsup")
	for name, c := range m.waitAll("running") {
		if c.Pid != before[name].Pid {
			t.Errorf("onTerminate: leave, and %s has another pid", name)
		}
	}
}

// Thirty containers end with thirty codes, and one by a signal, while no daemon runs; the next one knows how each did.
func TestExitsWhileTheServiceIsDown(t *testing.T) {
	t.Parallel()
	m := service(t)
	const containers = 30
	want := map[string]string{}
	define := func(name, command, exit string) {
		m.write("/etc/runcsup/containers.d/"+name+".yaml", "rootfs: /srv/rootfs\nmounts: [{source: /srv/signal, target: /signal}]\nrestart: no\n"+
			"command: [sh, -c, '"+command+"']\n")
		want[name] = exit
	}
	for i := range containers {
		code := i * 255 / (containers - 1)
		define(fmt.Sprintf("c%02d", i), fmt.Sprint("read line </signal/gate; exit ", code), fmt.Sprintf("exited/%d/", code))
	}
	define("killed", "sleep 1000", "signaled/-1/KILL")
	if !kernelTellsExits(t) {
		for name := range want {
			want[name] = "unknown/-1/"
		}
	}
	// The daemon that systemd starts in place of the killed one waits.
	m.write("/etc/systemd/system/runcsup.service.d/wait.conf", "[Service]\nExecStartPre=/bin/sh -c 'while [ -e /run/wait ]; do sleep 0.1; done'\n")
	m.write("/etc/runcsup/runcsup.yaml", "startTimeout: 10m\n") // one that cannot be started in time stays so
	m.must("mkdir", "-p", "/srv/signal")
	m.must("mkfifo", "/srv/signal/gate")
	m.must("systemctl", "daemon-reload")
	m.must("systemctl", "start", "runcsup")
	before := m.waitAll("running")
	if n := m.must("sh", "-c", "ls -l /proc/1/fd | grep -c pidfd || true"); n != fmt.Sprint(len(want)) {
		t.Errorf("systemd keeps %s pidfds", n)
	}
	m.must("touch", "/run/wait")
	m.must("systemctl", "kill", "-s", "KILL", "--kill-who=main", "runcsup")
	eventually(t, patience, "systemd is about to start the next daemon", func() error {
		if sub := m.property("runcsup", "SubState"); sub != "start-pre" {
			return fmt.Errorf("it is %s", sub)
		}
		return nil
	})
	m.must("kill", "-KILL", fmt.Sprint(before["killed"].Pid))
	for name, c := range before {
		eventually(t, patience, name+" ends", func() error {
			m.must("sh", "-c", ": <>/srv/signal/gate") // all that wait for somebody to open it go on
			if _, err := m.try("kill", "-0", fmt.Sprint(c.Pid)); err == nil {
				return fmt.Errorf("process %d is there", c.Pid)
			}
			return nil
		})
	}
	m.must("rm", "/run/wait")
	for name, c := range m.waitAll("exited") {
		if got := c.LastExit.String(); got != want[name] {
			t.Errorf("%s ended %s, want %s", name, got, want[name])
		}
	}
	// Nothing is kept of what is over.
	eventually(t, patience, "systemd has no pidfd any more", func() error {
		if n := m.must("sh", "-c", "ls -l /proc/1/fd | grep -c pidfd || true"); n != "0" {
			return fmt.Errorf("it has %s", n)
		}
		return nil
	})
}

// The service is upgraded without a restart: systemd sees the same main process, which goes on to feed the watchdog and to have
// its descriptors kept.
func TestReexecOfTheService(t *testing.T) {
	t.Parallel()
	m := service(t)
	m.write("/etc/runcsup/containers.d/still.yaml", "rootfs: /srv/rootfs\ncommand: [idle]\nstop: {timeout: 2s}\n")
	m.write("/etc/runcsup/containers.d/ends.yaml", "rootfs: /srv/rootfs\nmounts: [{source: /srv/signal, target: /signal}]\nrestart: no\n"+
		"command: [sh, -c, 'while [ ! -e /signal/go ]; do sleep 0.2; done; exit 77']\n")
	m.write("/etc/systemd/system/runcsup.service.d/test.conf", "[Service]\nWatchdogSec=6s\nExecStartPre=/bin/sh -c 'while [ -e /run/wait ]; do sleep 0.1; done'\n")
	m.must("mkdir", "-p", "/srv/signal")
	m.must("systemctl", "daemon-reload")
	m.must("systemctl", "start", "runcsup")
	before, daemon := m.waitAll("running"), m.property("runcsup", "MainPID")
	for round, replace := range [][]string{{"runcsup", "reexec", "--if-changed"}, {"systemctl", "reload", "runcsup"}, {"systemctl", "reload", "runcsup"}} {
		m.must("cp", "/usr/bin/runcsup", "/usr/bin/runcsup.new")
		m.must("mv", "/usr/bin/runcsup.new", "/usr/bin/runcsup")
		m.must(replace[0], replace[1:]...)
		if out := m.must("runcsup", "version", "-o", "json"); !strings.Contains(out, fmt.Sprintf(`"reexecs": %d`, round+1)) {
			t.Errorf("after %s: %s", strings.Join(replace, " "), out)
		}
		if pid := m.property("runcsup", "MainPID"); pid != daemon {
			t.Errorf("the main process was %s and is %s", daemon, pid)
		}
		eventually(t, patience, "systemd knows that it is ready", func() error {
			if state := m.property("runcsup", "ActiveState") + "/" + m.property("runcsup", "SubState"); state != "active/running" {
				return fmt.Errorf("the service is %s", state)
			}
			return nil
		})
	}
	if exe := m.must("readlink", "/proc/"+daemon+"/exe"); exe != "/usr/bin/runcsup" {
		t.Errorf("the daemon runs %s", exe)
	}
	// Longer than the watchdog's interval: it must be fed by the new program.
	fed := m.property("runcsup", "WatchdogTimestampMonotonic")
	for range 4 {
		eventually(t, patience, "the watchdog is fed", func() error {
			if now := m.property("runcsup", "WatchdogTimestampMonotonic"); now == fed {
				return fmt.Errorf("not since %s", now)
			}
			return nil
		})
		fed = m.property("runcsup", "WatchdogTimestampMonotonic")
	}
	after := m.waitAll("running")
	for name, c := range after {
		if c.Pid != before[name].Pid {
			t.Errorf("%s had pid %d and has %d", name, before[name].Pid, c.Pid)
		}
	}
	// What the first program had kept is there for the daemon after the next crash.
	m.must("touch", "/run/wait")
	m.must("systemctl", "kill", "-s", "KILL", "--kill-who=main", "runcsup")
	m.must("touch", "/srv/signal/go")
	eventually(t, patience, "the container ends", func() error {
		if _, err := m.try("kill", "-0", fmt.Sprint(before["ends"].Pid)); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
	m.must("rm", "/run/wait")
	want := "exited/77/"
	if !kernelTellsExits(t) {
		want = "unknown/-1/"
	}
	eventually(t, patience, "its end is known", func() error {
		list, err := m.list()
		if err != nil {
			return err
		}
		if c := list["ends"]; c.State != "exited" || c.LastExit.String() != want {
			return fmt.Errorf("it is %s, and ended %s", c.State, c.LastExit)
		}
		return nil
	})
}
