package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// usual is the longest that a command for a container may take that has nothing to do with the trouble: much more than it
// takes on a machine that does nothing else, and much less than the daemon's deadlines for runtimes that hang.
const usual = 20 * time.Second

// atOnce is shorter than any deadline of the daemon that could delay an adoption; the shortest is 10 s.
const atOnce = 8 * time.Second

// A runtime that hangs, fails, is killed half-way or talks nonsense when it is to run one container: that one is tried
// again and again, can be stopped, and comes up once the runtime is mended. The others do not notice.
func TestRuntimeFailsToRun(t *testing.T) {
	t.Parallel()
	for group, faults := range map[string]map[string]string{
		"Hangs": {
			"hangs-1": `hang`, "hangs-2": `hang`, "hangs-3": `hang`, "hangs-4": `hang`, // as many as are started at once on 2 CPUs
			"hangs-afterwards": `real "$@"; hang`,
		},
		"Fails": {
			"fails":            `echo "no luck today" >&2; exit 1`,
			"fails-afterwards": `real "$@"; exit 1`,
			"garbage":          `printf '\377\000{"pid": ]'; printf '\376' >&2; exit 1`,
			"garbage-0":        `printf '\377\000{"pid": ]'; exit 0`,
			"others-pid":       `echo $PPID >"$pidfile"; exit 0`,
			"nonsense-pid":     `echo -1 >"$pidfile"; exit 0`,
		},
		"KilledHalfWay": {
			"killed-1": killedHalfWay, "killed-2": killedHalfWay, "killed-3": killedHalfWay,
		},
	} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			n := newFaultyNode(t)
			for name, script := range faults {
				n.define(name, "command: [idle]\nstop: {timeout: 1s}\nrestart: {policy: always, delay: 200ms, maxDelay: 400ms}\n")
				n.spoil(name, "run", script)
			}
			n.start()
			pids := n.othersRun()
			for name := range faults {
				c := n.waitFor(name, "was tried again", func(c container) bool { return c.Restarts >= 1 && c.State == "backoff" })
				if c.LastExit == nil || c.LastExit.Reason != "start-failed" || c.Error == "" || c.Pid != 0 || c.NextStartAt == nil {
					t.Errorf("the runtime cannot run %s, which is %s", name, c.brief())
				}
			}
			if c, ok := faults["fails"]; ok {
				if e := n.get("fails").Error; !strings.Contains(e, "exit status 1") && !strings.Contains(e, "no luck today") {
					t.Errorf("%s gives the error %q", c, e)
				}
			}
			n.othersWork(pids)
			n.kill()
			n.start()
			n.othersAdopted(pids)

			for name := range faults {
				began := time.Now()
				n.must("stop", name)
				t.Logf("stop %s took %s", name, time.Since(began).Round(time.Millisecond))
				if c := n.get(name); c.State != "stopped" || c.Pid != 0 || c.Error != "" {
					t.Errorf("%s was stopped, and is %s", name, c.brief())
				}
				n.nothingOf(name)
			}
			for name := range faults {
				n.must("start", "--no-wait", name)
			}
			for name := range faults {
				n.waitFor(name, "was tried again", func(c container) bool { return c.State == "backoff" })
				n.mend(name)
			}
			for name := range faults {
				if c := n.waitState(name, "running"); c.Error != "" || !alive(c.Pid) {
					t.Errorf("the runtime is mended, and %s is %s", name, c.brief())
				}
			}
			n.othersAdopted(pids)
			n.stop()
		})
	}
}

// killedHalfWay kills the runtime with SIGKILL at a random moment of what it does.
const killedHalfWay = `real "$@" & sleep "0.0$(od -An -N2 -tu2 /dev/urandom | awk '{printf "%02d", $1 % 50}')"; kill -9 $!; wait; exit 137`

