package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLoadDir(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "redis.yaml"), small)
	write(t, filepath.Join(dir, "broken.yaml"), "comand: [a]\n")
	write(t, filepath.Join(dir, "app.yaml"), small)
	write(t, filepath.Join(dir, "old.yml"), small)
	write(t, filepath.Join(dir, "my app.yaml"), small)
	write(t, filepath.Join(dir, "two.yaml"), small)
	write(t, filepath.Join(dir, "two.yml"), small)
	for _, ignored := range []string{
		".hidden.yaml", ".#app.yaml", ".app.yaml.swp", "app.yaml~", "app.yaml.bak", "app.yaml.dpkg-old", "app.yaml.rpmsave", "#app.yaml#",
		"README", "README.md", "app.yaml.disabled", "4913",
	} {
		write(t, filepath.Join(dir, ignored), "not: [yaml")
	}
	must(t, os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700))
	// As a ConfigMap is mounted: a link to a link to a directory that changes.
	must(t, os.Mkdir(filepath.Join(dir, "..2026"), 0o700))
	write(t, filepath.Join(dir, "..2026", "mapped.yaml"), small)
	must(t, os.Symlink("..2026", filepath.Join(dir, "..data")))
	must(t, os.Symlink("..data/mapped.yaml", filepath.Join(dir, "mapped.yaml")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo.yaml"), 0o600))

	all, err := LoadDir(dir)
	must(t, err)
	got := map[string]string{}
	var names []string
	for _, one := range all {
		names = append(names, one.Name)
		switch {
		case one.Err == nil && one.Definition != nil && one.Definition.Name == one.Name && one.Definition.File == one.File:
			got[one.Name] = ""
		case one.Err != nil && one.Definition == nil:
			got[one.Name], _, _ = strings.Cut(strings.ReplaceAll(one.Err.Error(), dir+"/", ""), "\n")
		default:
			t.Errorf("%+v", one)
		}
	}
	want := map[string]string{
		"app": "", "redis": "", "mapped": "",
		"broken":   `broken.yaml:1:1: unknown key "comand", did you mean "command"?`,
		"old":      "old.yml: the name of a definition must end in .yaml",
		"my app":   `my app.yaml: the file's name gives no name for a container: "my app"`,
		"two":      "two.yaml: two.yml claims the same name",
		"dangling": "cannot read dangling.yaml: no such file or directory",
		"fifo":     "cannot read fifo.yaml: not a regular file",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if wantNames := []string{"app", "broken", "dangling", "fifo", "mapped", "my app", "old", "redis", "two"}; !reflect.DeepEqual(names, wantNames) {
		t.Errorf("names %q", names)
	}
}

func TestLoadDirOfNothing(t *testing.T) {
	dir := t.TempDir()
	if all, err := LoadDir(dir); err != nil || len(all) != 0 {
		t.Errorf("empty: %v, %v", all, err)
	}
	if _, err := LoadDir(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	write(t, filepath.Join(dir, "file"), "")
	if _, err := LoadDir(filepath.Join(dir, "file")); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func TestLoadFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.yaml")
	if _, err := LoadFile(file); !errors.Is(err, fs.ErrNotExist) || err.Error() != "cannot read "+file+": no such file or directory" {
		t.Errorf("missing: %v", err)
	}
	write(t, file, small)
	d, err := LoadFile(file)
	if err != nil || d.File != file || d.Name != "app" || string(d.Source) != small {
		t.Errorf("%+v, %v", d, err)
	}
	// A file of any size costs no more than the largest that is read.
	must(t, os.Truncate(file, 1<<40))
	var all Errors
	if _, err := LoadFile(file); !errors.As(err, &all) || all[0].Msg != "the file is larger than 1 MiB" {
		t.Errorf("huge: %v", err)
	}
}

// Only what has changed is parsed again, and what has changed is seen.
func TestLoaderParsesWhatChanged(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var l Loader
	load := func() map[string]Loaded {
		t.Helper()
		all, err := l.LoadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]Loaded{}
		for _, one := range all {
			found[one.Name] = one
		}
		return found
	}
	const good, other, bad = "rootfs: /srv/a\ncommand: [a]\n", "rootfs: /srv/b\ncommand: [b]\n", "rootfs: [\n"
	write(a, good)
	write(b, good)
	first := load()
	write(b, other)
	second := load()
	if second["a"].Definition == nil || second["a"].Definition != first["a"].Definition {
		t.Error("a has not changed, and was parsed again")
	}
	if d := second["b"].Definition; d == nil || d.Bundle.Rootfs != "/srv/b" || first["b"].Definition.Bundle.Rootfs != "/srv/a" {
		t.Errorf("b is %+v, and was %+v", d, first["b"].Definition)
	}
	write(a, bad)
	if one := load()["a"]; one.Err == nil || one.Definition != nil {
		t.Errorf("a is broken: %+v", one)
	}
	if d, err := l.LoadFile(b); err != nil || d != second["b"].Definition {
		t.Errorf("b by itself: %v, %v", d, err)
	}
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	write(a, good)
	if third := load(); len(third) != 1 || third["a"].Err != nil {
		t.Errorf("a is whole again, and b is gone: %+v", third)
	}
	if len(l.known) != 1 {
		t.Errorf("%d files are remembered", len(l.known))
	}
}
