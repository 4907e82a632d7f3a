package e2e

// The harness. A test makes a node, defines containers, starts its daemon, and looks:
//
//	n := newNode(t)
//	n.define("web", `command: [idle]`)              // NAME.yaml; rootfs: is added if there is no source
//	n.start()                                       // daemon runs, socket answers
//	c := n.waitState("web", "running")              // polls the control socket
//	n.must("stop", "web")                           // CLI verb that has to succeed; returns its stdout
//	r := n.runcsup("status", "web")                 // CLI verb; r.code, r.stdout, r.stderr
//	n.kill()                                        // SIGKILL to the daemon; containers run on
//	n.start()
//	n.stop()                                        // SIGTERM; fails the test if anything is left
//
// In the end, also of a test that has failed, the daemon is stopped with that same check, and then everything of the node
// is demolished. A test that leaves its daemon killed is only demolished.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long to wait for what has to come, however loaded the machine is. Where machines are emulated it is more.
var patience = durationFrom("RUNCSUP_E2E_PATIENCE", 60*time.Second)

// durationFrom is what an environment variable says, or else a default.
func durationFrom(variable string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(os.Getenv(variable)); err == nil {
		return d
	}
	return otherwise
}

// node is a machine, as far as one daemon is concerned: its directories, its containers, and the daemon if it runs.
type node struct {
	testing.TB
	dir        string // all others are in it
	containers string // --containers
	state      string // --state-dir
	run        string // --run-dir
	logs       string // --log-dir
	rootfs     string // of busybox; see makeRootfs
	socket     string
	daemonLog  string // what all daemons of this node wrote to their stderr

	program string   // the daemon's; of the client it is always binary
	runtime string   // --runtime
	args    []string // further arguments of the daemon
	env     []string // further environment of the daemon

	daemon *daemon // nil: none was started
	client *http.Client
}

// daemon is a daemon's process.
type daemon struct {
	cmd   *exec.Cmd
	pid   int
	ended chan struct{} // closed when it is reaped
	code  int           // exit code, -1 if a signal ended it; valid when ended
}

// container is an element of `list -o json`.
type container struct {
	Name        string     `json:"name"`
	Enabled     bool       `json:"enabled"`
	State       string     `json:"state"`
	Pid         int        `json:"pid"`
	Ready       bool       `json:"ready"`
	Health      string     `json:"health"`
	StartedAt   *time.Time `json:"startedAt"`
	Restarts    int        `json:"restarts"`
	NextStartAt *time.Time `json:"nextStartAt"`
	LastExit    *exit      `json:"lastExit"`
	Bundle      string     `json:"bundle"`
	Adopted     bool       `json:"adopted"`
	Error       string     `json:"error"`
}

// exit is lastExit of a container.
type exit struct {
	Reason string    `json:"reason"`
	Code   int       `json:"code"`
	Signal string    `json:"signal"`
	At     time.Time `json:"at"`
}

func (e *exit) String() string {
	if e == nil {
		return "none"
	}
	return fmt.Sprintf("%s/%d/%s", e.Reason, e.Code, e.Signal)
}

// change is an element of what reload and diff answer.
type change struct {
	Name   string   `json:"name"`
	Action string   `json:"action"`
	Why    []string `json:"why"`
	Error  string   `json:"error"`
}

// result is what a run of the command line gave.
type result struct {
	code           int
	stdout, stderr string
}

var nodes atomic.Int32

// newNode makes a node without a daemon. args are further arguments of the daemon.
func newNode(t testing.TB, args ...string) *node {
	t.Helper()
	dir := filepath.Join(baseDir, fmt.Sprintf("n%d", nodes.Add(1)))
	n := &node{
		TB: t, dir: dir, args: args, program: binary,
		containers: filepath.Join(dir, "containers.d"), state: filepath.Join(dir, "state"), run: filepath.Join(dir, "run"),
		logs: filepath.Join(dir, "log"), rootfs: filepath.Join(dir, "rootfs"), daemonLog: filepath.Join(dir, "daemon.log"),
	}
	n.socket = filepath.Join(n.run, "control.sock")
	n.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", n.socket)
		},
	}}
	t.Cleanup(n.cleanUp)
	check(t, os.MkdirAll(n.containers, 0o755))
	makeRootfs(t, n.rootfs)
	n.runtime = runtimeCommand(t, os.Getenv("RUNCSUP_E2E_RUNTIME"))
	return n
}

