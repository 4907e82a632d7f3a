package bundle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the supervisor wants of a bundle.
var _ interface {
	Install(ctx context.Context) (dir string, err error)
	Released() error
	Path() string
} = (*Prepared)(nil)

func TestSameInputSameBytes(t *testing.T) {
	rootfs := busyboxRootfs(t)
	secret := filepath.Join(t.TempDir(), "token")
	write(t, secret, "1")
	o := Options{
		Name: "c1", Rootfs: rootfs, Command: []string{"/bin/sleep", "9"}, User: "web", Hostname: "<h>",
		Env:     map[string]string{"A": "1", "B": "2", "C": "3", "D": "4", "E": "5"},
		Secrets: []Secret{{Source: secret, Target: "/token"}},
		OCI: map[string]any{"annotations": map[string]any{"a": "1", "b": "2", "c": "3"},
			"linux": map[string]any{"sysctl": map[string]any{"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "0"}}},
	}
	b := newBuilder(t)
	first := prepare(t, b, o)
	dir := install(t, first)
	config := read(t, filepath.Join(dir, "config.json"))
	for range 5 {
		if err := b.Remove("c1"); err != nil {
			t.Fatal(err)
		}
		again := prepare(t, b, o)
		if got := read(t, filepath.Join(install(t, again), "config.json")); got != config || again.Hash != first.Hash {
			t.Fatalf("hash %s, then %s:\n%s\n%s", first.Hash, again.Hash, config, got)
		}
	}
	if !strings.Contains(config, `"<h>"`) {
		t.Error("config.json is escaped for HTML, which nobody reads well")
	}
	for path, want := range map[string]string{"": "directory 700", "config.json": "regular file 600", "bundle.json": "regular file 600"} {
		if got := strings.TrimSpace(command(t, "stat", "-c", "%F %a", filepath.Join(dir, path))); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// Another configuration keeps the root file system with what the container wrote; another archive replaces it.
func TestRootfsIsKept(t *testing.T) {
	b := newBuilder(t)
	archive := archiveFile(t, exportLike(t))
	o := archiveOptions(archive)
	first := prepare(t, b, o)
	rootfs := filepath.Join(install(t, first), "rootfs")
	write(t, rootfs+"/written", "by the container")

	if again := prepare(t, b, o); names(t, b.cfg.BundlesDir) != "c1" || again.Hash != first.Hash {
		t.Errorf("the same was built again: %s", names(t, b.cfg.BundlesDir))
	}

	// Another file of the same content is not another archive, and is not read again by the next daemon.
	hour := time.Now().Add(-time.Hour)
	if err := os.Chtimes(archive, hour, hour); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	id, err := idOf(info)
	if err != nil {
		t.Fatal(err)
	}
	b.digests[id] = sumOf([]byte(read(t, archive)))
	prepare(t, b, o)
	if got := names(t, b.cfg.BundlesDir) + ": " + names(t, b.dir("c1")); got != "c1: bundle.json config.json etc rootfs" {
		t.Errorf("after a touch: %s", got)
	}
	if known := b.unpacked("c1"); known == nil || known.File == nil || *known.File != id {
		t.Errorf("not noted: %+v", known)
	}

	o.User, o.Env = "web", map[string]string{"A": "1"}
	second := prepare(t, b, o)
	if strings.Contains(read(t, b.dir("c1")+"/config.json"), "A=1") {
		t.Error("prepare touched what is in place")
	}
	install(t, second)
	if got := names(t, b.cfg.BundlesDir); got != "c1" {
		t.Errorf("left: %s", got)
	}
	if config := read(t, b.dir("c1")+"/config.json"); !strings.Contains(config, "A=1") || !strings.Contains(config, `"uid": 33`) {
		t.Errorf("not installed:\n%s", config)
	}
	if read(t, rootfs+"/written") != "by the container" {
		t.Error("what the container wrote is gone")
	}
	install(t, second)
	if _, err := first.Install(t.Context()); err == nil || !strings.Contains(err.Error(), "another bundle was installed since") {
		t.Errorf("an older bundle was installed: %v", err)
	}

	if err := os.WriteFile(archive, tarOf(t, file("etc/passwd", passwdText), file("etc/group", groupText)), 0o600); err != nil {
		t.Fatal(err)
	}
	third := prepare(t, b, o)
	if !exists(rootfs + "/written") {
		t.Error("prepare touched the root file system in place")
	}
	install(t, third)
	if got := names(t, rootfs) + ", " + names(t, b.cfg.BundlesDir); got != "etc, c1" {
		t.Errorf("after another archive: %s", got)
	}

	// Back to a directory: nothing of the archive stays.
	o.RootfsArchive, o.Rootfs = "", busyboxRootfs(t)
	install(t, prepare(t, b, o))
	if got := names(t, b.dir("c1")); got != "bundle.json config.json etc" {
		t.Errorf("after a directory: %s", got)
	}
}

// The resolution of users is that of the root file system in place, in plan and prepare alike.
func TestUserOfArchive(t *testing.T) {
	b := newBuilder(t)
	o := archiveOptions(archiveFile(t, exportLike(t)))
	o.User = "nobody"
	plan, err := b.Plan(t.Context(), o)
	if err != nil {
		t.Fatalf("nobody can know yet: %v", err)
	}
	_, err = b.Prepare(t.Context(), plan)
	wantError(t, err, `user: "nobody": `)
	if left := names(t, b.cfg.BundlesDir); left != "" {
		t.Errorf("left: %s", left)
	}
	o.User = "web"
	install(t, prepare(t, b, o))
	o.User = "nobody"
	_, err = b.Plan(t.Context(), o)
	wantError(t, err, `user: "nobody": `)
}

func TestDiscard(t *testing.T) {
	b := newBuilder(t)
	p := prepare(t, b, archiveOptions(archiveFile(t, exportLike(t))))
	if got := names(t, b.cfg.BundlesDir); !strings.HasPrefix(got, ".c1.new-") {
		t.Errorf("built: %s", got)
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, b.cfg.BundlesDir); got != "" {
		t.Errorf("left: %s", got)
	}
	if _, err := p.Install(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("installed what was discarded: %v", err)
	}
	kept := prepare(t, b, Options{Name: "c1", Rootfs: t.TempDir(), Command: []string{"x"}})
	install(t, kept)
	if err := kept.Discard(); err != nil || names(t, b.cfg.BundlesDir) != "c1" {
		t.Errorf("discarding what is in place: %v, %s", err, names(t, b.cfg.BundlesDir))
	}
}

func TestNothingToBuild(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "token")
	write(t, secret, "1")
	for name, o := range map[string]Options{
		"rootfs": {Name: "c1", Rootfs: busyboxRootfs(t), Command: []string{"x"}, User: "web",
			Secrets: []Secret{{Source: secret, Target: "/token"}}, Resources: Resources{CPUs: 1}},
		"host network": {Name: "c1", Rootfs: t.TempDir(), Command: []string{"x"}, Network: Network{Mode: NetworkHost}},
		"ready":        {Name: "c1", Bundle: readyDir(t, goodConfig)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			install(t, prepare(t, b, o))
			again := prepare(t, b, o)
			if got := names(t, b.cfg.BundlesDir); got != "c1" {
				t.Errorf("built again: %s", got)
			}
			install(t, again)
			if err := again.Discard(); err != nil || !exists(b.dir("c1")) {
				t.Errorf("discarded what is in place: %v", err)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	b := newBuilder(t)
	secret := filepath.Join(t.TempDir(), "token")
	write(t, secret, "1")
	o := archiveOptions(archiveFile(t, exportLike(t)))
	o.Secrets = []Secret{{Source: secret, Target: "/token"}}
	rootfs := filepath.Join(install(t, prepare(t, b, o)), "rootfs")
	other := o
	other.Name = "c1.new-1" // looks like something of c1, and is not
	install(t, prepare(t, b, other))
	o.Command = []string{"pending"}
	prepare(t, b, o)

	// Something of the host's that is mounted inside must not be emptied.
	valuable := t.TempDir()
	write(t, valuable+"/data", "x")
	if err := os.Mkdir(rootfs+"/mnt", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(valuable, rootfs+"/mnt", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	mounted := true
	t.Cleanup(func() {
		if !mounted {
			return
		}
		if dirs, _ := filepath.Glob(filepath.Join(b.cfg.BundlesDir, ".*", "rootfs/mnt")); len(dirs) > 0 {
			_ = unix.Unmount(dirs[0], unix.MNT_DETACH)
		}
	})
	wantError(t, b.Remove("c1"), `cannot remove the bundle of "c1": something is mounted on `)
	if read(t, valuable+"/data") != "x" {
		t.Fatal("a mount was emptied")
	}
	dirs, err := filepath.Glob(filepath.Join(b.cfg.BundlesDir, ".c1.gone-*", "rootfs/mnt"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("%v, %v", dirs, err)
	}
	if err := unix.Unmount(dirs[0], 0); err != nil {
		t.Fatal(err)
	}
	mounted = false

	if err := b.Remove("c1"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, b.cfg.BundlesDir) + " " + names(t, b.secretsRoot()); got != "c1.new-1 c1.new-1" {
		t.Errorf("left: %s", got)
	}
	if err := b.Remove("c1"); err != nil {
		t.Errorf("removing nothing: %v", err)
	}
	if err := b.Remove(".."); err == nil {
		t.Error("removed ..")
	}
}
