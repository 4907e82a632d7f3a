package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// brokenConfigs are edits of a good config.json that must be refused, by what the message has to name.
var brokenConfigs = []struct {
	what, says string
	edit       func(config object) // nil: see cut
	text       func(good string) string
}{
	{what: "cut off", says: "config.json", text: func(good string) string { return good[:len(good)/2] }},
	{what: "empty", says: "config.json", text: func(string) string { return "" }},
	{what: "something else", says: "config.json", text: func(string) string { return "process: {args: [idle]}\n" }},
	{what: "two objects", says: "config.json", text: func(good string) string { return good + good }},
	{what: "args of the wrong type", says: "args", edit: func(c object) { c["process"].(object)["args"] = "idle" }},
	{what: "terminal of the wrong type", says: "terminal", edit: func(c object) { c["process"].(object)["terminal"] = "no" }},
	{what: "no args", says: "args", edit: func(c object) { delete(c["process"].(object), "args") }},
	{what: "empty args", says: "args", edit: withArgs()},
	{what: "no process", says: "process", edit: func(c object) { delete(c, "process") }},
	{what: "no root", says: "root", edit: func(c object) { delete(c, "root") }},
	{what: "root that is not there", says: "/no/such/rootfs", edit: func(c object) { c["root"].(object)["path"] = "/no/such/rootfs" }},
	{what: "unknown capability", says: "CAP_SYS_EVERYTHING", edit: func(c object) {
		c["process"].(object)["capabilities"].(object)["bounding"] = []string{"CAP_SYS_EVERYTHING"}
	}},
	{what: "unknown namespace", says: "universe", edit: func(c object) {
		c["linux"].(object)["namespaces"] = []object{{"type": "universe"}}
	}},
	{what: "relative cwd", says: "cwd", edit: func(c object) { c["process"].(object)["cwd"] = "tmp" }},
	{what: "terminal", says: "terminal", edit: func(c object) { c["process"].(object)["terminal"] = true }},
	{what: "mount source that is not there", says: "/no/such/source", edit: func(c object) {
		c["mounts"] = append(c["mounts"].([]any), object{"type": "bind", "source": "/no/such/source", "destination": "/mnt", "options": []string{"bind"}})
	}},
}

// refused waits until a container shows an error with this text everywhere, and still runs as before.
func refused(n *node, before container, says string) {
	n.Helper()
	c := n.waitFor(before.Name, "refused with "+says, func(c container) bool { return strings.Contains(c.Error, says) })
	if c.Pid != before.Pid || c.State != "running" || c.Restarts != before.Restarts {
		n.Errorf("the container did not stay as it was: %s", c.brief())
	}
	// Tables are for people: what is wrong is below them.
	for _, verb := range [][]string{{"list"}, {"status", before.Name}} {
		if out := n.must(verb...); !strings.Contains(out, says) {
			n.Errorf("%s does not say %q:\n%s", verb[0], says, out)
		}
	}
	if !strings.Contains(n.log(), "definition refused") {
		n.Errorf("the log does not tell of the refusal")
	}
	changes, code := n.reload(before.Name)
	if now := changes[before.Name]; code != 1 || now.Action != "refused" || !strings.Contains(now.Error, says) {
		n.Errorf("reload: code %d, %+v", code, now)
	}
	// An archive is not unpacked to tell what would happen.
	if r := n.runcsup("diff", before.Name); !strings.Contains(says, "archive") && (r.code != 1 || !strings.Contains(r.stdout, says)) {
		n.Errorf("diff: code %d, %s%s", r.code, r.stdout, r.stderr)
	}
}

// mended waits until a container has no error any more, and checks that it still runs as before.
func mended(n *node, before container) {
	n.Helper()
	c := n.waitFor(before.Name, "mended", func(c container) bool { return c.Error == "" })
	if c.Pid != before.Pid || c.State != "running" {
		n.Errorf("the container did not stay as it was: %s", c.brief())
	}
	if changes, code := n.reload(before.Name); code != 0 || changes[before.Name].Action != "unchanged" {
		n.Errorf("reload after it was mended: code %d, %+v", code, changes)
	}
}

func TestBrokenConfigJSONStopsNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	bundle := filepath.Join(n.dir, "app")
	makeBundle(n, bundle, "idle")
	n.define("app", "bundle: "+bundle)
	n.define("other", "command: [idle]")
	n.start()
	before, other := n.waitState("app", "running"), n.waitState("other", "running")
	config := filepath.Join(bundle, "config.json")
	good := readFile(t, config)
	for _, tt := range brokenConfigs {
		t.Run(tt.what, func(t *testing.T) {
			n := n.in(t)
			text := ""
			if tt.text != nil {
				text = tt.text(good)
			} else {
				text = changedConfig(t, bundle, tt.edit)
			}
			replaceFile(t, config, text)
			defer mended(n, before)
			defer replaceFile(t, config, good)
			refused(n, before, tt.says)
		})
	}
	t.Run("the bundle is gone", func(t *testing.T) {
		n := n.in(t)
		check(t, os.Rename(bundle, bundle+".away"))
		defer mended(n, before)
		defer func() { check(t, os.Rename(bundle+".away", bundle)) }()
		refused(n, before, bundle)
	})
	if now := n.get("other"); now.Pid != other.Pid || now.Error != "" {
		t.Errorf("another container did not stay as it was: %s", now.brief())
	}
	n.stop()
}

func TestBrokenDefinitionStopsNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const good = "command: [idle]\nenvFile: [DIR/app.env]\nsecrets: [{source: DIR/token, target: /token}]\n"
	writeFile(t, filepath.Join(n.dir, "app.env"), "A=1\n")
	writeFile(t, filepath.Join(n.dir, "token"), "secret")
	n.define("app", good)
	n.start()
	before := n.waitState("app", "running")
	for _, tt := range []struct{ what, text, says string }{
		{"no YAML", "command: [idle\nenv: {", "app.yaml:"},
		{"empty", "\n", "app.yaml"},
		{"unknown key", good + "comand: [idle]\n", `unknown key "comand"`},
		{"wrong type", "command: idle\n", `app.yaml:2:10: "command" must be a list`},
		{"two sources", "rootfs: ROOTFS\nbundle: /srv\n" + good, "exclude each other"},
		{"no command", "env: {A: b}\n", `"command"`},
		{"unknown dependency", good + "after: [other]\n", `there is no container "other"`},
		{"unknown capability", good + "capabilities: {add: [CAP_NOPE]}\n", "CAP_NOPE"},
		{"unknown user", good + "user: somebody\n", "somebody"},
		{"env file that is not there", "command: [idle]\nenvFile: [/no/such.env]\n", "/no/such.env"},
		{"rootfs that is not there", "rootfs: /no/such/rootfs\ncommand: [idle]\n", "/no/such/rootfs"},
		{"archive that is none", "rootfs-archive: DIR/token\ncommand: [idle]\n", "archive"},
		{"no seconds", good + "restart: {delay: 15}\n", "restart.delay"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			n := n.in(t)
			n.defineRaw("app", n.text(tt.text))
			defer mended(n, before)
			defer n.define("app", good)
			refused(n, before, tt.says)
		})
	}
	t.Run("broken env file", func(t *testing.T) {
		n := n.in(t)
		file := filepath.Join(n.dir, "app.env")
		writeFile(t, file, "A=1\nno assignment\n")
		defer mended(n, before)
		defer writeFile(t, file, "A=1\n")
		refused(n, before, "app.env:2")
	})
	n.stop()
}

// A broken file is no reason not to run what ran before: neither after a crash of the container nor after a restart of
// the daemon.
func TestLastGoodDefinitionIsUsed(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	bundle := filepath.Join(n.dir, "ready")
	makeBundle(n, bundle, "idle", "good")
	const policy = "\nrestart: {delay: 100ms, jitter: 0%}\n"
	n.define("ready", "bundle: "+bundle+policy)
	n.define("plain", "command: [idle, good]"+policy)
	n.define("fixed", "command: [idle, good]"+policy)
	n.start()
	before := map[string]container{}
	for _, name := range []string{"ready", "plain", "fixed"} {
		before[name] = n.waitState(name, "running")
	}
	writeFile(t, filepath.Join(bundle, "config.json"), `{"process": `)
	n.defineRaw("plain", "command: [idle\n")
	for _, name := range []string{"ready", "plain"} {
		n.waitFor(name, "refused", func(c container) bool { return c.Error != "" })
	}
	crash := func(name string) {
		t.Helper()
		c := n.get(name)
		check(t, killProcess(c.Pid))
		again := n.waitFor(name, "runs again", func(now container) bool { return now.State == "running" && now.Pid != c.Pid })
		runs(t, again, "/bin/sh /bin/idle good")
		if again.Error == "" {
			t.Errorf("%s has lost its error", name)
		}
		before[name] = again
	}
	crash("ready")
	crash("plain")
	n.kill()
	n.start()
	for _, name := range []string{"ready", "plain", "fixed"} {
		c := n.waitState(name, "running")
		if c.Pid != before[name].Pid || !c.Adopted || c.Restarts != before[name].Restarts || (c.Error == "") != (name == "fixed") {
			t.Errorf("%s after a restart of the daemon: %s, want pid %d adopted", name, c.brief(), before[name].Pid)
		}
	}
	crash("ready")
	crash("plain")
	// Stopped with the daemon, it is started from the last good definition by the next one.
	n.stop()
	n.start()
	for _, name := range []string{"ready", "plain"} {
		c := n.waitFor(name, "runs with an error", func(c container) bool { return c.State == "running" && c.Error != "" })
		runs(t, c, "/bin/sh /bin/idle good")
		before[name] = c
	}
	n.define("plain", "command: [idle, good]"+policy)
	mended(n, before["plain"])
	n.stop()
}

// A definition that was never good is shown, and runs when it is mended.
func TestDefinitionThatNeverWasGood(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.defineRaw("new", "comand: [idle]\n")
	n.define("other", "command: [idle]")
	n.start()
	n.waitState("other", "running")
	c := n.waitFor("new", "refused", func(c container) bool { return c.Error != "" })
	if c.State != "stopped" && c.State != "failed" || c.Pid != 0 {
		t.Errorf("got %s", c.brief())
	}
	if r := n.runcsup("start", "new"); r.code != 1 || !strings.Contains(r.stderr, "comand") {
		t.Errorf("start: code %d, %s", r.code, r.stderr)
	}
	if r := n.runcsup("status", "new"); r.code != 3 {
		t.Errorf("status: code %d", r.code)
	}
	var shown struct{ Error, Definition string }
	if r := n.runcsup("show", "-o", "json", "new"); r.code != 0 || json.Unmarshal([]byte(r.stdout), &shown) != nil || shown.Error == "" {
		t.Errorf("show: code %d, %s%s", r.code, r.stdout, r.stderr)
	}
	n.define("new", "command: [idle]")
	n.waitFor("new", "runs", func(c container) bool { return c.State == "running" && c.Error == "" })
	n.stop()
}
