package bundle

import (
	"path/filepath"
	"strings"
	"testing"
)

// What is in Hash asks for a new instance, what is not does not.
func TestHashAndChanges(t *testing.T) {
	rootfs, other := t.TempDir(), t.TempDir()
	secret := filepath.Join(t.TempDir(), "token")
	write(t, secret, "1")
	envFile := filepath.Join(t.TempDir(), "env")
	write(t, envFile, "A=1\nTZ=file\n")
	base := func() Options {
		return Options{Name: "c1", Rootfs: rootfs, Command: []string{"x", "s3cret"}, EnvFiles: []string{envFile},
			Env: map[string]string{"TZ": "s3cret", "B": "2"}, Resources: Resources{Memory: 64 << 20},
			Secrets: []Secret{{Source: secret, Target: "/token"}}}
	}
	b := newBuilder(t)
	old := prepare(t, b, base())
	install(t, old)
	limit := func(n int) map[string]any {
		return map[string]any{"linux": map[string]any{"resources": map[string]any{"pids": map[string]any{"limit": n}}}}
	}
	for name, test := range map[string]struct {
		change func(*Options)
		want   string
		same   bool // hash
	}{
		"nothing":             {func(*Options) {}, "", true},
		"said in other words": {func(o *Options) { o.Workdir, o.Network.Mode, o.OCI = "/", NetworkNone, map[string]any{} }, "", true},
		"capability there":    {func(o *Options) { o.Capabilities.Add = []string{"CAP_KILL"} }, "", true},
		"memory":              {func(o *Options) { o.Resources.Memory *= 2 }, "resources memory", true},
		"no memory limit":     {func(o *Options) { o.Resources.Memory = 0 }, "resources memory", true},
		"cpus and pids":       {func(o *Options) { o.Resources.CPUs, o.Resources.Pids = 1, 7 }, "resources cpus, resources pids", true},
		"limit by patch":      {func(o *Options) { o.OCI = limit(7) }, "resources pids", true},
		"comment in envFile":  {func(*Options) { write(t, envFile, "# new\nA=1\n") }, "", true},
		"hidden in envFile":   {func(*Options) { write(t, envFile, "A=1\nTZ=else\n") }, "", true},
		"content of a secret": {func(*Options) { write(t, secret, "2") }, "", true},
		"envFile":             {func(*Options) { write(t, envFile, "A=2\n") }, "envFile " + envFile, false},
		"command":             {func(o *Options) { o.Command = []string{"y"} }, "command", false},
		"env":                 {func(o *Options) { o.Env = map[string]string{"TZ": "n3w", "C": "2"} }, "env B, env C, env TZ", false},
		"user":                {func(o *Options) { o.User = "1" }, "user", false},
		"workdir":             {func(o *Options) { o.Workdir = "/srv" }, "workdir", false},
		"readOnly":            {func(o *Options) { o.ReadOnly = true }, "readOnly", false},
		"hostname":            {func(o *Options) { o.Hostname = "h" }, "hostname", false},
		"mounts":              {func(o *Options) { o.Mounts = []Mount{{Type: "tmpfs", Target: "/t"}} }, "mounts", false},
		"secrets":             {func(o *Options) { o.Secrets[0].Mode = 0o440 }, "secrets", false},
		"capabilities":        {func(o *Options) { o.Capabilities.Drop = []string{"CAP_KILL"} }, "capabilities", false},
		"network":             {func(o *Options) { o.Network.Mode = NetworkHost }, "network", false},
		"rlimits":             {func(o *Options) { o.Rlimits = []Rlimit{{"RLIMIT_CORE", 0, 0}} }, "rlimits", false},
		"oci":                 {func(o *Options) { o.OCI = map[string]any{"hostname": "h"} }, "oci", false},
		"rootfs":              {func(o *Options) { o.Rootfs = other }, "rootfs", false},
		"archive": {func(o *Options) { o.Rootfs, o.RootfsArchive = "", archiveFile(t, exportLike(t)) },
			"rootfs-archive instead of rootfs", false},
		"ready bundle": {func(o *Options) { *o = Options{Name: "c1", Bundle: readyDir(t, goodConfig)} }, "bundle instead of rootfs", false},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, envFile, "A=1\nTZ=file\n")
			o := base()
			test.change(&o)
			plan, err := b.Plan(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(plan.Changes(old), ", "); got != test.want || (plan.Hash == old.Hash) != test.same {
				t.Errorf("changes %q, want %q; same hash: %v", got, test.want, plan.Hash == old.Hash)
			}
		})
	}
	if plan, err := b.Plan(t.Context(), base()); err != nil || plan.Changes(nil) != nil {
		t.Errorf("a new container changed: %v", err)
	}
	if record := read(t, filepath.Join(b.dir("c1"), "bundle.json")); strings.Contains(record, "s3cret") {
		t.Error("values are in bundle.json")
	}
}

func TestHashOfReadyBundle(t *testing.T) {
	b := newBuilder(t)
	dir := readyDir(t, goodConfig)
	o := Options{Name: "web", Bundle: dir}
	old := prepare(t, b, o)
	install(t, old)
	for name, test := range map[string]struct {
		from, to, want string
		same           bool
	}{
		"white space":  {"\n  ", "\n\t\t", "", true},
		"memory":       {"67108864", "77108864", "resources memory", true},
		"shares":       {`"memory": {`, `"cpu": {"shares": 2}, "memory": {`, "config.json linux.resources.cpu, resources cpus", false},
		"reservation":  {`"limit"`, `"reservation": 1, "limit"`, "config.json linux.resources.memory", false},
		"args":         {"1000", "2000", "config.json process.args", false},
		"hostname":     {`"web"`, `"web2"`, "config.json hostname", false},
		"root":         {`"rootfs"`, `".."`, "config.json root.path", false},
		"added member": {`"hostname"`, `"domainname": "d", "hostname"`, "config.json domainname", false},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, filepath.Join(dir, "config.json"), strings.ReplaceAll(goodConfig, test.from, test.to))
			plan, err := b.Plan(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(plan.Changes(old), ", "); got != test.want || (plan.Hash == old.Hash) != test.same {
				t.Errorf("changes %q, want %q; same hash: %v", got, test.want, plan.Hash == old.Hash)
			}
		})
	}
}

func TestInputs(t *testing.T) {
	for want, o := range map[string]Options{
		"/b/config.json": {Bundle: "/b"},
		"/e /f /a.tar":   {EnvFiles: []string{"/e", "/f"}, RootfsArchive: "/a.tar"},
		"":               {Rootfs: "/r"},
	} {
		if got := strings.Join(o.Inputs(), " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
