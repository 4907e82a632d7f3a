package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crowd defines containers of many kinds, and waits for what is to run.
func crowd(n *node) {
	n.Helper()
	n.define("quick", "command: [idle]")
	n.define("archive", "rootfs-archive: DIR/root.tar\ncommand: [idle]")
	n.define("stubborn", "command: [sh, -c, \"trap '' TERM; sleep 1000000 & echo deaf; wait; wait\"]\nstop: {timeout: 1s}")
	// Without a pid namespace the death of its first process ends nothing else.
	n.define("host-pids", `
command: [sh, -c, "sleep 1000001 & (setsid sleep 1000002 & sleep 1000003) & trap 'exit 0' TERM; echo listens; wait"]
oci: {linux: {namespaces: [{type: mount}, {type: ipc}, {type: uts}, {type: network}]}}
stop: {timeout: 5s}`)
	n.define("secret", "command: [idle]\nsecrets: [{source: DIR/token, target: /token}]")
	n.define("joined", "command: [idle]\nnetwork: container:quick\nrestart: {delay: 100ms}")
	n.define("loops", "command: [sh, -c, 'exit 1']\nrestart: {delay: 10ms, maxDelay: 20ms, steps: 1}")
	n.define("bad", "command: [/no/such/program]\nrestart: {delay: 10ms, maxDelay: 20ms, steps: 1}")
	n.define("waits", "command: [sh, -c, 'exit 1']\nrestart: {delay: 1h}")
	pack(n, n.rootfs, filepath.Join(n.dir, "root.tar"))
	writeFile(n, filepath.Join(n.dir, "token"), "secret")
}

func waitForCrowd(n *node) {
	n.Helper()
	for _, name := range []string{"quick", "archive", "stubborn", "host-pids", "secret", "joined"} {
		n.waitState(name, "running")
	}
	n.waitOutput("stubborn", "deaf")
	n.waitOutput("host-pids", "listens")
	n.waitState("waits", "backoff")
}

func TestSignalsStopEverythingAndLeaveNothing(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			crowd(n)
			n.start()
			waitForCrowd(n)
			n.signal(s)
			n.daemon.wait(n)
			n.checkGone()
			// Nothing but what is to be kept is left in the directories.
			for _, dir := range []string{n.run, filepath.Join(n.dir, "run")} {
				entries, err := os.ReadDir(dir)
				if err != nil && !os.IsNotExist(err) {
					t.Error(err)
				}
				for _, e := range entries {
					if !strings.HasSuffix(e.Name(), "lock") {
						t.Errorf("%s is left", filepath.Join(dir, e.Name()))
					}
				}
			}
		})
	}
}

// What was adopted is stopped as well as what was started.
func TestStopAfterAdoptionLeavesNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	crowd(n)
	n.start()
	waitForCrowd(n)
	n.kill()
	n.start()
	waitForCrowd(n)
	n.stop()
}

func TestSecondSignalKillsAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, name := range []string{"a", "b"} {
		n.define(name, "command: [sh, -c, \"trap '' TERM; echo deaf; while :; do sleep 1; done\"]\nstop: {timeout: 10m}")
	}
	n.start()
	n.waitOutput("a", "deaf")
	n.waitOutput("b", "deaf")
	n.signal(syscall.SIGTERM)
	eventually(t, patience, "the daemon stops", func() error {
		if !strings.Contains(n.log(), "stopping") {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	select {
	case <-n.daemon.ended:
		t.Error("the daemon did not wait for its containers")
	case <-time.After(time.Second):
	}
	n.signal(syscall.SIGTERM)
	n.daemon.wait(n)
	n.checkGone()
}

func TestStubbornContainerIsKilledAfterItsTimeout(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("stubborn", "command: [sh, -c, \"trap '' TERM; echo deaf; while :; do sleep 1; done\"]\nstop: {timeout: 2s}")
	n.define("polite", "command: [sh, -c, \"trap 'exit 3' INT; echo listens; while :; do sleep 0.1; done\"]\nstop: {signal: INT}")
	n.start()
	n.waitOutput("stubborn", "deaf")
	n.waitOutput("polite", "listens")
	began := time.Now()
	n.must("stop", "stubborn")
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it had %s to end by itself, want 2s", took)
	}
	if c := n.get("stubborn"); c.State != "stopped" || c.LastExit.String() != "stopped/-1/KILL" {
		t.Errorf("stubborn: %s", c.brief())
	}
	n.must("stop", "polite")
	if c := n.get("polite"); c.State != "stopped" || c.LastExit.String() != "stopped/3/" {
		t.Errorf("polite: %s", c.brief())
	}
	n.stop()
}

// Children of a container without a pid namespace end with it, however it ends.
func TestHostPidContainerLeavesNoChildren(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", `
command: [sh, -c, "sleep 1000001 & echo child $!; (setsid sleep 1000002 & echo child $!; sleep 1000003) & echo child $!; trap 'exit 0' TERM; echo listens; wait"]
oci: {linux: {namespaces: [{type: mount}, {type: ipc}, {type: uts}, {type: network}]}}
restart: {delay: 200ms, jitter: 0%, maxDelay: 200ms, steps: 0}
stop: {timeout: 5s}`)
	n.start()
	round := 0
	children := func() (pids []int) {
		t.Helper()
		round++
		n.waitOutput("app", fmt.Sprintf(`(?s)(listens.*){%d}(child.*){0}`, round))
		eventually(t, patience, "three children have told their pids", func() error {
			pids = nil
			for line := range strings.Lines(n.output("app")) {
				if text, is := strings.CutPrefix(strings.TrimSpace(line), "child "); is {
					pid, err := strconv.Atoi(text)
					check(t, err)
					pids = append(pids, pid)
				}
			}
			if len(pids) != 3*round {
				return fmt.Errorf("there are %d", len(pids))
			}
			return nil
		})
		return pids[len(pids)-3:]
	}
	allGone := func(pids []int, when string) {
		t.Helper()
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d lives on after %s", pid, when)
			}
		}
	}
	first := children()
	c := n.waitState("app", "running")
	check(t, killProcess(c.Pid))
	second := children() // of the next instance: the first one's are gone by now
	allGone(first, "the death of the container's first process")
	n.must("restart", "app")
	third := children()
	allGone(second, "restart")
	n.must("stop", "app")
	allGone(third, "stop")
	n.must("start", "app")
	last := children()
	n.stop()
	allGone(last, "SIGTERM to the daemon")
}
