package bundle

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// goodConfig is small enough for places in it to be counted.
const goodConfig = `{
  "ociVersion": "1.0.2",
  "process": {
    "user": {"uid": 0, "gid": 0},
    "args": ["/bin/sleep", "1000"],
    "env": ["PATH=/bin"],
    "cwd": "/",
    "capabilities": {"bounding": ["CAP_KILL"]}
  },
  "root": {"path": "rootfs"},
  "hostname": "web",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"}
  ],
  "linux": {
    "resources": {"memory": {"limit": 67108864}},
    "namespaces": [{"type": "mount"}, {"type": "uts"}]
  }
}
`

func readyDir(t testing.TB, config string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config.json"), config)
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBrokenConfigJSON(t *testing.T) {
	replace := func(old, new string) string {
		if !strings.Contains(goodConfig, old) {
			t.Fatalf("%q is not in the good config.json", old)
		}
		return strings.Replace(goodConfig, old, new, 1)
	}
	tests := map[string]struct {
		config string
		want   string // after the name of the file
	}{
		"empty":                   {"", ":1:1: empty file"},
		"cut off":                 {goodConfig[:200], ":8:47: the file is cut off: unexpected end of JSON input"},
		"not JSON":                {replace(`"cwd": "/",`, `"cwd": /,`), ":7:12: invalid JSON: invalid character '/'"},
		"comma too many":          {replace(`"1000"]`, `"1000",]`), ":5:35: invalid JSON: invalid character ']'"},
		"garbage behind":          {goodConfig + "x\n", ":20:1: invalid JSON: invalid character 'x' after top-level value"},
		"a second value":          {goodConfig + "{}\n", ":20:1: invalid JSON: "},
		"not UTF-8":               {replace("sleep", "sl\xffep"), ":5:22: not UTF-8"},
		"an array":                {"[]", ":1:1: must be an object, not an array"},
		"null":                    {"null", ":1:1: must be an object, not null"},
		"string for an array":     {replace(`["/bin/sleep", "1000"]`, `"/bin/sleep 1000"`), ":5:13: process.args: must be an array, not a string"},
		"number for a string":     {replace(`"1000"`, `1000`), ":5:28: process.args[1]: must be a string, not a number"},
		"null for a string":       {replace(`"1000"`, `null`), ":5:28: process.args[1]: must be a string, not null"},
		"string for a number":     {replace(`67108864`, `"64M"`), ":16:39: linux.resources.memory.limit: must be a number, not a string"},
		"negative":                {replace(`"uid": 0`, `"uid": -1`), ":4:21: process.user.uid: number -1 must not be negative"},
		"not whole":               {replace(`67108864`, `6.5`), ":16:39: linux.resources.memory.limit: number 6.5 must be whole"},
		"out of range":            {replace(`"uid": 0`, `"uid": 4294967296`), ":4:21: process.user.uid: number 4294967296 is out of range"},
		"unknown field":           {replace(`"cwd"`, `"pwd"`), `:7:5: process: unknown field "pwd"`},
		"unknown field at top":    {replace(`"hostname"`, `"host"`), `:11:3: unknown field "host"`},
		"wrong case":              {replace(`"ociVersion"`, `"ociversion"`), `:2:3: unknown field "ociversion", did you mean "ociVersion"?`},
		"said twice":              {replace(`"cwd": "/",`, `"cwd": "/", "cwd": "/tmp",`), ":7:17: process.cwd: is there twice"},
		"no version":              {replace(`"ociVersion": "1.0.2",`, ``), `:1:1: ociVersion: missing: set it to "1.0.2"`},
		"version 2":               {replace(`"1.0.2"`, `"2.0.0"`), `:2:3: ociVersion: version "2.0.0" is not known`},
		"no process":              {`{"ociVersion": "1.0.2", "root": {"path": "rootfs"}}`, ":1:1: process: missing"},
		"process is null":         {`{"ociVersion": "1.0.2", "process": null}`, ":1:25: process: missing"},
		"no args":                 {replace(`"args": ["/bin/sleep", "1000"],`, ""), ":3:3: process.args: missing or empty"},
		"empty args":              {replace(`["/bin/sleep", "1000"]`, "[]"), ":5:5: process.args: missing or empty"},
		"empty command":           {replace(`"/bin/sleep"`, `""`), ":5:5: process.args: missing or empty"},
		"NUL in args":             {replace(`"1000"`, `"\u0000"`), ":5:28: process.args[1]: has a NUL character"},
		"relative cwd":            {replace(`"cwd": "/"`, `"cwd": "srv"`), `:7:5: process.cwd: "srv" must be an absolute path`},
		"no cwd":                  {replace(`"cwd": "/",`, ``), `:3:3: process.cwd: "" must be an absolute path`},
		"bad env":                 {replace(`"PATH=/bin"`, `"PATH"`), ":6:13: process.env[0]: must be NAME=VALUE"},
		"terminal":                {replace(`"user"`, `"terminal": true, "user"`), ":4:5: process.terminal: is true, and a service has no terminal: set process.terminal to false"},
		"unknown capability":      {replace("CAP_KILL", "CAP_FLY"), `:8:35: process.capabilities.bounding[0]: unknown capability "CAP_FLY"`},
		"capability without CAP_": {replace("CAP_KILL", "KILL"), `:8:35: process.capabilities.bounding[0]: unknown capability "KILL", did you mean "CAP_KILL"?`},
		"unknown rlimit":          {replace(`"cwd"`, `"rlimits": [{"type": "NOFILE", "soft": 1, "hard": 1}], "cwd"`), `:7:18: process.rlimits[0].type: unknown rlimit "NOFILE"`},
		"rlimit soft over hard":   {replace(`"cwd"`, `"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}], "cwd"`), ":7:43: process.rlimits[0].soft: 2 is above the hard limit 1"},
		"no root":                 {replace(`"root": {"path": "rootfs"},`, ``), ":1:1: root: missing"},
		"empty root path":         {replace(`"path": "rootfs"`, `"path": ""`), ":10:12: root.path: missing or empty"},
		"rootfs is missing":       {replace(`"rootfs"`, `"nowhere"`), ":10:12: root.path: "},
		"rootfs is a file":        {replace(`"rootfs"`, `"config.json"`), ":10:12: root.path: "},
		"mount without target":    {replace(`"destination": "/proc", `, ``), `:13:5: mounts[0].destination: "" must be an absolute path`},
		"mount target relative":   {replace(`"/proc"`, `"proc"`), `:13:6: mounts[0].destination: "proc" must be an absolute path`},
		"mount on root":           {replace(`"/proc"`, `"/."`), ":13:6: mounts[0].destination: must not be /"},
		"mount without type":      {replace(`"type": "proc", `, ``), ":13:5: mounts[0].type: missing"},
		"bind without source":     {replace(`"type": "proc", "source": "proc"`, `"options": ["rbind"]`), ":13:5: mounts[0].source: missing"},
		"bind source is missing":  {replace(`"type": "proc", "source": "proc"`, `"type": "bind", "source": "/nowhere"`), ":13:46: mounts[0].source: /nowhere: no such file or directory"},
		"unknown namespace":       {replace(`"mount"`, `"mnt"`), `:17:21: linux.namespaces[0].type: unknown namespace "mnt"`},
		"namespace twice":         {replace(`"uts"`, `"mount"`), `:17:40: linux.namespaces[1].type: namespace "mount" is there twice`},
		"namespace path relative": {replace(`{"type": "mount"}`, `{"type": "network", "path": "ns"}`), `:17:40: linux.namespaces[0].path: "ns" must be an absolute path`},
		"hostname without uts":    {replace(`, {"type": "uts"}`, ``), ":11:3: hostname: needs a namespace of type uts"},
		"hook relative":           {replace(`"hostname"`, `"hooks": {"poststop": [{"path": "clean"}]}, "hostname"`), `:11:27: hooks.poststop[0].path: "clean" must be an absolute path`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			// What is broken now was good before: the good one stays in place.
			dir := readyDir(t, goodConfig)
			o := Options{Name: "web", Bundle: dir}
			install(t, prepare(t, b, o))
			config := filepath.Join(dir, "config.json")
			write(t, config, test.config)
			_, err := b.Plan(t.Context(), o)
			wantError(t, err, config+test.want)
			last, err := b.Installed("web")
			if err != nil {
				t.Fatal(err)
			}
			if staged := read(t, filepath.Join(install(t, last), "config.json")); !strings.Contains(staged, `"/bin/sleep"`) {
				t.Errorf("the last good config.json is gone:\n%s", staged)
			}
		})
	}
}

