package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What needs another container is stopped before it also when the definitions of both are removed, at once or while no daemon was
// there. Who stays keeps what it needs, over any number of others.
func TestRemovedTogetherInOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	define := func(name, needs string) {
		n.define(name, fmt.Sprintf(`command: [sh, -c, "trap 'sleep 0.5; echo %s >>/ended; exit 0' TERM; touch /%[1]s-up; while :; do sleep 0.05; done"]
stop: {timeout: 50s}
`, name)+needs)
	}
	up := func() {
		define("db", "")
		define("app", "requires: [db]\n")
		define("proxy", "after: [app]\nrequires: [app]\n")
		n.reload()
		for _, name := range []string{"db", "app", "proxy"} {
			n.waitState(name, "running")
			up := filepath.Join(n.rootfs, name+"-up")
			eventually(t, patience, name+" hears of signals", func() error { return os.Remove(up) })
		}
	}
	ended := func(how, want string) {
		t.Helper()
		for _, name := range []string{"db", "app", "proxy"} {
			n.waitGone(name)
		}
		file := filepath.Join(n.rootfs, "ended")
		if text := readFile(t, file); text != want {
			t.Errorf("%s: ended are %q, want %q", how, text, want)
		}
		check(t, os.Remove(file))
	}
	n.start()
	up()
	n.undefine("db")
	n.undefine("app")
	changes, code := n.reload()
	if code != 1 || changes["db"].Action != "refused" || changes["app"].Action != "refused" {
		t.Errorf("removal of what proxy needs: code %d, %+v", code, changes)
	}
	n.undefine("proxy")
	if changes, code := n.reload(); code != 0 {
		t.Errorf("removal of all: code %d, %+v", code, changes)
	}
	ended("reload", "proxy\napp\ndb\n")

	up()
	n.kill()
	for _, name := range []string{"db", "app", "proxy"} {
		n.undefine(name)
	}
	d := n.start()
	ended("removed while no daemon was there", "proxy\napp\ndb\n")
	if !d.running() {
		t.Error("the daemon has ended")
	}
	n.stop()
}

// A container that takes its time to stop because its definition is gone holds up no other change, and when its
// definition is back before it is down it runs in the end.
func TestSlowRemoval(t *testing.T) {
	n := newNode(t)
	stubborn := `command: [sh, -c, 'trap "" TERM; echo up; while :; do sleep 1; done']
stop: {timeout: 12s}
`
	n.define("stubborn", stubborn)
	n.define("other", "command: [idle, '1']")
	n.start()
	first := n.waitState("stubborn", "running")
	n.waitOutput("stubborn", "up")
	before := n.waitState("other", "running").Pid

	n.undefine("stubborn")
	n.waitState("stubborn", "stopping")
	began := time.Now()
	n.define("other", "command: [idle, '2']")
	n.waitFor("other", "restarted", func(c container) bool { return c.State == "running" && c.Pid != before })
	if n.get("stubborn").State != "stopping" {
		t.Fatalf("the other change was applied %s later, and the removal was over then: nothing was shown", time.Since(began))
	}
	n.define("stubborn", stubborn)
	n.waitFor("stubborn", "replaced", func(c container) bool { return c.State == "running" && c.Pid != first.Pid })
	if changes, code := n.reload(); code != 0 || changes["stubborn"].Action != "unchanged" {
		t.Errorf("reload after all that: exit code %d, %+v", code, changes)
	}
	n.undefine("stubborn")
	n.waitGone("stubborn")
}
