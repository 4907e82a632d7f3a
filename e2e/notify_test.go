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

	"golang.org/x/sys/unix"
)

// slowRuntime makes a runtime for the node that waits, before it runs a container by this name, for a file go-NAME in the
// node's directory.
func slowRuntime(n *node, name string) {
	n.Helper()
	file := filepath.Join(n.dir, "slow-runtime")
	writeFile(n, file, fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *' run '*' %s ') while [ ! -e %s/go-%s ]; do sleep 0.1; done;; esac\nexec %s \"$@\"\n", name, n.dir, name, n.runtime))
	check(n, os.Chmod(file, 0o755))
	n.runtime = file
}

func TestReadyWhenAllHaveStartedOrFailed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	s := newNotifySocket(n)
	slowRuntime(n, "slow")
	n.define("runs", "command: [idle]")
	n.define("slow", "command: [idle]")
	n.define("bad", "command: [/no/such/program]\nrestart: {delay: 1h}")
	n.define("done", "command: [sh, -c, 'exit 0']\nrestart: no")
	n.define("off", "command: [idle]\nenabled: false")
	n.defineRaw("broken", "comand: [idle]\n")
	n.start()
	n.waitState("runs", "running")
	n.waitState("bad", "backoff")
	n.waitState("done", "exited")
	if i, _ := s.find(0, "READY=1"); i >= 0 {
		t.Error("the daemon is ready though a container is still being started")
	}
	if c := n.get("slow"); c.State != "starting" {
		t.Errorf("slow is %s", c.brief())
	}
	writeFile(t, filepath.Join(n.dir, "go-slow"), "")
	i, m := s.wait(0, "READY=1")
	if n.get("slow").State != "running" {
		t.Error("the daemon is ready before the last container was started")
	}
	for _, want := range []string{"2 of 6 running", "1 backoff", "1 exited", "refused"} {
		if !strings.Contains(m.fields["STATUS"], want) {
			t.Errorf("STATUS is %q, want %q in it", m.fields["STATUS"], want)
		}
	}
	n.must("stop", "runs")
	eventually(t, patience, "STATUS counts", func() error {
		all := s.all()
		last := all[len(all)-1].fields["STATUS"]
		if !strings.Contains(last, "1 of 6 running") {
			return fmt.Errorf("it is %q", last)
		}
		return nil
	})
	if again, _ := s.find(i+1, "READY=1"); again >= 0 {
		t.Errorf("READY=1 was sent twice: %s", s)
	}
	n.stop()
}

func TestReadyWhenAllRun(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--ready-when", "running")
	s := newNotifySocket(n)
	n.define("runs", "command: [idle]")
	n.define("later", "command: [/no/such/program]\nrestart: {delay: 1h}")
	n.define("off", "command: [idle]\nenabled: false")
	n.start()
	n.waitState("runs", "running")
	n.waitState("later", "backoff")
	n.must("list") // one more round trip
	if i, _ := s.find(0, "READY=1"); i >= 0 {
		t.Errorf("the daemon is ready though a container does not run: %s", s)
	}
	n.define("later", "command: [idle]")
	s.wait(0, "READY=1")
	if n.get("later").State != "running" {
		t.Error("the daemon is ready before all run")
	}
	n.stop()
}

