package bundle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// buildUntilKilled is what the child process of TestKilledBuild does: it builds the bundle of an archive in the
// directory given by the environment.
func buildUntilKilled(archive string) int {
	b, err := NewBuilder(BuilderConfig{
		BundlesDir: os.Getenv("BUNDLE_TEST_DIR"), RunDir: os.Getenv("BUNDLE_TEST_DIR") + ".run",
		Host: Host{LastCap: 40, Hostname: os.Hostname}, CgroupsPath: func(string) string { return "/x" },
	})
	if err == nil {
		var plan *Plan
		if plan, err = b.Plan(context.Background(), archiveOptions(archive)); err == nil {
			_, err = b.Prepare(context.Background(), plan)
		}
	}
	fmt.Fprintln(os.Stderr, "the build ended before it was killed:", err)
	return 1
}

func TestKilledBuild(t *testing.T) {
	b := newBuilder(t)
	small := archiveOptions(archiveFile(t, exportLike(t)))
	before := prepare(t, b, small)
	install(t, before)

	big := archiveFile(t, zstandard(t, tarOf(t, file("a", strings.Repeat("x", 200<<20)), file("b", "x"))))
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watcher.Close() })
	if err := watcher.Add(b.cfg.BundlesDir); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "BUNDLE_TEST_BUILD="+big, "BUNDLE_TEST_DIR="+b.cfg.BundlesDir)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for rootfs := ""; !exists(filepath.Join(rootfs, "a")) || rootfs == ""; {
		select {
		case event := <-watcher.Events:
			if filepath.Dir(event.Name) == b.cfg.BundlesDir && event.Has(fsnotify.Create) {
				if err := watcher.Add(event.Name); err != nil {
					t.Fatal(err)
				}
			}
			// The directory may have been made before it was watched.
			if found, _ := filepath.Glob(filepath.Join(b.cfg.BundlesDir, ".c1.new-*", "rootfs")); len(found) > 0 {
				rootfs = found[0]
				if err := watcher.Add(rootfs); err != nil {
					t.Fatal(err)
				}
			}
		case err := <-ended:
			t.Fatalf("the build ended by itself: %v", err)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Fatal("a killed build ended well")
	}
	if got := names(t, b.cfg.BundlesDir); !strings.HasPrefix(got, ".c1.new-") {
		t.Fatalf("nothing was interrupted: %s", got)
	}
	install(t, before) // is not disturbed
	if err := b.Sweep(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, b.cfg.BundlesDir); got != "c1" {
		t.Errorf("left: %s", got)
	}
	install(t, before)
}

// Each row is what a crash in the middle of something leaves in the directory, and what Sweep makes of it.
func TestSweep(t *testing.T) {
	for name, test := range map[string]struct{ files, want string }{
		"nothing":                          {"a/config.json=1", "a/config.json=1"},
		"a build":                          {"a/config.json=1 .a.new-5/config.json=2", "a/config.json=1"},
		"a first build":                    {".a.new-5/rootfs/x=2", ""},
		"files being put, none yet":        {"a/config.json=1 a/bundle.json=1 a/rootfs/x=1 .a.put-5/config.json=2 .a.put-5/bundle.json=2", "a/bundle.json=2 a/config.json=2 a/rootfs/x=1"},
		"files being put, one is":          {"a/config.json=2 a/bundle.json=1 a/rootfs/x=1 .a.put-5/bundle.json=2", "a/bundle.json=2 a/config.json=2 a/rootfs/x=1"},
		"files put":                        {"a/config.json=2 .a.put-5/", "a/config.json=2"},
		"put to what is gone":              {".a.put-5/config.json=2", ""},
		"exchanged":                        {"a/config.json=2 .a.new-5/config.json=1 .a.new-5/rootfs/x=1", "a/config.json=2"},
		"between two renames":              {".a.old-4/config.json=1 .a.new-5/config.json=2", "a/config.json=1"},
		"after two renames":                {".a.old-4/config.json=1 a/config.json=2", "a/config.json=2"},
		"a removal":                        {".a.gone-4/config.json=1", ""},
		"names that are not ours to judge": {".hidden/x=1 a.new-5/x=1 .a.new-x/x=1", ".a.new-x/x=1 .hidden/x=1 a.new-5/x=1"},
		"a name with dots":                 {".a.new-1.old-4/x=1", "a.new-1/x=1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			for _, f := range strings.Fields(test.files) {
				path, content, _ := strings.Cut(f, "=")
				if strings.HasSuffix(path, "/") {
					if err := os.MkdirAll(filepath.Join(b.cfg.BundlesDir, path), 0o700); err != nil {
						t.Fatal(err)
					}
					continue
				}
				write(t, filepath.Join(b.cfg.BundlesDir, path), content)
			}
			for range 2 {
				if err := b.Sweep(); err != nil {
					t.Fatal(err)
				}
				if got := tree(t, b.cfg.BundlesDir); got != test.want {
					t.Fatalf("%s, want %s", got, test.want)
				}
			}
		})
	}
}

// tree lists all files below dir with their content, and empty directories.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			list = append(list, name+"="+read(t, path))
		case names(t, path) == "":
			list = append(list, name+"/")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, " ")
}
