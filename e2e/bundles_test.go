package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// object is a JSON object.
type object = map[string]any

// makeBundle makes a ready bundle in dir: the config.json of `runc spec` with these arguments, and a root file system of
// busybox that is the node's own.
func makeBundle(n *node, dir string, args ...string) {
	n.Helper()
	check(n, os.MkdirAll(dir, 0o755))
	if out, err := exec.Command("runc", "spec", "-b", dir).CombinedOutput(); err != nil {
		n.Fatalf("runc spec: %v\n%s", err, out)
	}
	editConfig(n, dir, func(config object) {
		process := config["process"].(object)
		process["terminal"], process["args"] = false, args
		config["root"] = object{"path": n.rootfs, "readonly": true}
	})
}

// changedConfig returns the text of a bundle's config.json after an edit.
func changedConfig(t testing.TB, dir string, edit func(config object)) string {
	t.Helper()
	var config object
	decode(t, readFile(t, filepath.Join(dir, "config.json")), &config)
	edit(config)
	text, err := json.MarshalIndent(config, "", "\t")
	check(t, err)
	return string(text)
}

// editConfig changes a bundle's config.json in place.
func editConfig(t testing.TB, dir string, edit func(config object)) {
	t.Helper()
	text := changedConfig(t, dir, edit)
	check(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o644))
}

// withArgs is an edit that sets the arguments.
func withArgs(args ...string) func(object) {
	return func(config object) { config["process"].(object)["args"] = args }
}

// symlink makes a symbolic link, or replaces one by rename.
func symlink(t testing.TB, to, path string) {
	t.Helper()
	beside := path + ".new"
	check(t, os.Symlink(to, beside))
	check(t, os.Rename(beside, path))
}
