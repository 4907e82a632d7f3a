package runtime

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What one Runtime has started, another one takes over under another name: the same process, in the same cgroup.
func TestTakeOver(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		if fl.systemd && fl.name == "crun" {
			t.Skip("scopes that crun has made are refused")
		}
		theirs, ours := fl.runtime(t), fl.runtime(t)
		p := idle(t, theirs, "theirs")
		f := Foreign{Root: theirs.cfg.Root, ID: "theirs"}
		if _, err := ours.TakeOver("ours", Foreign{Root: f.Root, ID: "none"}); !isNotFound(err) {
			t.Errorf("one that is not there: %v", err)
		}
		undone, err := ours.TakeOver("ours", f)
		if err != nil {
			t.Fatal(err)
		}
		if err := undone.Remember(); err != nil {
			t.Fatal(err)
		}
		if err := undone.CopyState(soon(t)); err != nil {
			t.Fatal(err)
		}
		if err := undone.Undo(); err != nil {
			t.Fatal(err)
		}
		mustBeGone(t, ours, "ours")
		if p.fd.ended() || !theirs.Exists("theirs") {
			t.Fatal("the container was touched")
		}

		took, err := ours.TakeOver("ours", f)
		if err != nil {
			t.Fatal(err)
		}
		if took.Identity != p.Identity() || took.StartedAt.Sub(p.StartedAt()).Abs() > time.Second {
			t.Errorf("got %+v, want %+v", took.Identity, p.Identity())
		}
		for _, step := range []func() error{took.Remember, func() error { return took.CopyState(soon(t)) }, took.Commit} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if theirs.hasState("theirs") {
			t.Error("the other runtime still has it")
		}
		if _, err := ours.TakeOver("ours", f); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("a second time: %v", err)
		}
		found, err := ours.Find(soon(t), "ours", &took.Identity)
		if err != nil {
			t.Fatal(err)
		}
		if found.Identity() != p.Identity() {
			t.Errorf("found %+v", found.Identity())
		}
		if got, err := ours.Exec(soon(t), "ours", sh("sleep 0.1; exit 4"), 0); err != nil || got.Status != exited(4) {
			t.Errorf("a command in it: %+v %v", got, err)
		}
		remove(t, ours, "ours")
		if !p.fd.ended() {
			t.Error("it runs")
		}
		if theirs.cgroupOf("theirs").exists() {
			t.Error("its cgroup is still there")
		}
	})
}

// Paths that differ from hierarchy to hierarchy are ended in all.
func TestForeignCgroup(t *testing.T) {
	r := newRuntime(t, "runc")
	dirs := []string{}
	for i, h := range r.cgroup.all {
		dir := filepath.Join(h.dir, r.cgroupParent(), []string{"a", "b"}[i%2])
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	if _, err := r.makeCallDir("x"); err != nil {
		t.Fatal(err)
	}
	text := foreignCgroupText("x", dirs)
	if err := os.WriteFile(filepath.Join(r.cfg.CallDir, "x", foreignCgroupFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cg := r.cgroupOf("x")
	n := 0
	for h, dir := range cg.dirs {
		n++
		if !strings.HasPrefix(dir, h.dir+"/") {
			t.Errorf("%s is not in %s", dir, h.dir)
		}
	}
	if n != len(dirs) {
		t.Errorf("%d of %d directories", n, len(dirs))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := cg.remove(ctx); err != nil {
		t.Error(err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
	for i := range text {
		damaged := []byte(text)
		damaged[i] ^= 1
		if got := parseForeignCgroup("x", string(damaged)); got != nil {
			t.Errorf("byte %d flipped: %q", i, got)
		}
	}
	if got := parseForeignCgroup("y", text); got != nil {
		t.Errorf("for another container: %q", got)
	}
}
