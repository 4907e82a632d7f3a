package bundle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Some file systems cannot exchange two directories.
func TestReplaceWithoutExchange(t *testing.T) {
	b := newBuilder(t)
	write(t, filepath.Join(b.dir("c1"), "f"), "before")
	staged := filepath.Join(b.cfg.BundlesDir, ".c1.new-1")
	write(t, filepath.Join(staged, "f"), "after")
	before, err := b.replaceDir("c1", staged)
	if err != nil {
		t.Fatal(err)
	}
	if got := tree(t, b.cfg.BundlesDir); got != filepath.Base(before)+"/f=before c1/f=after" {
		t.Errorf("%s", got)
	}
	if _, err := b.replaceDir("c1", staged); err == nil {
		t.Error("replaced by nothing")
	}
	if read(t, filepath.Join(b.dir("c1"), "f")) != "after" {
		t.Error("after a failure what was in place is not there again")
	}
}

// A restart does not wait for a build of the same container, and nothing gets mixed up.
func TestInstallDuringPrepare(t *testing.T) {
	b := newBuilder(t)
	o := archiveOptions(archiveFile(t, exportLike(t)))
	first := prepare(t, b, o)
	install(t, first)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			o := o
			o.Command = []string{"x", strconv.Itoa(i)}
			for range 5 {
				plan, err := b.Plan(t.Context(), o)
				if err != nil {
					t.Error(err)
					return
				}
				p, err := b.Prepare(t.Context(), plan)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := first.Install(t.Context()); err != nil {
					t.Error(err)
				}
				if err := p.Discard(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if got := names(t, b.cfg.BundlesDir); got != "c1" {
		t.Errorf("left: %s", got)
	}
}

func TestInstalled(t *testing.T) {
	b := newBuilder(t)
	if _, err := b.Installed("c1"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("%v", err)
	}
	if _, err := b.Installed("../etc"); err == nil || errors.Is(err, ErrNotInstalled) {
		t.Errorf("%v", err)
	}
	secret := filepath.Join(t.TempDir(), "token")
	write(t, secret, "1")
	p := prepare(t, b, Options{Name: "c1", Rootfs: t.TempDir(), Command: []string{"x"}, Resources: Resources{Pids: 9},
		Secrets: []Secret{{Source: secret, Target: "/token"}}})
	if _, err := b.Installed("c1"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("only prepared: %v", err)
	}
	dir := install(t, p)

	// The next daemon knows all that it needs.
	next, err := NewBuilder(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	found, err := next.Installed("c1")
	if err != nil {
		t.Fatal(err)
	}
	if found.Hash != p.Hash || *found.Resources.Pids.Limit != 9 || found.Path() != dir {
		t.Errorf("%+v", found)
	}
	write(t, secret, "2")
	install(t, found)
	if got := read(t, filepath.Join(b.secretsDir("c1"), "0")); got != "2" {
		t.Errorf("secret %q", got)
	}

	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Installed("c1"); err == nil || errors.Is(err, ErrNotInstalled) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := found.Install(t.Context()); err == nil {
		t.Error("a damaged bundle was started")
	}
	install(t, prepare(t, b, Options{Name: "c1", Rootfs: t.TempDir(), Command: []string{"x"}}))
	if got := read(t, config); len(got) < 100 {
		t.Errorf("not mended: %s", got)
	}
}

func TestSecrets(t *testing.T) {
	source := t.TempDir()
	write(t, source+"/..1/token", "one")
	for to, name := range map[string]string{"..1": "..data", "..data/token": "token"} {
		if err := os.Symlink(to, filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	b := newBuilder(t)
	mapped := map[string]any{"linux": map[string]any{
		"uidMappings": []any{map[string]any{"containerID": 0, "hostID": 100000, "size": 65536}}}}
	o := Options{Name: "c1", Rootfs: busyboxRootfs(t), Command: []string{"x"}, User: "web", OCI: mapped, Secrets: []Secret{
		{Source: source + "/token", Target: "/a"}, {Source: source + "/token", Target: "/b", Mode: 0o640}}}
	p := prepare(t, b, o)
	if names(t, b.secretsRoot()) != "" {
		t.Error("secrets are copied before they are needed")
	}
	install(t, p)
	dir := b.secretsDir("c1")
	for path, want := range map[string]string{"": "700 0:0", "0": "400 100033:33", "1": "640 100033:33"} {
		if got := strings.TrimSpace(command(t, "stat", "-c", "%a %u:%g", filepath.Join(dir, path))); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if err := os.Remove(source + "/..1/token"); err != nil {
		t.Fatal(err)
	}
	_, err := p.Install(t.Context())
	wantError(t, err, `cannot install the bundle of "c1": secrets[0].source: `+source+"/token: no such file or directory")
	if !errors.Is(err, ErrMissing) || exists(dir) {
		t.Errorf("copies are left after %v", err)
	}
	if err := p.Released(); err != nil {
		t.Errorf("releasing nothing: %v", err)
	}
	if err := os.Mkdir(source+"/..1/token", 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = p.Install(t.Context())
	wantError(t, err, "secrets[0].source: "+source+"/token: not a regular file")
}

// What was there when the bundle was prepared may be gone at a later start.
func TestSourcesAreCheckedAtEveryStart(t *testing.T) {
	source, rootfs := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "rootfs")
	write(t, source, "")
	write(t, rootfs+"/x", "")
	b := newBuilder(t)
	p := prepare(t, b, Options{Name: "c1", Rootfs: rootfs, Command: []string{"x"}, Mounts: []Mount{{Source: source, Target: "/data"}}})
	install(t, p)
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	_, err := p.Install(t.Context())
	wantError(t, err, "mounts[0].source: "+source+": no such file or directory")
	write(t, source, "")
	if err := os.RemoveAll(rootfs); err != nil {
		t.Fatal(err)
	}
	_, err = p.Install(t.Context())
	wantError(t, err, "rootfs: "+rootfs+": no such file or directory")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Install(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
