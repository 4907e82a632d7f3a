package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shop defines a database that takes a moment to be ready, a migration, a service and a proxy, each needing the one before.
// All of them write into one file when they begin and when they are told to end.
func shop(n *node) {
	n.Helper()
	check(n, os.MkdirAll(filepath.Join(n.dir, "journal"), 0o777))
	const journal = "mounts: [{source: DIR/journal, target: /journal}]\nrestart: {delay: 100ms}\n"
	service := func(name, before, more string) {
		n.define(name, fmt.Sprintf("command: [sh, -c, \"trap 'echo -%s >>/journal/order; exit 0' TERM; echo +%s >>/journal/order; %s while :; do sleep 1000 & wait; done\"]\n%s%s",
			name, name, before, journal, more))
	}
	service("proxy", "", "requires: [app]\nafter: [log]")
	service("app", "", "requires: [db, migration]")
	n.define("migration", "command: [sh, -c, 'echo +migration >>/journal/order; sleep 0.3; echo done >>/journal/order']\ntype: oneshot\nrequires: [db]\n"+journal)
	service("db", "rm -f /journal/up; sleep 0.5; echo ready >>/journal/order; touch /journal/up;", "health: {readiness: {exec: [test, -e, /journal/up], period: 200ms}}")
	n.define("log", "command: [idle]")
}

// wantWrote waits until the containers have written just that since the last time.
func (n *node) wantWrote(when, want string) {
	n.Helper()
	file := filepath.Join(n.dir, "journal", "order")
	eventually(n, patience, when+": "+want, func() error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if got := strings.Join(strings.Fields(string(text)), " "); got != want {
			return errors.New(got)
		}
		return os.Remove(file)
	})
}

func waitForShop(n *node) {
	n.Helper()
	n.waitState("proxy", "running")
	n.waitFor("migration", "is done", func(c container) bool { return c.State == "exited" && c.Ready })
}

// The order of the issue: started in order, by readiness; the database killed, only it restarts; stopped in reverse order; and
// the same after a restart of the daemon, where nothing is done again.
func TestOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	shop(n)
	n.start()
	const up, down = "+db ready +migration done +app +proxy", "-proxy -app -db"
	waitForShop(n)
	n.wantWrote("at boot", up)

	db, app := n.get("db"), n.get("app")
	n.must("kill", "-s", "KILL", "db")
	n.waitFor("db", "runs anew and is ready", func(c container) bool { return c.Pid != db.Pid && c.Ready })
	if now := n.get("app"); now.Pid != app.Pid {
		t.Errorf("the database was killed, and app is %s", now.brief())
	}
	n.wantWrote("the database was killed", "+db ready")

	n.kill()
	n.start()
	n.waitFor("proxy", "is adopted", func(c container) bool { return c.Adopted && c.State == "running" })
	waitForShop(n)
	if text, err := os.ReadFile(filepath.Join(n.dir, "journal", "order")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a killed daemon: %s, %v", text, err)
	}

	n.must("stop", "db")
	n.wantWrote("stop db", down)
	n.must("start", "proxy")
	n.wantWrote("start proxy", up)
	n.must("restart", "app")
	eventually(t, patience, "proxy follows app", func() error {
		if c := n.get("proxy"); c.State != "running" {
			return errors.New(c.brief())
		}
		return nil
	})
	n.wantWrote("restart app", "-proxy -app +app +proxy")
	n.stop()
	n.wantWrote("the daemon is stopped", down)

	n.start()
	waitForShop(n)
	n.wantWrote("the next start", up)
}

// A definition that closes a cycle, or names nobody, is refused with its place, and what runs is left alone.
func TestOrderRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("a", "command: [idle]\nrequires: [b]")
	n.define("b", "command: [idle]")
	n.define("c", "command: [idle]")
	n.start()
	a, b := n.waitState("a", "running"), n.get("b")
	for name, keys := range map[string]string{"b": "after: [a]", "c": "requires: [nobody]"} {
		n.define(name, "command: [idle]\n"+keys)
	}
	if r := n.runcsup("check", "--containers", n.containers); r.code != 1 || !strings.Contains(r.stdout, "b -> a -> b") || !strings.Contains(r.stdout, `there is no container "nobody"`) {
		t.Errorf("check: code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	changes, code := n.reload()
	if code != 1 || !strings.Contains(changes["b"].Error, `b.yaml:3:9: "after[0]": each would wait for the next: b -> a -> b`) ||
		!strings.Contains(changes["c"].Error, `there is no container "nobody"`) || changes["a"].Action != "unchanged" {
		t.Errorf("reload: code %d, %+v", code, changes)
	}
	n.undefine("b")
	if changes, code := n.reload(); code != 1 || changes["b"].Action != "refused" || !strings.Contains(changes["b"].Error, "a needs it") {
		t.Errorf("without b: code %d, %+v", code, changes)
	}
	// To turn it around takes both files at once.
	n.define("a", "command: [idle]")
	n.define("b", "command: [idle]\nafter: [a]")
	n.define("c", "command: [idle]\nafter: [b]")
	if changes, code := n.reload(); code != 0 {
		t.Errorf("turned around: code %d, %+v", code, changes)
	}
	if now := n.get("a"); now.Pid != a.Pid || now.Error != "" {
		t.Errorf("a: %s", now.brief())
	}
	if now := n.get("b"); now.Pid != b.Pid || now.Error != "" {
		t.Errorf("b: %s", now.brief())
	}
	n.stop()
}
