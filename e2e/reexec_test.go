package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// processState is the state and the parent of a process; nothing and 0 if there is none.
func processState(pid int) (state string, ppid int) {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ") // the commands here have no parenthesis in them
	_, _ = fmt.Sscan(rest, &state, &ppid)
	return state, ppid
}

// ownProgram gives the node's daemon a program of its own, which can be replaced on disk.
func (n *node) ownProgram() {
	n.Helper()
	n.program = filepath.Join(n.dir, "bin", "runcsup")
	check(n, os.MkdirAll(filepath.Dir(n.program), 0o755))
	n.install(binary)
}

// install puts a file in the place of the node's program, as a package manager does.
func (n *node) install(from string) {
	n.Helper()
	// By another process: a child that is being started here could have the file open for writing, and "text file busy".
	run(n, "install", "-m", "0755", from, n.program+".new")
	check(n, os.Rename(n.program+".new", n.program))
}

// script puts a shell script in the place of the node's program.
func (n *node) script(text string) {
	n.Helper()
	file := filepath.Join(n.dir, "script")
	writeFile(n, file, text)
	n.install(file)
}

// The daemon is replaced by another program and stays what it was: pid, children, socket, locks. Containers run on, and those that
// end before, during and after it are known to have ended as they did.
func TestReexec(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	n.define("still", "command: [idle]")
	const ending = 6
	for i := range ending {
		n.define(fmt.Sprintf("e%d", i), fmt.Sprintf("command: [sh, -c, 'sleep 0.%d; exit %d']\nrestart: {delay: 100ms, jitter: 0%%, steps: 0}\n", i+2, i+3))
	}
	d := n.start()
	still := n.waitState("still", "running")
	descriptors := 0
	for round := range 8 {
		if round%2 == 0 {
			n.install(binary)
		}
		if out := n.must("reexec"); !strings.Contains(out, fmt.Sprintf("(pid %d)", d.pid)) {
			t.Errorf("it says %q, the daemon has pid %d", out, d.pid)
		}
		if c := n.get("still"); c.Pid != still.Pid || c.State != "running" {
			t.Fatalf("after it: %+v, before: %+v", c, still)
		}
		if !d.running() {
			t.Fatal("the daemon has ended")
		}
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid))
		check(t, err)
		if round == 0 {
			descriptors = len(entries)
		} else if len(entries) > descriptors+3*ending { // those of starts under way
			t.Errorf("%d descriptors are open, at first %d", len(entries), descriptors)
		}
	}
	var version struct {
		Daemon struct{ Pid, Reexecs int }
	}
	n.mustJSON(&version, "version")
	if version.Daemon.Pid != d.pid || version.Daemon.Reexecs != 8 {
		t.Errorf("version: %+v, pid %d", version, d.pid)
	}
	// It is still their parent, and its locks still hold.
	if _, ppid := processState(still.Pid); ppid != d.pid {
		t.Errorf("the container's parent is %d, the daemon %d", ppid, d.pid)
	}
	second := n.launchBeside()
	if code := second.wait(t); code != 1 || !strings.Contains(n.log(), fmt.Sprintf("in use by another runcsup daemon (pid %d)", d.pid)) {
		t.Errorf("a second daemon ended with code %d", code)
	}
	n.must("restart", "still") // it can do what a daemon does
	ends := regexp.MustCompile(`msg="container ended" container=e(\d) how="([^"]*)"`).FindAllStringSubmatch(n.log(), -1)
	if len(ends) < 2*ending {
		t.Errorf("only %d ends were seen", len(ends))
	}
	for _, e := range ends {
		var i int
		_, err := fmt.Sscan(e[1], &i)
		check(t, err)
		if want := fmt.Sprintf("exited with code %d", i+3); e[2] != want {
			t.Errorf("e%d ended %s, want %s", i, e[2], want)
		}
	}
	n.stop()
}