// in is the node for a subtest: what fails there fails the subtest.
func (n *node) in(t testing.TB) *node {
	copied := *n
	copied.TB = t
	return &copied
}

// runtimeCommand is what --runtime gets for a runtime: itself, or for crun where it needs one a wrapper, since crun 1.8
// refuses hybrid cgroups. Empty is runc.
func runtimeCommand(t testing.TB, name string) string {
	t.Helper()
	switch name {
	case "":
		return "runc"
	case "crun":
		if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.procs"); err != nil {
			return name
		}
		file := filepath.Join(baseDir, "crun") // the same for all, and there until the last has cleaned up
		if _, err := os.Stat(file); err == nil {
			return file
		}
		beside := filepath.Join(t.TempDir(), "crun")
		writeFile(t, beside, "#!/bin/sh\nexec unshare -m --propagation private sh -c 'umount /sys/fs/cgroup/unified; exec crun \"$@\"' crun \"$@\"\n")
		check(t, os.Chmod(beside, 0o755))
		check(t, os.Rename(beside, file))
		return file
	}
	return name
}

// cleanUp is the end of every node.
func (n *node) cleanUp() {
	if n.running() {
		n.stopAndLook()
	}
	if n.Failed() {
		n.explain()
	}
	if err := demolish(n.dir); err != nil {
		n.Errorf("cannot clean up after the test: %v", err)
	}
	if n.daemon != nil {
		<-n.daemon.ended
	}
}

// explain logs what helps to understand a failure.
func (n *node) explain() {
	n.Logf("daemon's log:\n%s", tail(n.daemonLog, 80))
	outputs, _ := filepath.Glob(filepath.Join(n.logs, "*.log"))
	for _, file := range outputs {
		if text := tail(file, 10); text != "" {
			n.Logf("output of %s:\n%s", filepath.Base(file), text)
		}
	}
}

func tail(file string, lines int) string {
	data, _ := os.ReadFile(file)
	all := strings.SplitAfter(string(data), "\n")
	return strings.Join(all[max(0, len(all)-lines-1):], "")
}

var sourceKey = regexp.MustCompile(`(?m)^(rootfs|rootfs-archive|bundle|image):`)

// text completes a definition: "rootfs: …" is added where it has no source, a short stop timeout where idle may be told to
// stop before it listens, and DIR and ROOTFS are replaced.
func (n *node) text(text string) string {
	if !sourceKey.MatchString(text) {
		text = "rootfs: ROOTFS\n" + text
	}
	if strings.Contains(text, "command: [idle") && !strings.Contains(text, "\nstop:") {
		text = strings.TrimRight(text, "\n") + "\nstop: {timeout: 2s}\n"
	}
	return strings.NewReplacer("ROOTFS", n.rootfs, "DIR", n.dir).Replace(text)
}

// define writes the definition of a container, by rename. See text for what is completed. One source line, `rootfs:` of
// the node's busybox, is added if there is none.
func (n *node) define(name, text string) {
	n.Helper()
	replaceFile(n, n.definition(name), strings.TrimRight(n.text(text), "\n")+"\n")
}

// defineRaw writes a definition as it is.
func (n *node) defineRaw(name, text string) {
	n.Helper()
	replaceFile(n, n.definition(name), text)
}

// undefine removes a definition.
func (n *node) undefine(name string) {
	n.Helper()
	check(n, os.Remove(n.definition(name)))
}

// definition is the file of a container.
func (n *node) definition(name string) string { return filepath.Join(n.containers, name+".yaml") }

// start starts the daemon and waits until its socket answers.
func (n *node) start(args ...string) *daemon {
	n.Helper()
	d := n.launch(args...)
	eventually(n, patience, "the daemon answers", func() error {
		select {
		case <-d.ended:
			n.Fatalf("the daemon ended with code %d:\n%s", d.code, tail(n.daemonLog, 20))
		default:
		}
		_, err := n.tryList()
		return err
	})
	return d
}

// launch starts the daemon and does not wait for anything.
func (n *node) launch(args ...string) *daemon {
	n.Helper()
	if n.running() {
		n.Fatal("the node's daemon runs already")
	}
	n.daemon = n.launchBeside(args...)
	return n.daemon
}

