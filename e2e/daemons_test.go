package e2e

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTwoDaemonsSideBySide(t *testing.T) {
	t.Parallel()
	a, b := newNode(t), newNode(t)
	for _, n := range []*node{a, b} {
		n.define("app", "command: [idle]\nresources: {pids: 40}")
		n.start()
	}
	ofA, ofB := a.waitState("app", "running"), b.waitState("app", "running")
	if ofA.Pid == ofB.Pid {
		t.Fatal("both daemons have the same process")
	}
	a.must("stop", "app")
	if alive(ofA.Pid) || !alive(ofB.Pid) {
		t.Error("the wrong one was stopped")
	}
	a.must("start", "app")
	a.stop()
	if c := b.waitState("app", "running"); c.Pid != ofB.Pid || !alive(c.Pid) {
		t.Errorf("the other daemon's container: %s", c.brief())
	}
	b.define("app", "command: [idle]\nresources: {pids: 50}")
	b.must("reload")
	if got := cgroupValue(b, "app", "pids"); got != "50" {
		t.Errorf("the limit is %s, want 50", got)
	}
	b.stop()
}

func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("app", "command: [idle]")
	n.start()
	c := n.waitState("app", "running")
	for what, args := range map[string][]string{
		"all directories":     nil,
		"the run directory":   {"--state-dir", filepath.Join(n.dir, "other-state")},
		"the state directory": {"--run-dir", filepath.Join(n.dir, "other-run")},
	} {
		before := len(n.log())
		if code := n.launchBeside(args...).wait(t); code != 1 {
			t.Errorf("%s in common: the second daemon ended with code %d", what, code)
		}
		if said := n.log()[before:]; !strings.Contains(said, "runcsup: ") || !strings.Contains(said, n.dir) {
			t.Errorf("%s in common: the second daemon said %q", what, said)
		}
		if now := n.get("app"); now.Pid != c.Pid || now.State != "running" || !alive(c.Pid) {
			t.Errorf("%s in common: %s", what, now.brief())
		}
	}
	n.stop()
}

func TestSocketMode(t *testing.T) {
	t.Parallel()
	group, err := user.LookupGroup("nogroup")
	check(t, err)
	for _, tt := range []struct {
		name, gid string
		args      []string
		settings  string
	}{
		{"flag by name", group.Gid, []string{"--socket-group", "nogroup"}, ""},
		{"flag by number", "4711", []string{"--socket-group", "4711"}, ""},
		{"settings", group.Gid, nil, "socketGroup: nogroup\n"},
	} {
		n := newNode(t, tt.args...)
		writeFile(t, filepath.Join(n.dir, "runcsup.yaml"), tt.settings)
		n.start()
		info, err := os.Stat(n.socket)
		check(t, err)
		owner := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm() != 0o660 || owner.Uid != 0 || fmt.Sprint(owner.Gid) != tt.gid {
			t.Errorf("%s: the socket has mode %o, owner %d:%d, want 660, 0:%s", tt.name, info.Mode().Perm(), owner.Uid, owner.Gid, tt.gid)
		}
		n.stop()
	}
	n := newNode(t)
	if code := n.launch("--socket-group", "no-such-group").wait(t); code != 1 || !strings.Contains(n.log(), "no-such-group") {
		t.Errorf("an unknown group: code %d", code)
	}
}

func TestDaemonThatCannotStart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, settings string
		args           []string
		code           int
		says           string
	}{
		{"unknown setting", "wach: false\n", nil, 1, `unknown key "wach"`},
		{"no settings file", "", []string{"--config", "/no/such/file"}, 1, "/no/such/file"},
		{"containers is no directory", "", []string{"--containers", "/etc/passwd"}, 1, "/etc/passwd"},
		{"unknown word", "", []string{"--cgroup-manager", "nope"}, 1, "nope"},
		{"run directory with too long a name", "", []string{"--run-dir", "/tmp/" + strings.Repeat("long", 30)}, 1, "long"},
		{"unknown flag", "", []string{"--bogus"}, 2, "--bogus"},
		{"argument", "", []string{"now"}, 2, "now"},
	} {
		n := newNode(t)
		writeFile(t, filepath.Join(n.dir, "runcsup.yaml"), tt.settings)
		if code := n.launch(tt.args...).wait(t); code != tt.code {
			t.Errorf("%s: code %d, want %d\n%s", tt.what, code, tt.code, n.log())
		}
		if !strings.Contains(n.log(), "runcsup: ") || !strings.Contains(n.log(), tt.says) {
			t.Errorf("%s: it said %s", tt.what, n.log())
		}
	}
}

// A runtime that is not there is no reason to give up: it may come back, and what runs does not need it.
func TestRuntimeThatIsNotThere(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	real := n.runtime
	n.runtime = filepath.Join(n.dir, "runtime")
	n.define("app", "command: [idle]\nrestart: {delay: 200ms, maxDelay: 500ms, steps: 1}")
	n.start()
	c := n.waitFor("app", "tried again", func(c container) bool { return c.Restarts >= 1 })
	if c.LastExit.String() != "start-failed/-1/" || !strings.Contains(c.Error, n.runtime) {
		t.Errorf("got %s", c.brief())
	}
	writeFile(t, n.runtime+".new", "#!/bin/sh\nexec "+real+" \"$@\"\n")
	check(t, os.Chmod(n.runtime+".new", 0o755))
	check(t, os.Rename(n.runtime+".new", n.runtime))
	if c := n.waitState("app", "running"); c.Error != "" {
		t.Errorf("it runs, but: %s", c.brief())
	}
	n.stop()
}
