package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// definitions writes definitions that refer to ROOTFS, a directory, and returns their directory.
func definitions(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		text = strings.ReplaceAll(text, "ROOTFS", rootfs)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	goodDefinition = "rootfs: ROOTFS\ncommand: [/bin/true]\n"
	typoDefinition = "rootfs: ROOTFS\ncomand: [/bin/true]\n"
)

func entries(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.Name()
	}
	return names
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		args  []string // file names below the directory
		code  int
		want  []string // in the output, DIR for the directory
	}{
		"all good": {map[string]string{"npd.yaml": goodDefinition, "web.yaml": goodDefinition, "README": "x"}, nil, 0,
			[]string{"DIR/npd.yaml: ok\nDIR/web.yaml: ok\n"}},
		"none":           {nil, nil, 0, nil},
		"named":          {map[string]string{"npd.yaml": goodDefinition, "web.yaml": typoDefinition}, []string{"npd.yaml"}, 0, []string{"DIR/npd.yaml: ok\n"}},
		"a typo":         {map[string]string{"npd.yaml": goodDefinition, "web.yaml": typoDefinition}, nil, 1, []string{"npd.yaml: ok\n", "DIR/web.yaml:2:1: unknown key \"comand\"", "   2 | comand: [/bin/true]\n     | ^", `"command"`}},
		"extension":      {map[string]string{"npd.yml": goodDefinition}, nil, 1, []string{"npd.yml", "npd.yaml"}},
		"a missing file": {nil, []string{"none.yaml"}, 1, []string{"cannot read DIR/none.yaml: no such file or directory"}},
		// what only a look at the machine tells
		"a missing rootfs":                   {map[string]string{"npd.yaml": "rootfs: /nonexistent/rootfs\ncommand: [x]\n"}, nil, 1, []string{"DIR/npd.yaml: ", "/nonexistent/rootfs"}},
		"a missing bundle":                   {map[string]string{"npd.yaml": "bundle: /nonexistent/bundle\n"}, nil, 1, []string{"DIR/npd.yaml: ", "/nonexistent/bundle"}},
		"a network of another":               {map[string]string{"npd.yaml": goodDefinition + "network: container:web\n", "web.yaml": goodDefinition}, []string{"npd.yaml"}, 0, []string{"ok"}},
		"an unknown container":               {map[string]string{"npd.yaml": goodDefinition + "requires: [wbe]\n", "web.yaml": goodDefinition}, nil, 1, []string{`DIR/npd.yaml:3:12: "requires[0]": there is no container "wbe", did you mean "web"?`, "web.yaml: ok"}},
		"a cycle":                            {map[string]string{"a.yaml": goodDefinition + "after: [b]\n", "b.yaml": goodDefinition + "after: [a]\n"}, nil, 1, []string{"DIR/a.yaml: ok", "each would wait for the next: b -> a -> b"}},
		"a cycle that the named file closes": {map[string]string{"a.yaml": goodDefinition + "after: [b]\n", "b.yaml": goodDefinition + "after: [a]\n"}, []string{"a.yaml"}, 1, []string{"each would wait for the next: a -> b -> a"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := definitions(t, tt.files)
			scratch := t.TempDir()
			t.Setenv("TMPDIR", scratch)
			args := []string{"check", "--containers", dir}
			for _, file := range tt.args {
				args = append(args, filepath.Join(dir, file))
			}
			got := runWith(t, nil, args...)
			if got.code != tt.code || got.stderr != "" {
				t.Errorf("exit code %d, standard error %q; want %d and nothing", got.code, got.stderr, tt.code)
			}
			for _, want := range tt.want {
				if want = strings.ReplaceAll(want, "DIR", dir); !strings.Contains(got.stdout, want) {
					t.Errorf("printed\n%s\nwant in it\n%s", got.stdout, want)
				}
			}
			if left := entries(t, scratch); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			js := runWith(t, nil, append(args, "-o", "json")...)
			var results []checked
			if err := json.Unmarshal([]byte(js.stdout), &results); err != nil || js.code != tt.code {
				t.Fatalf("as JSON: %v, code %d:\n%s", err, js.code, js.stdout)
			}
			failed := 0
			for _, r := range results {
				if r.Error != "" {
					failed++
				}
			}
			if (failed > 0) != (tt.code != 0) {
				t.Errorf("as JSON: %d errors, exit code %d", failed, js.code)
			}
		})
	}
}

func TestCheckWithoutDirectory(t *testing.T) {
	if got := runWith(t, nil, "check", "--containers", "/nonexistent"); got.code != exitFailed || !strings.Contains(got.stderr, "/nonexistent") {
		t.Errorf("got %+v", got)
	}
}

func TestBuildFromFile(t *testing.T) {
	dir := definitions(t, map[string]string{"npd.yaml": goodDefinition})
	output := filepath.Join(t.TempDir(), "out")
	bundleDir := filepath.Join(output, "npd")
	got := runWith(t, nil, "build", filepath.Join(dir, "npd.yaml"), "--output", output)
	if got != (result{0, bundleDir + "\n", ""}) {
		t.Fatalf("got %+v, want %s", got, bundleDir)
	}
	text, err := os.ReadFile(filepath.Join(bundleDir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var spec struct{ Process struct{ Args []string } }
	if err := json.Unmarshal(text, &spec); err != nil || strings.Join(spec.Process.Args, " ") != "/bin/true" {
		t.Errorf("config.json has args %q, %v", spec.Process.Args, err)
	}
	if left := entries(t, output); strings.Join(left, " ") != "npd" {
		t.Errorf("the output directory has %q, want npd alone", left)
	}
}

// A directory that has the container's name may be anything, and is left alone.
func TestBuildReplacesNothing(t *testing.T) {
	dir := definitions(t, map[string]string{"npd.yaml": goodDefinition})
	output := t.TempDir()
	precious := filepath.Join(output, "npd", "precious")
	if err := os.MkdirAll(precious, 0o700); err != nil {
		t.Fatal(err)
	}
	got := runWith(t, nil, "build", filepath.Join(dir, "npd.yaml"), "--output", output)
	if got.code != exitFailed || !strings.Contains(got.stderr, "is there already") {
		t.Errorf("got %+v", got)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestBuildFailsWithoutTraces(t *testing.T) {
	dir := definitions(t, map[string]string{"typo.yaml": typoDefinition, "gone.yaml": "rootfs: /nonexistent/rootfs\ncommand: [x]\n"})
	for file, want := range map[string]string{"typo.yaml": "typo.yaml:2:1: ", "gone.yaml": "/nonexistent/rootfs", "none.yaml": "no such file"} {
		output := t.TempDir()
		got := runWith(t, nil, "build", filepath.Join(dir, file), "--output", output)
		if got.code != exitFailed || !strings.Contains(got.stderr, want) || got.stdout != "" {
			t.Errorf("%s: got %+v, want %q", file, got, want)
		}
		if left := entries(t, output); len(left) > 0 {
			t.Errorf("%s: left behind %q", file, left)
		}
	}
}

func TestBuildUsage(t *testing.T) {
	for _, args := range []string{"build", "build npd web", "build npd.yaml", "build ./npd", "build npd --output /tmp/x"} {
		if got := runWith(t, nil, strings.Fields(args)...); got.code != exitUsage {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