func monotonicMicroseconds(t testing.TB) int64 {
	t.Helper()
	var ts unix.Timespec
	check(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano() / 1000
}

func TestReloadIsToldToTheServiceManager(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	writeFile(t, filepath.Join(n.dir, "runcsup.yaml"), "watch: false\n")
	s := newNotifySocket(n)
	n.define("app", "command: [idle]")
	n.start()
	ready, _ := s.wait(0, "READY=1")
	before := n.waitState("app", "running")
	n.define("app", "command: [idle, again]")
	sent := monotonicMicroseconds(t)
	n.signal(syscall.SIGHUP)
	reloading, m := s.wait(ready+1, "RELOADING=1")
	usec, err := strconv.ParseInt(m.fields["MONOTONIC_USEC"], 10, 64)
	if now := monotonicMicroseconds(t); err != nil || usec < sent || usec > now {
		t.Errorf("MONOTONIC_USEC=%s, want one between %d and %d", m.fields["MONOTONIC_USEC"], sent, now)
	}
	s.wait(reloading+1, "READY=1")
	if c := n.get("app"); c.Pid == before.Pid {
		t.Errorf("READY=1 before the change was applied: %s", c.brief())
	}
	// A refused definition does not keep the reload from ending.
	n.defineRaw("app", "comand: [idle]\n")
	count := len(s.all())
	n.signal(syscall.SIGHUP)
	reloading, _ = s.wait(count, "RELOADING=1")
	_, m = s.wait(reloading+1, "READY=1")
	if !strings.Contains(m.fields["STATUS"], "refused") {
		t.Errorf("STATUS is %q after a refused reload", m.fields["STATUS"])
	}
	n.stop()
}

func TestLongStopAsksForPatience(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	s := newNotifySocket(n)
	n.define("stubborn", "command: [sh, -c, \"trap '' TERM; echo deaf; while :; do sleep 1; done\"]\nstop: {timeout: 12s}")
	n.start()
	n.waitOutput("stubborn", "deaf")
	s.wait(0, "READY=1")
	before := len(s.all())
	n.stop()
	stopping, m := s.find(before, "STOPPING=1")
	if stopping < 0 {
		t.Fatalf("STOPPING=1 was not sent: %s", s)
	}
	// At every moment of the stop the last request must reach beyond the next one.
	until, requests := m.at.Add(10*time.Second), 0 // the shortest TimeoutStopSec= that anybody would set
	for _, m := range s.all()[stopping:] {
		if m.at.After(until) {
			t.Errorf("systemd would have lost its patience: %s", s)
		}
		if text, there := m.fields["EXTEND_TIMEOUT_USEC"]; there {
			usec, err := strconv.ParseInt(text, 10, 64)
			check(t, err)
			until = m.at.Add(time.Duration(usec) * time.Microsecond)
			requests++
		}
	}
	if requests < 2 {
		t.Errorf("EXTEND_TIMEOUT_USEC was sent %d times in 12 s", requests)
	}
}

func TestWatchdogIsPinged(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	s := newNotifySocket(n)
	const interval = 3 * time.Second
	n.env = append(n.env, fmt.Sprintf("WATCHDOG_USEC=%d", interval.Microseconds()))
	n.define("app", "command: [idle]")
	n.start()
	var pings []time.Time
	eventually(t, patience, "five pings of the watchdog", func() error {
		pings = nil
		for _, m := range s.all() {
			if m.fields["WATCHDOG"] == "1" {
				pings = append(pings, m.at)
			}
		}
		if len(pings) < 5 {
			return fmt.Errorf("there were %d", len(pings))
		}
		return nil
	})
	for i := 1; i < len(pings); i++ {
		if gap := pings[i].Sub(pings[i-1]); gap > interval {
			t.Errorf("%s between two pings: systemd would have killed the daemon", gap)
		}
	}
	// A daemon that does not go on is noticed.
	n.signal(syscall.SIGSTOP)
	count := len(s.all())
	quiet := time.NewTimer(interval)
	<-quiet.C
	n.signal(syscall.SIGCONT)
	s.wait(count, "WATCHDOG=1")
	n.stop()
}

// Neither the runtime nor a container may speak to the service manager.
func TestNotifySocketIsNotPassedOn(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	s := newNotifySocket(n)
	n.env = append(n.env, "WATCHDOG_USEC=60000000")
	n.define("app", "command: [sh, -c, 'env; exec idle']")
	n.start()
	s.wait(0, "READY=1")
	n.waitOutput("app", "PATH=")
	if out := n.output("app"); strings.Contains(out, "NOTIFY_SOCKET") || strings.Contains(out, "WATCHDOG_USEC") {
		t.Errorf("the container's environment is\n%s", out)
	}
	for _, m := range s.all() {
		if _, there := m.fields["MAINPID"]; there {
			t.Errorf("MAINPID was sent: %s", s)
		}
	}
	n.stop()
}