// A runtime that hangs or fails when it is to delete one container.
func TestRuntimeFailsToDelete(t *testing.T) {
	t.Parallel()
	n := newFaultyNode(t)
	faults := map[string]string{
		"delete-hangs": `hang`, "delete-fails": `echo "no luck today" >&2; exit 1`, "delete-garbage": `printf '\377\000'; exit 0`,
	}
	for name, script := range faults {
		for _, name := range []string{name + "-1", name + "-2"} {
			n.define(name, "command: [idle]\nstop: {timeout: 1s}\nrestart: {policy: always, delay: 200ms, maxDelay: 400ms}\n")
			n.spoil(name, "delete", script)
		}
	}
	n.start()
	pids := n.othersRun()
	was := map[string]container{}
	for name := range faults {
		was[name] = n.waitState(name+"-1", "running")
		n.waitState(name+"-2", "running")
	}
	for name := range faults { // 1 dies
		check(t, syscall.Kill(was[name].Pid, syscall.SIGKILL))
	}
	for name := range faults { // 2 is stopped
		n.must("stop", "--no-wait", name+"-2")
	}
	n.othersWork(pids)
	for name := range faults {
		c := n.waitFor(name+"-1", "runs again", func(c container) bool { return c.State == "running" && c.Pid != was[name].Pid })
		if c.LastExit.String() != "signaled/-1/KILL" || c.Restarts != 1 {
			t.Errorf("%s was killed, and now it is %s", c.Name, c.brief())
		}
		if c := n.waitState(name+"-2", "stopped"); c.Pid != 0 {
			t.Errorf("%s was stopped, and now it is %s", c.Name, c.brief())
		}
		n.nothingOf(name + "-2")
	}
	n.kill()
	n.start()
	n.othersAdopted(pids)
	for name := range faults {
		n.mend(name + "-1")
		n.mend(name + "-2")
		n.must("start", name+"-2")
	}
	n.stop()
}

// A runtime that cannot tell the state of one container, of which nothing was remembered either: it is adopted all the
// same, or at least not run twice.
func TestRuntimeFailsToTellState(t *testing.T) {
	t.Parallel()
	n := newFaultyNode(t)
	faults := map[string]string{
		"state-hangs": `hang`, "state-fails": `echo "no luck today" >&2; exit 1`, "state-garbage": `printf '\377\000{"pid": ]'; exit 0`,
		"state-empty": `exit 0`, "state-lies": `echo '{"ociVersion":"1.0.2","id":"x","pid":1,"status":"running"}'; exit 0`,
	}
	was := map[string]container{}
	for name := range faults {
		n.define(name, "command: [idle]\nstop: {timeout: 1s}\nrestart: {policy: always, delay: 200ms, maxDelay: 400ms}\n")
	}
	n.start()
	pids := n.othersRun()
	for name := range faults {
		was[name] = n.waitState(name, "running")
	}
	n.kill()
	for name, script := range faults {
		n.spoil(name, "state", script)
		check(t, os.Remove(filepath.Join(n.state, "records", name+".json")))
	}
	n.start()
	n.othersAdopted(pids)
	n.othersWork(pids)
	for name := range faults {
		c := n.waitState(name, "running")
		if c.Pid != was[name].Pid && alive(was[name].Pid) {
			t.Errorf("%s was %s, which still runs, and now it is %s", name, was[name].brief(), c.brief())
		}
		if !runtimeIsCrun() && (c.Pid != was[name].Pid || !c.Adopted) { // its files are not known: a start anew is as good
			t.Errorf("%s was %s, and now it is %s", name, was[name].brief(), c.brief())
		}
	}
	for name := range faults {
		n.must("stop", name)
		n.nothingOf(name)
		if alive(was[name].Pid) {
			t.Errorf("%s was stopped, and its process %d runs", name, was[name].Pid)
		}
	}
	n.stop()
}

// faultyNode has a runtime that fails for some containers.
type faultyNode struct{ *node }

// others are the containers that have nothing to do with a fault.
var others = []string{"other-1", "other-2", "other-3"}

