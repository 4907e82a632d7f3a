package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/runcsup/runcsup/e2e/machine"
)

// crowdSize is a unit with so many processes that, when the daemon starts after a reset, every pid that a container had before
// belongs to somebody else.
const (
	crowdSize = 600
	crowdUnit = `[Unit]
Before=runcsup.service
[Service]
Type=forking
TimeoutStartSec=infinity
ExecStart=/bin/sh -c 'for i in $(seq %d); do sleep 1000000 & done'
[Install]
WantedBy=multi-user.target
`
)

// beforeReset is what was there before the power went.
type beforeReset struct {
	Pids map[string]int
}

// prepareReset leaves a machine with containers that run and some that do not.
func prepareReset(m *sdMachine) beforeReset {
	m.Helper()
	m.must("dpkg", "-i", m.copyPackage(packagesOf(m, newerVersion).deb))
	m.rootfs("/srv/rootfs")
	for name, more := range map[string]string{
		"web": "", "db": "", "halted": "", "off": "", "never": "enabled: false\n", "once": "restart: no\n",
	} {
		m.write("/etc/runcsup/containers.d/"+name+".yaml", "rootfs: /srv/rootfs\ncommand: [idle]\nstop: {timeout: 2s}\n"+more)
	}
	m.must("runcsup", "reload")
	was := beforeReset{Pids: map[string]int{}}
	for name, p := range m.waitRunning("web", "db", "halted", "off", "once") {
		was.Pids[name] = p.pid
	}
	m.must("runcsup", "stop", "halted")
	m.must("runcsup", "disable", "--now", "off")
	m.write("/etc/systemd/system/crowd.service", fmt.Sprintf(crowdUnit, crowdSize))
	m.must("systemctl", "enable", "crowd")
	return was
}

// checkReset looks at the machine when it is up again.
func checkReset(m *sdMachine, was beforeReset) {
	m.Helper()
	if left := m.must("sh", "-c", "pgrep -c -x sleep || true"); left < fmt.Sprint(crowdSize) {
		m.Fatalf("there are %s processes of the crowd: this test shows nothing", left)
	}
	// As with systemd: stopped by hand lasts until the next boot, disabled until enabled.
	m.waitRunning("web", "db", "halted", "once")
	all, err := m.list()
	check(m, err)
	if x := all["web"].LastExit; x == nil || x.Reason != "unknown" || x.Code != -1 || x.Signal != "" {
		m.Errorf("web ended with the machine, and not: %s", x)
	}
	for name, c := range all {
		switch name {
		case "off", "never":
			if c.State != "stopped" || c.Pid != 0 {
				m.Errorf("%s is %s with pid %d", name, c.State, c.Pid)
			}
		default:
			root, err := m.try("readlink", fmt.Sprintf("/proc/%d/exe", c.Pid))
			if err != nil || !strings.HasSuffix(strings.TrimSpace(root), "/bin/busybox") {
				m.Errorf("%s has pid %d, which is %s %v", name, c.Pid, root, err)
			}
			if c.Adopted || c.Restarts != 0 {
				m.Errorf("%s: adopted %v, %d restarts", name, c.Adopted, c.Restarts)
			}
		}
	}
	// Nobody of the crowd was taken for a container.
	for name, pid := range was.Pids {
		if comm, err := m.try("cat", fmt.Sprintf("/proc/%d/comm", pid)); err != nil {
			m.Logf("pid %d, which %s had, is free", pid, name)
		} else {
			m.Logf("pid %d, which %s had, is %s", pid, name, strings.TrimSpace(comm))
		}
	}
	if n := strings.TrimSpace(m.must("systemctl", "show", "--value", "-p", "TasksCurrent", "crowd")); n != fmt.Sprint(crowdSize) {
		m.Errorf("of %d processes of the crowd there are %s", crowdSize, n)
	}
	for name, want := range map[string][]string{
		"web": {"boot", "started", "boot", "lost", "started"}, "halted": {"started", "stopped", "boot", "started"}, "off": {"started", "stopped"},
	} {
		out := m.must("runcsup", "history", name)
		rest := out
		for _, word := range want {
			_, after, found := strings.Cut(rest, word)
			if !found {
				m.Errorf("the history of %s has no %q where it should:\n%s", name, word, out)
				break
			}
			rest = after
		}
		if name == "off" && strings.Contains(rest, "started") {
			m.Errorf("off was started after the reset:\n%s", out)
		}
	}
	if out := m.must("runcsup", "history", "web"); !strings.Contains(out, "without the daemon being told") {
		m.Errorf("the history does not say why web ended:\n%s", out)
	}
}

// The power goes while containers run: all that is to run runs again, nothing is taken for what it is not.
func TestReset(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	was := prepareReset(m)
	check(t, m.Reset(m.ctx))
	checkReset(m, was)
}

// resetFile is on the disk of a machine whose tests go on after a reset.
const resetFile = "/var/lib/machine-reset.json"

// TestRealReset is TestReset with the reset of a real machine, on which this test runs: see tools/test-vm. The first time it does
// not return.
func TestRealReset(t *testing.T) {
	if os.Getenv("RUNCSUP_E2E_OWN_MACHINE") == "" {
		t.Skip("resets the machine that it runs on: make test-vm")
	}
	m := here(t)
	text, err := os.ReadFile(resetFile)
	if err != nil {
		text, err = json.Marshal(prepareReset(m))
		check(t, err)
		check(t, os.WriteFile(resetFile, text, 0o644))
		m.must("sync")
		m.must("reboot", "--force", "--force")
		select {}
	}
	var was beforeReset
	check(t, json.Unmarshal(text, &was))
	check(t, os.Remove(resetFile))
	checkReset(m, was)
	m.must("systemctl", "disable", "--now", "crowd")
	m.must("dpkg", "--purge", "runcsup")
	m.must("rm", "-r", "/etc/runcsup")
}

// here is the machine that the tests run on.
func here(t testing.TB) *sdMachine {
	m := &sdMachine{Machine: machine.Here(), TB: t, ctx: t.Context()}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.try("journalctl", "--no-pager", "--lines=150")
			t.Logf("journal:\n%s", out)
		}
	})
	return m
}
