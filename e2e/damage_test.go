package e2e

import (
	"io/fs"
	"os"
	"path/filepath"

	"strings"
	"testing"
)

// stateFiles are all files that a daemon reads when it starts, but what it was given by the user.
func stateFiles(n *node) (files []string) {
	n.Helper()
	for _, dir := range []string{n.state, n.run} {
		check(n, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.Type().IsRegular() && !strings.Contains(path, "/rootfs/") && filepath.Base(path) != "lock" {
				files = append(files, path)
			}
			return err
		}))
	}
	return files
}

// Whatever happened to the files in its directories while no daemon ran, the next one starts, takes over what runs, restarts
// nothing, and says what is damaged. The runtime's own files are among them: the kernel tells what runs. That each byte counts
// is tested where the files are read.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(data []byte, seed int) []byte{
		"cut":     func(data []byte, seed int) []byte { return data[:len(data)*(seed%7+1)/9] },
		"emptied": func([]byte, int) []byte { return nil },
		"flipped": func(data []byte, seed int) []byte {
			for at := seed % 50; at < len(data); at += 97 {
				data[at] ^= 1 << (seed % 8)
			}
			return data
		},
		"zeroed": func(data []byte, _ int) []byte { return make([]byte, len(data)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			names := []string{"a", "b", "c"}
			for _, name := range names {
				n.define(name, "command: [idle]\nhostname: h\n")
			}
			n.start()
			before := map[string]container{}
			for _, name := range names {
				before[name] = n.waitState(name, "running")
				waitRecorded(n, before[name])
			}
			n.kill()
			files := stateFiles(n)
			for i, file := range files {
				data, err := os.ReadFile(file)
				check(t, err)
				check(t, os.WriteFile(file, damage(data, i), 0o600))
			}
			if len(files) < 6*len(names) { // records, bundles, definitions, history, the runtime's
				t.Fatalf("only %v were damaged", files)
			}
			n.start()
			for _, name := range names {
				c := n.waitState(name, "running")
				if c.Pid != before[name].Pid || !c.Adopted {
					t.Errorf("%s is %s, and was %s", name, c.brief(), before[name].brief())
				}
				// The list has the newest trouble, which may be with the runtime's files; history and log have all.
				if c.Error == "" {
					t.Errorf("%s: nothing is said to be wrong: %q", name, c.Error)
				}
				what := "records/" + name + ".json: it is damaged"
				if !strings.Contains(n.log(), what) {
					t.Errorf("the log does not say: %s", what)
				}
				if history := n.must("history", name, "-o", "json"); !strings.Contains(history, what) {
					t.Errorf("%s: the history does not say what is damaged:\n%s", name, history)
				}
			}
			n.must("restart", "a")
			if c := n.get("a"); c.Error != "" {
				t.Errorf("after a restart: %q", c.Error)
			}
			n.stop()
		})
	}
}

// A record of a newer program is not read, not even by halves, and nothing happens to what runs.
func TestNewerState(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.ownProgram()
	n.define("web", "command: [idle]")
	n.start()
	web := n.waitState("web", "running")
	waitRecorded(n, web)
	// As its next version would be, of a container that is not there: what it says of itself is enough.
	const newer = `{"version": 99, "checksum": "crc32c:ecd20050", "record": {"version":99}}`
	file := filepath.Join(n.state, "records", "later.json")
	writeFile(t, file, newer)
	r := n.runcsup("reexec")
	if r.code != 1 || !strings.Contains(r.stderr, "newer runcsup") || !strings.Contains(r.stderr, file) {
		t.Errorf("reexec: code %d, %s", r.code, r.stderr)
	}
	n.kill()
	d := n.launch()
	if code := d.wait(t); code != 1 {
		t.Errorf("the daemon ended with code %d", code)
	}
	if last := tail(n.daemonLog, 3); !strings.Contains(last, "newer runcsup") || !strings.Contains(last, file) {
		t.Errorf("it says %s", last)
	}
	if !alive(web.Pid) {
		t.Error("the container was ended")
	}
	check(t, os.Remove(file))
	n.start()
	if c := n.waitState("web", "running"); c.Pid != web.Pid {
		t.Errorf("it is %s", c.brief())
	}
	n.stop()
}