func newFaultyNode(t *testing.T) faultyNode {
	t.Helper()
	n := faultyNode{newNode(t)}
	script := strings.NewReplacer("REAL", n.runtime, "DIR", n.dir).Replace(`#!/bin/sh
real() { REAL "$@"; }
# What hangs has a child, and its command line has the directory by which the tests find what is left.
hang() { trap '' TERM INT; while :; do DIR/sleep 86399; done; }
verb=
for last; do
	case $last in run|delete|state|kill|update|exec) verb=${verb:-$last};; esac
	if [ "$before" = --pid-file ]; then pidfile=$last; fi
	before=$last
done
if [ -f "DIR/faults/$last" ]; then . "DIR/faults/$last"; fi
exec REAL "$@"
`)
	check(t, os.Link(filepath.Join(n.rootfs, "bin/busybox"), filepath.Join(n.dir, "sleep")))
	n.runtime = filepath.Join(n.dir, "faulty-runtime")
	writeFile(t, n.runtime, script)
	check(t, os.Chmod(n.runtime, 0o755))
	writeFile(t, filepath.Join(n.dir, "runcsup.yaml"), "startTimeout: 5s\n")
	for _, name := range others {
		n.define(name, "command: [idle]\nstop: {timeout: 1s}\n")
	}
	return n
}

// spoil makes a verb of the runtime fail for one container.
func (n faultyNode) spoil(name, verb, script string) {
	n.Helper()
	replaceFile(n, filepath.Join(n.dir, "faults", name), fmt.Sprintf("if [ \"$verb\" = %s ]; then\n%s\nfi\n", verb, script))
}

func (n faultyNode) mend(name string) {
	n.Helper()
	check(n, os.Remove(filepath.Join(n.dir, "faults", name)))
}

// othersRun waits until the others run and returns their pids.
func (n faultyNode) othersRun() map[string]int {
	n.Helper()
	pids := map[string]int{}
	for _, name := range others {
		pids[name] = n.waitWithin(usual, name, "runs", func(c container) bool { return c.State == "running" }).Pid
	}
	return pids
}

// othersWork sees to it that the others can be stopped, started and restarted as fast as ever.
func (n faultyNode) othersWork(pids map[string]int) {
	n.Helper()
	for name, was := range pids {
		if c := n.get(name); c.Pid != was || c.Error != "" {
			n.Errorf("%s has nothing to do with it, but it is %s", name, c.brief())
		}
	}
	for _, verb := range []string{"restart", "stop", "start"} {
		began := time.Now()
		n.must(append([]string{verb}, others...)...)
		if took := time.Since(began); took > usual {
			n.Errorf("%s of the others took %s", verb, took)
		} else {
			n.Logf("%s of the others took %s", verb, took.Round(time.Millisecond))
		}
	}
	exitNow(n.node, n.get(others[0]))
	n.waitWithin(30*time.Second, others[0], "waits for its next start", func(c container) bool { return c.State == "backoff" })
	n.must("start", others[0])
	for name := range pids {
		pids[name] = n.waitState(name, "running").Pid
	}
}

// othersAdopted sees to it that the others are those they were.
func (n faultyNode) othersAdopted(pids map[string]int) {
	n.Helper()
	for name, pid := range pids {
		c := n.waitWithin(atOnce, name, "is adopted", func(c container) bool { return c.State == "running" })
		if c.Pid != pid || !c.Adopted || c.Error != "" {
			n.Errorf("%s had pid %d, and now it is %s", name, pid, c.brief())
		}
	}
}

// nothingOf sees to it that there is no process of a container, nor of a runtime that works on it.
func (n faultyNode) nothingOf(name string) {
	n.Helper()
	for _, dir := range cgroupsOf(n.run) {
		if pids := processesInCgroup(filepath.Join(dir, name)); len(pids) > 0 {
			n.Errorf("%s is stopped, and processes %v are in its cgroup", name, pids)
		}
	}
	for _, pid := range processesOf(n.dir) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.HasSuffix(cmdline, []byte("\x00"+name+"\x00")) {
			n.Errorf("%s is stopped, and process %d runs: %s", name, pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte(" ")))
		}
	}
}

func runtimeIsCrun() bool { return strings.Contains(os.Getenv("RUNCSUP_E2E_RUNTIME"), "crun") }