func TestReadyBundleIsNotThere(t *testing.T) {
	b := newBuilder(t)
	_, err := b.Plan(t.Context(), Options{Name: "web", Bundle: "/nowhere"})
	wantError(t, err, "bundle: /nowhere: no such file or directory")
	empty := t.TempDir()
	_, err = b.Plan(t.Context(), Options{Name: "web", Bundle: empty})
	wantError(t, err, filepath.Join(empty, "config.json")+": no such file or directory")
	if !errors.Is(err, ErrMissing) {
		t.Errorf("%v is not ErrMissing", err)
	}
	dir := readyDir(t, strings.Replace(goodConfig, "rootfs", "nowhere", 1))
	if _, err = b.Plan(t.Context(), Options{Name: "web", Bundle: dir}); !errors.Is(err, ErrMissing) {
		t.Errorf("%v is not ErrMissing", err)
	}
	_, err = b.Plan(t.Context(), Options{Name: "web", Bundle: readyDir(t, goodConfig), Command: []string{"x"}})
	wantError(t, err, "bundle: ", "no other key")
}

// What runtime-spec has had and has now is taken and handed on as it is.
func TestOtherVersionsOfTheSpec(t *testing.T) {
	for name, addition := range map[string]string{
		"1.1":  `"intelRdt": {"enableCMT": true}`,
		"1.2":  `"resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}]}}`,
		"1.3":  `"netDevices": {"eth0": {"name": "net0"}}, "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}`,
		"null": `"seccomp": null`,
	} {
		t.Run(name, func(t *testing.T) {
			config := strings.Replace(goodConfig, `"resources": {"memory": {"limit": 67108864}}`, addition, 1)
			b := newBuilder(t)
			dir := install(t, prepare(t, b, Options{Name: "web", Bundle: readyDir(t, config)}))
			var staged struct{ Linux map[string]json.RawMessage }
			if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "config.json"))), &staged); err != nil {
				t.Fatal(err)
			}
			for key := range staged.Linux {
				if strings.Contains(addition, `"`+key+`"`) {
					return
				}
			}
			t.Errorf("%s is not in the staged config.json: %v", addition, staged.Linux)
		})
	}
}