// A container that ends while the daemon cannot look, because its program is being replaced, leaves a zombie that only its
// parent can ask. The same program is stopped in its tracks here, between two of its lives.
func TestReexecKeepsExits(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	const containers = 5
	for i := range containers {
		n.define(fmt.Sprintf("c%d", i), fmt.Sprintf("command: [sh, -c, 'trap \"exit %d\" USR1; while :; do sleep 0.05; done']\nrestart: no\n", 40+i))
	}
	d := n.start()
	var pids []int
	for i := range containers {
		pids = append(pids, n.waitState(fmt.Sprintf("c%d", i), "running").Pid)
	}
	// The new program waits for a lock before it does anything, but when it is asked whether it can take over. A shell must not
	// wait: it reaps whatever child there is.
	gate, err := os.Create(n.dir + "/gate")
	check(t, err)
	defer gate.Close()
	check(t, unix.Flock(int(gate.Fd()), unix.LOCK_EX))
	n.script("#!/bin/sh\ncase \"$*\" in *--check-state*) exec " + binary + " \"$@\" ;; esac\nexec flock --no-fork " + gate.Name() + " " + binary + " \"$@\"\n")
	answered := make(chan result, 1)
	go func() { answered <- n.runcsup("reexec") }()
	eventually(t, patience, "the program is replaced", func() error {
		if name := readFile(t, fmt.Sprintf("/proc/%d/comm", d.pid)); name != "flock\n" {
			return fmt.Errorf("it is %q", name)
		}
		return nil
	})
	for _, pid := range pids {
		eventually(t, patience, "a zombie", func() error {
			check(t, syscall.Kill(pid, syscall.SIGUSR1)) // which does nothing to an init before its trap is set
			if state, _ := processState(pid); state != "Z" {
				return fmt.Errorf("process %d is %q", pid, state)
			}
			return nil
		})
	}
	// Who asks now waits.
	listed := make(chan result, 1)
	go func() { listed <- n.runcsup("list") }()
	check(t, unix.Flock(int(gate.Fd()), unix.LOCK_UN))
	if r := <-answered; r.code != 0 {
		t.Errorf("reexec: %+v", r)
	}
	if r := <-listed; r.code != 0 {
		t.Errorf("list meanwhile: %+v", r)
	}
	for i := range containers {
		c := n.waitState(fmt.Sprintf("c%d", i), "exited")
		if got, want := c.LastExit.String(), fmt.Sprintf("exited/%d/", 40+i); got != want {
			t.Errorf("c%d ended %s, want %s", i, got, want)
		}
	}
	if !d.running() {
		t.Error("the daemon has ended")
	}
	n.stop()
}

// What cannot take over does not: the daemon runs on as if nothing had been.
func TestReexecRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	n.define("web", "command: [idle]")
	d := n.start()
	web := n.waitState("web", "running")
	refused := func(name, want string) {
		t.Helper()
		r := n.runcsup("reexec")
		if r.code != 1 || !strings.Contains(r.stderr, want) || !strings.Contains(r.stderr, "hint:") {
			t.Errorf("%s: code %d, %s", name, r.code, r.stderr)
		}
		if c := n.get("web"); c.Pid != web.Pid || !d.running() || c.Adopted {
			t.Fatalf("%s: the daemon was disturbed: %+v", name, c)
		}
	}
	check(t, os.Remove(n.program))
	refused("missing", "no such file")
	n.script("#!/bin/sh\necho hello\n")
	refused("another program", "is no runcsup")
	n.script("#!/bin/sh\necho 'runcsup: unknown flag: --check-state' >&2; exit 2\n")
	refused("an old one", "unknown flag: --check-state")
	n.script("#!/bin/sh\necho '{\"program\":\"runcsup\",\"version\":{\"version\":\"0.0.1\"},\"handover\":0}'\n")
	refused("one that is too old", "(0.0.1) is too old")
	n.install(binary)
	check(t, os.Chmod(n.program, 0o644))
	refused("not executable", "not an executable file")
	n.install(binary)
	settings := n.settings()
	writeFile(t, settings, "nonsense: 1\n")
	refused("settings it does not know", `unknown key "nonsense"`)
	writeFile(t, settings, "")

	// The last step fails: the interpreter goes when the program is tried. The daemon goes on from what it had left.
	interpreter := filepath.Join(n.dir, "interpreter")
	check(t, os.Symlink("/bin/sh", interpreter))
	n.script("#!" + interpreter + "\nrm -f " + interpreter + "\nexec " + binary + " \"$@\"\n")
	r := n.runcsup("reexec")
	if r.code != 1 || !strings.Contains(r.stderr, "could not replace itself") || !strings.Contains(r.stderr, "no such file") {
		t.Errorf("code %d, %s", r.code, r.stderr)
	}
	if c := n.waitState("web", "running"); c.Pid != web.Pid || !d.running() {
		t.Errorf("after a replacement that failed: %+v", c)
	}
	n.install(binary)
	n.must("reexec")
	if out := n.must("reexec", "--if-changed"); !strings.Contains(out, "as is the program on disk") {
		t.Errorf("--if-changed says %q", out)
	}
	n.install(binary)
	n.must("reexec", "--if-changed")
	if c := n.get("web"); c.Pid != web.Pid || !c.Adopted {
		t.Errorf("in the end: %+v", c)
	}
	n.stop()
}