// launchBeside starts one more daemon with the node's directories, which the caller has to see the end of.
func (n *node) launchBeside(args ...string) *daemon {
	n.Helper()
	log, err := os.OpenFile(n.daemonLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	check(n, err)
	defer log.Close()
	d := &daemon{ended: make(chan struct{})}
	d.cmd = exec.Command(n.program, slices.Concat([]string{
		"daemon", "--config", n.settings(), "--containers", n.containers, "--state-dir", n.state, "--run-dir", n.run, "--log-dir", n.logs,
		"--runtime", n.runtime, "--log-level", "debug", "--web.listen-address", "",
	}, n.args, args)...)
	d.cmd.Env = append(cleanEnv(), n.env...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.Dir = "/"
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the tests
	check(n, d.cmd.Start())
	d.pid = d.cmd.Process.Pid
	go func() {
		_ = d.cmd.Wait()
		d.code = d.cmd.ProcessState.ExitCode()
		close(d.ended)
	}()
	return d
}

// settings is the daemon's settings file, empty unless the test wrote it before.
func (n *node) settings() string {
	file := filepath.Join(n.dir, "runcsup.yaml")
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		writeFile(n, file, "")
	}
	return file
}

// cleanEnv is the environment without what a service manager or a user may have put there for others.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "RUNCSUP_SOCKET" || name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "WATCHDOG_") || name == "JOURNAL_STREAM"
	})
}

// running tells whether the node's daemon has been started and has not ended.
func (n *node) running() bool { return n.daemon != nil && n.daemon.running() }

func (d *daemon) running() bool {
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// wait waits for the daemon's end and returns its exit code, -1 if a signal ended it.
func (d *daemon) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(patience):
		t.Fatalf("the daemon (pid %d) does not end", d.pid)
	}
	return d.code
}

// signal sends a signal to the daemon.
func (n *node) signal(s syscall.Signal) {
	n.Helper()
	check(n, n.daemon.cmd.Process.Signal(s))
}

// kill ends the daemon with SIGKILL, once what it says to run is on record. Its containers run on.
func (n *node) kill() {
	n.Helper()
	eventually(n, patience, "what runs is on record", func() error {
		list, _ := n.tryList() // a daemon that does not answer is killed all the same
		for _, c := range list {
			if c.State != "running" {
				continue
			}
			if err := recorded(n, c); err != nil {
				return err
			}
		}
		return nil
	})
	n.killNow()
}

// killNow ends the daemon with SIGKILL, whatever it does. A restart that is not on record yet is not counted by the next one.
func (n *node) killNow() {
	n.Helper()
	n.signal(syscall.SIGKILL)
	n.daemon.wait(n)
}

// stop ends the daemon with SIGTERM, and fails the test unless it ends with code 0 and leaves nothing.
func (n *node) stop() {
	n.Helper()
	n.stopAndLook()
	if n.Failed() {
		n.FailNow()
	}
}

func (n *node) stopAndLook() {
	n.Helper()
	_ = n.daemon.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.daemon.ended:
	case <-time.After(patience):
		n.Errorf("the daemon does not end after SIGTERM")
		_ = n.daemon.cmd.Process.Kill()
		return
	}
	n.checkGone()
}

// checkGone fails the test unless the daemon ended with code 0 and nothing of it is left.
func (n *node) checkGone() {
	n.Helper()
	if n.daemon.code != 0 {
		n.Errorf("the daemon ended with code %d", n.daemon.code)
	}
	if left := leftovers(n.dir); len(left) > 0 {
		n.Errorf("the daemon left behind:\n  %s", strings.Join(left, "\n  "))
	}
}

// log returns what the node's daemons have logged.
func (n *node) log() string {
	data, _ := os.ReadFile(n.daemonLog)
	return string(data)
}

var criHeader = regexp.MustCompile(`(?m)^[0-9T:.-]+Z (stdout|stderr) [FP] `)

// output returns what a container has written, both streams together, without what the log adds to it.
func (n *node) output(name string) string {
	data, _ := os.ReadFile(filepath.Join(n.logs, name+".log"))
	return criHeader.ReplaceAllString(string(data), "")
}

// waitOutput waits until a container's output has a match of a regular expression, and returns it with its groups.
func (n *node) waitOutput(name, expression string) []string {
	n.Helper()
	re := regexp.MustCompile(expression)
	var match []string
	eventually(n, patience, fmt.Sprintf("output of %s matches %q", name, expression), func() error {
		out := n.output(name)
		if match = re.FindStringSubmatch(out); match == nil {
			return fmt.Errorf("it is %q", out)
		}
		return nil
	})
	return match
}
