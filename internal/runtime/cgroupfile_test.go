package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A file with a cgroup of which one byte is another one never names another cgroup: all processes in that would be killed.
func TestEveryByteOfTheCgroupFileChanged(t *testing.T) {
	r := &Runtime{cfg: Config{CallDir: t.TempDir()}}
	for _, path := range []cgroupPath{"/runcsup/c1", "runcsup.slice:runcsup:c1"} {
		if err := r.rememberCgroup("c1", path); err != nil {
			t.Fatal(err)
		}
		if got := r.cgroupPathOf("c1"); got != path {
			t.Fatalf("got %q, want %q", got, path)
		}
		whole, err := os.ReadFile(filepath.Join(r.cfg.CallDir, "c1", cgroupFile))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := parseCgroupFile("c2", string(whole)); ok {
			t.Errorf("the file of another container gives %q", got)
		}
		for at, was := range whole {
			if got, ok := parseCgroupFile("c1", string(whole[:at])); ok && got != path {
				t.Errorf("cut at %d: %q", at, got)
			}
			for b := range 256 {
				damaged := bytes.Clone(whole)
				if damaged[at] = byte(b); byte(b) == was {
					continue
				}
				if got, ok := parseCgroupFile("c1", string(damaged)); ok && got != path {
					t.Errorf("byte %d is %q: %q", at, byte(b), got)
				}
			}
		}
	}
}

// A living container is found by its cgroup when no file tells of it.
func TestFindByCgroup(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := start(t, r, "npd", shell("sleep 1000 & sleep 1000 & wait"))
		eventually(t, "its children", func() bool {
			pids, err := p.cgroup.pids()
			return err == nil && len(pids) == 3
		})
		entries, err := os.ReadDir(r.stateDir("npd"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				if err := os.Truncate(filepath.Join(r.stateDir("npd"), e.Name()), 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		got, err := r.Find(soon(t), "npd", nil)
		if err != nil || got.Identity() != p.Identity() {
			t.Errorf("got %v, %v, want %+v", got, err, p.Identity())
		}
		remove(t, r, "npd")
	})
}