func TestReadyBundleIsStaged(t *testing.T) {
	b := newBuilder(t)
	config := strings.Replace(goodConfig, `"mounts": [`,
		`"mounts": [{"destination": "/d", "source": "data", "options": ["bind"]},`, 1)
	dir := readyDir(t, config)
	write(t, filepath.Join(dir, "data"), "x")
	p := prepare(t, b, Options{Name: "web", Bundle: dir})
	var s specs.Spec
	if err := json.Unmarshal([]byte(read(t, filepath.Join(install(t, p), "config.json"))), &s); err != nil {
		t.Fatal(err)
	}
	if s.Root.Path != filepath.Join(dir, "rootfs") || s.Mounts[0].Source != filepath.Join(dir, "data") ||
		s.Mounts[1].Source != "proc" || s.Linux.CgroupsPath != "/runcsup-test/web" {
		t.Errorf("root %s, mounts %+v, cgroup %s", s.Root.Path, s.Mounts, s.Linux.CgroupsPath)
	}
	if *p.Resources.Memory.Limit != 64<<20 || p.Path() != dir {
		t.Errorf("resources %+v, path %s", p.Resources, p.Path())
	}

	if adj := s.Process.OOMScoreAdj; adj == nil || *adj != 0 {
		t.Error("the daemon's own oom_score_adj would be inherited")
	}

	own := strings.Replace(config, `"linux": {`, `"linux": {"cgroupsPath": "machine.slice:x:web",`, 1)
	write(t, filepath.Join(dir, "config.json"), own)
	if staged := read(t, filepath.Join(install(t, prepare(t, b, Options{Name: "web", Bundle: dir})), "config.json")); !strings.Contains(staged, `"cgroupsPath": "machine.slice:x:web"`) {
		t.Errorf("the bundle's own cgroupsPath is gone:\n%s", staged)
	}
	relative := strings.Replace(config, `"linux": {`, `"linux": {"cgroupsPath": "a/web",`, 1)
	write(t, filepath.Join(dir, "config.json"), relative)
	if staged := read(t, filepath.Join(install(t, prepare(t, b, Options{Name: "web", Bundle: dir})), "config.json")); !strings.Contains(staged, `"cgroupsPath": "/a/web"`) {
		t.Errorf("a relative cgroupsPath is kept:\n%s", staged)
	}
	own = strings.Replace(config, `"process": {`, `"process": {"oomScoreAdj": 500,`, 1)
	write(t, filepath.Join(dir, "config.json"), own)
	if staged := read(t, filepath.Join(install(t, prepare(t, b, Options{Name: "web", Bundle: dir})), "config.json")); !strings.Contains(staged, `"oomScoreAdj": 500`) {
		t.Errorf("the bundle's own oomScoreAdj is gone:\n%s", staged)
	}
}

