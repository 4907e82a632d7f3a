package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// wrapperUnit is the unit of the kind that people come from.
const wrapperUnit = `[Unit]
Description=the wrapped container
[Service]
Type=forking
ExecStartPre=-/usr/sbin/runc kill wrapped KILL
ExecStartPre=-/usr/sbin/runc delete wrapped
ExecStart=/usr/sbin/runc run -d --pid-file /run/wrapped.pid wrapped
WorkingDirectory=/srv/wrapped
PIDFile=/run/wrapped.pid
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
`

// wrappedMachine is a machine with that unit and its bundle, and runcsup without containers.
func wrappedMachine(t *testing.T) *sdMachine {
	t.Helper()
	m := newMachine(t)
	m.rootfs("/srv/wrapped/rootfs")
	m.must("sh", "-c", "cd /srv/wrapped && runc spec")
	var config map[string]any
	check(t, json.Unmarshal([]byte(m.must("cat", "/srv/wrapped/config.json")), &config))
	process := config["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"idle"}
	data, err := json.Marshal(config)
	check(t, err)
	m.write("/srv/wrapped/config.json", string(data))
	m.write("/etc/systemd/system/wrapped.service", wrapperUnit)
	m.must("mkdir", "-p", "/etc/runcsup/containers.d")
	check(t, m.CopyIn(m.ctx, "../packaging/systemd/runcsup.service", "/usr/lib/systemd/system/runcsup.service", 0o644))
	check(t, m.CopyIn(m.ctx, "../packaging/systemd/runcsup.slice", "/usr/lib/systemd/system/runcsup.slice", 0o644))
	m.must("systemctl", "enable", "--now", "runcsup", "wrapped")
	return m
}

func (m *sdMachine) status(name string) (c container) {
	m.Helper()
	decode(m, m.must("runcsup", "status", name, "-o", "json"), &c)
	return c
}

// idles are the processes of the wrapped container's program, in whatever hands.
func (m *sdMachine) idles() string {
	out, _ := m.try("pgrep", "-fx", "/bin/sh /bin/idle")
	return strings.Join(strings.Fields(out), " ")
}

// From a unit around runc to runcsup without a gap, and one instance at any time.
func TestImportAdopt(t *testing.T) {
	t.Parallel()
	m := wrappedMachine(t)
	pid := m.must("cat", "/run/wrapped.pid")

	m.must("sh", "-c", "runcsup import unit wrapped.service >/tmp/wrapped.yaml && runcsup check /tmp/wrapped.yaml")
	out := m.must("runcsup", "import", "unit", "/etc/systemd/system/wrapped.service", "--adopt")
	if !strings.Contains(out, "systemctl disable --now wrapped.service") {
		t.Errorf("it does not say what to do next:\n%s", out)
	}
	if c := m.status("wrapped"); fmt.Sprint(c.Pid) != pid || c.State != "running" || c.Error != "" {
		t.Fatalf("after the adoption: %+v, the process was %s", c, pid)
	}
	if def := m.must("cat", "/etc/runcsup/containers.d/wrapped.yaml"); !strings.Contains(def, "bundle: /srv/wrapped") {
		t.Errorf("the definition is\n%s", def)
	}
	// A second time nothing happens; above all the container is not given back to the unit.
	if again, err := m.try("runcsup", "import", "unit", "wrapped.service", "--adopt"); err == nil {
		t.Errorf("adopted twice: %s", again)
	}
	// The unit can do what it wants.
	if out, err := m.try("systemctl", "restart", "wrapped"); err == nil {
		t.Errorf("the unit can be restarted: %s", out)
	}
	m.must("systemctl", "disable", "--now", "wrapped")
	m.must("systemctl", "daemon-reload")
	if state := m.property("wrapped", "ActiveState"); state != "inactive" {
		t.Errorf("the unit is %s", state)
	}
	for _, what := range []string{"the unit was stopped", "runcsup was restarted", "runcsup was killed"} {
		if c := m.status("wrapped"); fmt.Sprint(c.Pid) != pid || c.Restarts != 0 {
			t.Fatalf("%s: %+v", what, c)
		}
		if out := m.must("runcsup", "exec", "wrapped", "cat", "/proc/self/cgroup"); out != m.must("cat", "/proc/"+pid+"/cgroup") {
			t.Errorf("%s: a command in it is in another cgroup:\n%s", what, out)
		}
		switch what {
		case "the unit was stopped":
			m.must("systemctl", "restart", "runcsup")
		case "runcsup was restarted":
			m.must("systemctl", "kill", "-s", "KILL", "runcsup")
			eventually(t, patience, "runcsup is back", func() error {
				_, err := m.try("runcsup", "status", "wrapped")
				return err
			})
		}
	}
	// When it dies it is started once, by runcsup, and in its own place.
	m.must("kill", "-KILL", pid)
	eventually(t, patience, "it is started again", func() error {
		out, err := m.try("runcsup", "status", "wrapped", "-o", "json")
		if err != nil {
			return err
		}
		var c container
		if decode(t, out, &c); c.State != "running" || c.Restarts != 1 || fmt.Sprint(c.Pid) == pid {
			return fmt.Errorf("it is %+v", c)
		}
		return nil
	})
	c := m.status("wrapped")
	if got := m.idles(); got != fmt.Sprint(c.Pid) {
		t.Errorf("its processes are %q, want %d alone", got, c.Pid)
	}
	if cgroup := m.must("cat", fmt.Sprintf("/proc/%d/cgroup", c.Pid)); strings.Contains(cgroup, "wrapped.service") {
		t.Errorf("it is still in the unit's cgroup:\n%s", cgroup)
	}
	m.must("runcsup", "stop", "wrapped")
	if got := m.idles(); got != "" {
		t.Errorf("after stop: %s", got)
	}
	if out := m.must("sh", "-c", "find /sys/fs/cgroup -path '*wrapped*' -name cgroup.procs -exec cat {} +; ls /run/runc"); out != "" {
		t.Errorf("left: %s", out)
	}
	check(t, m.Reset(m.ctx))
	eventually(t, patience, "it starts with the machine", func() error {
		out, err := m.try("runcsup", "status", "wrapped", "-o", "json")
		if err == nil && !strings.Contains(out, `"running"`) {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	if got := m.idles(); got != fmt.Sprint(m.status("wrapped").Pid) {
		t.Errorf("after a reset its processes are %q", got)
	}
}

// A stop right after the adoption ends everything that the unit had started; a failed adoption leaves the unit as it was.
func TestImportAdoptStopAndFail(t *testing.T) {
	t.Parallel()
	m := wrappedMachine(t)
	pid := m.must("cat", "/run/wrapped.pid")
	unit := m.must("systemctl", "show", "wrapped", "-p", "Restart,KillMode,DropInPaths,MainPID")
	state := m.must("sha256sum", "/run/runc/wrapped/state.json")
	same := func(what string) {
		t.Helper()
		if now := m.must("systemctl", "show", "wrapped", "-p", "Restart,KillMode,DropInPaths,MainPID"); now != unit {
			t.Errorf("%s: the unit is\n%s\nit was\n%s", what, now, unit)
		}
		if now := m.must("sha256sum", "/run/runc/wrapped/state.json"); now != state {
			t.Errorf("%s: runc's state was changed", what)
		}
		if out := m.must("sh", "-c", "runcsup list -o json; ls /run/runcsup/runtime /etc/runcsup/containers.d | grep wrapped.yaml.new; true"); strings.TrimSpace(out) != "[]" && what != "a definition is there" {
			t.Errorf("%s: the daemon has %s", what, out)
		}
		m.must("kill", "-0", pid)
	}
	// The daemon's runtime cannot read what the unit's runtime has written.
	m.write("/etc/runcsup/runcsup.yaml", "runtime: /usr/bin/other\n")
	m.write("/usr/bin/other", "#!/bin/sh\ncase \"$*\" in *state*) exit 1;; esac\nexec runc \"$@\"\n")
	m.must("chmod", "755", "/usr/bin/other")
	m.must("systemctl", "restart", "runcsup")
	if out, err := m.try("runcsup", "import", "unit", "wrapped.service", "--adopt"); err == nil {
		t.Errorf("adopted with the wrong runtime: %s", out)
	}
	same("another runtime")
	m.must("rm", "/etc/runcsup/runcsup.yaml")
	m.must("systemctl", "restart", "runcsup")
	m.write("/etc/runcsup/containers.d/wrapped.yaml", "no: definition\n")
	if out, err := m.try("runcsup", "import", "unit", "wrapped.service", "--adopt"); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("replaced a definition: %s %v", out, err)
	}
	same("a definition is there")
	m.must("systemctl", "stop", "runcsup")
	if out, err := m.try("runcsup", "import", "unit", "wrapped.service", "--adopt"); err == nil {
		t.Errorf("adopted without a daemon: %s", out)
	}
	m.must("systemctl", "start", "runcsup")

	m.must("runcsup", "import", "unit", "wrapped.service", "--adopt", "--force")
	if c := m.status("wrapped"); fmt.Sprint(c.Pid) != pid {
		t.Fatalf("after the adoption: %+v, the process was %s", c, pid)
	}
	m.must("runcsup", "stop", "wrapped")
	eventually(t, patience, "nothing of it is left", func() error {
		if got := m.idles(); got != "" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	m.must("runcsup", "start", "wrapped")
	if got := m.idles(); got != fmt.Sprint(m.status("wrapped").Pid) {
		t.Errorf("its processes are %q", got)
	}
}
