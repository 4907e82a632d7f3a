package e2e

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// The order of the issue, with a real postgres: a migration that fails keeps the others from starting, and they say so; all start
// in order, by readiness; the database killed, only it restarts; the daemon killed, nothing is done again; all stop in
// reverse order.
func TestOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	s := newShop(n)
	n.start()
	why := `"migration", which exited with code 3 and is started again later`
	for name, text := range map[string]string{"app": "it needs " + why, "proxy": `it needs "app", which waits in vain for ` + why} {
		n.waitFor(name, "waits in vain", func(c container) bool { return c.State == "waiting" && strings.Contains(c.Error, text) })
	}
	if r := n.runcsup("start", "proxy"); r.code != 1 || !strings.Contains(r.stderr, `cannot start "proxy" yet`) || !strings.Contains(r.stderr, why) {
		t.Errorf("start proxy: code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	s.wantWrote("the migration fails", "+db")
	s.mendMigration()
	s.waitOpen()
	s.wantWrote("the migration is mended", "+migration +app +proxy")
	s.wantSold(1)
	s.wantUndisturbed("db", "app", "proxy")

	db, app, proxy := n.get("db"), n.get("app"), n.get("proxy")
	n.must("kill", "-s", "KILL", "db")
	n.waitFor("db", "runs anew and is ready", func(c container) bool { return c.Pid != db.Pid && c.Ready })
	s.wantSold(1)
	s.wantWrote("the database was killed", "+db")
	n.kill()
	n.start()
	n.waitFor("proxy", "is adopted", func(c container) bool { return c.Adopted && c.State == "running" })
	s.waitOpen()
	s.wantSold(1)
	if nowApp, nowProxy := n.get("app"), n.get("proxy"); nowApp.Pid != app.Pid || nowProxy.Pid != proxy.Pid {
		t.Errorf("the database and the daemon were killed, and these are others now: %s; %s", nowApp.brief(), nowProxy.brief())
	}
	if text, err := os.ReadFile(s.journal); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a killed daemon: %s, %v", text, err)
	}

	const up, down = "+db +migration +app +proxy", "-proxy -app"
	n.must("stop", "db")
	s.wantWrote("stop db", down)
	if c := n.get("db"); c.State != "stopped" || c.LastExit.String() != "stopped/0/" {
		t.Errorf("stop db: %s", c.brief())
	}
	n.must("start", "proxy")
	s.waitOpen()
	s.wantWrote("start proxy", up)
	s.wantSold(2)
	n.must("restart", "app")
	eventually(t, patience, "proxy follows app", func() error {
		if c := n.get("proxy"); c.State != "running" {
			return errors.New(c.brief())
		}
		return nil
	})
	s.wantWrote("restart app", "-proxy -app +app +proxy")
	s.wantUndisturbed("db", "app", "proxy")

	n.stop()
	s.wantWrote("the daemon is stopped", down)
	if text := n.output("db"); !strings.HasSuffix(strings.TrimSpace(text), "database system is shut down") {
		t.Errorf("the database was not ended well:\n%s", text)
	}
	n.start()
	s.waitOpen()
	s.wantWrote("the next start", up)
	s.wantSold(3)
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