// A ConfigMap is a directory of links through ..data, which is a link that is replaced.
func TestReadyBundleBehindLinks(t *testing.T) {
	b := newBuilder(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "..1/config.json"), goodConfig)
	write(t, filepath.Join(dir, "..2/config.json"), strings.Replace(goodConfig, "1000", "2000", 1))
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, "tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	link("..data/config.json", "config.json")
	o := Options{Name: "web", Bundle: dir}
	p := prepare(t, b, o)
	install(t, p)
	link("..2", "..data")
	plan, err := b.Plan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(plan.Changes(p), ", "); got != "config.json process.args" || plan.Hash == p.Hash {
		t.Errorf("changes: %s", got)
	}

	// The whole bundle is a link.
	current := filepath.Join(t.TempDir(), "current")
	if err := os.Symlink(dir, current); err != nil {
		t.Fatal(err)
	}
	staged := read(t, filepath.Join(install(t, prepare(t, b, Options{Name: "web2", Bundle: current})), "config.json"))
	if !strings.Contains(staged, `"path": "`+filepath.Join(dir, "rootfs")+`"`) {
		t.Errorf("root.path goes through a link, which runc refuses:\n%s", staged)
	}
}

func FuzzParseConfig(f *testing.F) {
	seeds, err := filepath.Glob("testdata/config/*.json")
	if err != nil || len(seeds) < 5 {
		f.Fatalf("seeds: %v, %v", seeds, err)
	}
	for _, seed := range seeds {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := parseConfig("config.json", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "config.json:") {
				t.Errorf("the error names no place: %v", err)
			}
			return
		}
		if s.Process == nil || s.Root == nil || len(s.Process.Args) == 0 {
			t.Fatalf("accepted: %s", data)
		}
		// What is accepted stays acceptable after being written the way it is staged.
		var generic any
		if err := decodeNumbers(data, &generic); err != nil {
			t.Fatal(err)
		}
		staged, err := encodeConfig(generic)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := parseConfig("staged", staged); err != nil {
			t.Errorf("%v in %s", err, staged)
		}
	})
}