// A call that is under way gets an answer, and what it asked for is done.
func TestCallDuringReexec(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	n.define("slow", "command: [sh, -c, 'trap \"\" TERM; echo deaf; while :; do sleep 0.1; done']\nstop: {timeout: 8s}\n")
	n.start()
	n.waitOutput("slow", "deaf")
	stopped := make(chan result, 1)
	go func() { stopped <- n.runcsup("stop", "slow") }()
	n.waitState("slow", "stopping")
	n.must("reexec")
	if r := <-stopped; r.code != 0 && !strings.Contains(r.stderr, "is being replaced") {
		t.Errorf("stop got code %d: %s", r.code, r.stderr)
	}
	c := n.waitState("slow", "stopped")
	if c.LastExit.String() != "stopped/-1/KILL" {
		t.Errorf("it ended %s", c.LastExit)
	}
	n.stop()
}

// Whoever calls while the daemon is replaced again and again gets what he asked for or is told why not, and never is there a
// second instance of a container.
func TestCallsDuringReexecs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	const containers = 4
	names := make([]string, containers)
	for i := range names {
		names[i] = fmt.Sprintf("c%d", i)
		n.define(names[i], "command: [sleep, '1000']\nstop: {signal: KILL}\n")
	}
	d := n.start()
	for _, name := range names {
		n.waitState(name, "running")
	}
	stop := make(chan struct{})
	var calls sync.WaitGroup
	var done, replaced atomic.Int32
	for _, name := range names {
		calls.Go(func() {
			for _, verb := range []string{"restart", "stop", "start", "reset-failed", "restart"} {
				for range 2 {
					r := n.runcsup(verb, name)
					switch {
					case r.code == 0:
						done.Add(1)
					case strings.Contains(r.stderr, "is being replaced"):
						replaced.Add(1)
					default:
						t.Errorf("%s %s: code %d, %s", verb, name, r.code, r.stderr)
					}
				}
			}
		})
	}
	go func() { calls.Wait(); close(stop) }()
	for replacing := true; replacing; {
		select {
		case <-stop:
			replacing = false
		default:
			if r := n.runcsup("reexec"); r.code != 0 {
				t.Errorf("reexec: code %d, %s", r.code, r.stderr)
				replacing = false
			}
		}
	}
	calls.Wait()
	if done.Load() == 0 {
		t.Error("no call got through")
	}
	t.Logf("%d calls were done, %d were told that the daemon is being replaced", done.Load(), replaced.Load())
	if !d.running() {
		t.Fatal("the daemon has ended")
	}
	n.must(append([]string{"start"}, names...)...)
	running := map[int]bool{}
	for _, name := range names {
		running[n.waitState(name, "running").Pid] = true
	}
	for _, dir := range cgroupsOf(n.run) {
		for _, pid := range processesInCgroup(dir) {
			if !running[pid] {
				t.Errorf("process %d runs in %s, and is no container's", pid, dir)
			}
		}
	}
	n.stop()
}

// A command in a container, started by the program before, is reaped when it ends: its zombie would keep the container from
// ending.
func TestCommandInContainerDuringReexec(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	n.define("web", "command: [idle]")
	d := n.start()
	web := n.waitState("web", "running")
	executed := make(chan result, 1)
	go func() { executed <- n.runcsup("exec", "web", "sleep", "1234") }()
	var command int
	eventually(t, patience, "the command runs", func() error {
		for _, dir := range cgroupsOf(n.run) {
			for _, pid := range processesInCgroup(dir) {
				line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				if _, ppid := processState(pid); ppid == d.pid && strings.HasSuffix(string(line), "sleep\x001234\x00") {
					command = pid
					return nil
				}
			}
		}
		return errors.New("it is not there")
	})
	n.must("reexec")
	_ = syscall.Kill(command, syscall.SIGKILL) // it may have gone with its client
	eventually(t, patience, "the command is reaped", func() error {
		if state, _ := processState(command); state != "" {
			return fmt.Errorf("it is %q", state)
		}
		return nil
	})
	if r := <-executed; r.code == 0 {
		t.Errorf("exec says that it went well: %+v", r)
	}
	n.must("stop", "web")
	if alive(web.Pid) {
		t.Error("the container runs")
	}
	n.stop()
}

// What a container writes while the daemon is replaced is written once, and in order.
func TestOutputDuringReexecs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	n.define("writer", "command: [sh, -c, 'i=0; while [ ! -e /stop ]; do i=$((i+1)); echo line $i; done; echo all; exec sleep 1000']\nstop: {signal: KILL}\nlog: {maxSize: 100MiB}\n")
	n.start()
	n.waitState("writer", "running")
	for range 4 {
		n.must("reexec")
	}
	writeFile(t, filepath.Join(n.rootfs, "stop"), "")
	n.waitOutput("writer", `(?m)^all$`)
	written := strings.Fields(strings.ReplaceAll(strings.TrimSuffix(n.output("writer"), "all\n"), "line ", ""))
	for i, number := range written {
		if number != fmt.Sprint(i+1) {
			t.Fatalf("after line %d of %d comes %s", i, len(written), number)
		}
	}
	n.stop()
}
