package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// generated returns the config.json of a definition with busybox as its root file system.
func generated(t testing.TB, b *Builder, o Options) *specs.Spec {
	t.Helper()
	o.Name = "c1"
	if o.Rootfs == "" {
		o.Rootfs = t.TempDir()
	}
	if o.Command == nil {
		o.Command = []string{"/bin/true"}
	}
	dir := install(t, prepare(t, b, o))
	var s specs.Spec
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "config.json"))), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func TestDefaultsAreSafe(t *testing.T) {
	s := generated(t, newBuilder(t), Options{})
	if s.Version != "1.0.2" || s.Process.Terminal || !s.Process.NoNewPrivileges {
		t.Errorf("version %s, terminal %v, noNewPrivileges %v", s.Version, s.Process.Terminal, s.Process.NoNewPrivileges)
	}
	if adj := s.Process.OOMScoreAdj; adj == nil || *adj != 0 {
		t.Error("the daemon's own oom_score_adj would be inherited")
	}
	// docker's default set.
	want := []string{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
		"CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
		"CAP_SYS_CHROOT"}
	c := s.Process.Capabilities
	if !slices.Equal(c.Bounding, want) || !slices.Equal(c.Effective, want) || !slices.Equal(c.Permitted, want) ||
		len(c.Inheritable) != 0 || len(c.Ambient) != 0 {
		t.Errorf("capabilities %+v", c)
	}
	for _, path := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"} {
		if !slices.Contains(s.Linux.MaskedPaths, path) {
			t.Errorf("%s is not masked", path)
		}
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger"} {
		if !slices.Contains(s.Linux.ReadonlyPaths, path) {
			t.Errorf("%s is not read-only", path)
		}
	}
	if first := s.Linux.Resources.Devices[0]; first.Allow || first.Access != "rwm" || first.Type != "" {
		t.Errorf("devices are allowed by default: %+v", first)
	}
	var kinds []string
	for _, ns := range s.Linux.Namespaces {
		kinds = append(kinds, string(ns.Type)+ns.Path)
	}
	if got := strings.Join(kinds, " "); got != "pid mount ipc uts network" {
		t.Errorf("namespaces: %s", got)
	}
	if s.Linux.CgroupsPath != "/runcsup-test/c1" || s.Hostname != "c1" || s.Process.Cwd != "/" {
		t.Errorf("cgroup %s, hostname %s, cwd %s", s.Linux.CgroupsPath, s.Hostname, s.Process.Cwd)
	}
}

func TestCgroupNamespaceOnV2(t *testing.T) {
	b := newBuilder(t, func(c *BuilderConfig) { c.Host.CgroupV2 = true })
	namespaces := generated(t, b, Options{}).Linux.Namespaces
	if !slices.Contains(namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace}) {
		t.Errorf("namespaces %+v", namespaces)
	}
}

// allowedBySeccomp tells whether a system call without conditions on its arguments is allowed.
func allowedBySeccomp(s *specs.Spec, call string) bool {
	for _, rule := range s.Linux.Seccomp.Syscalls {
		if rule.Action == specs.ActAllow && len(rule.Args) == 0 && slices.Contains(rule.Names, call) {
			return true
		}
	}
	return false
}

func TestSeccompFollowsCapabilities(t *testing.T) {
	admin := Capabilities{Add: []string{"CAP_SYS_ADMIN"}}
	patch := map[string]any{"process": map[string]any{"capabilities": map[string]any{"bounding": []any{"CAP_SYS_ADMIN"}}}}
	drop := map[string]any{"process": map[string]any{"capabilities": nil}}
	for name, test := range map[string]struct {
		o    Options
		want bool // mount(2)
	}{
		"default":         {Options{}, false},
		"added":           {Options{Capabilities: admin}, true},
		"added by patch":  {Options{OCI: patch}, true},
		"taken by patch":  {Options{Capabilities: admin, OCI: drop}, false},
		"all but that":    {Options{Capabilities: Capabilities{Add: []string{"ALL"}, Drop: []string{"CAP_SYS_ADMIN"}}}, false},
		"all":             {Options{Capabilities: Capabilities{Add: []string{"ALL"}}}, true},
		"all in, all out": {Options{Capabilities: Capabilities{Add: []string{"CAP_KILL"}, Drop: []string{"ALL"}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := generated(t, newBuilder(t), test.o)
			if s.Linux.Seccomp.DefaultAction != specs.ActErrno || !allowedBySeccomp(s, "read") {
				t.Errorf("the profile is not docker's: %v", s.Linux.Seccomp.DefaultAction)
			}
			if got := allowedBySeccomp(s, "mount"); got != test.want {
				t.Errorf("mount is allowed: %v", got)
			}
		})
	}
}

func TestCapabilitySets(t *testing.T) {
	host := Host{LastCap: 40}
	for name, test := range map[string]struct {
		c    Capabilities
		want string // names without CAP_, or their number when there are many
	}{
		"none": {Capabilities{Drop: []string{"ALL"}}, ""},
		"only": {Capabilities{Drop: []string{"ALL"}, Add: []string{"CAP_SYSLOG", "CAP_BPF"}}, "BPF SYSLOG"},
		"both": {Capabilities{Drop: []string{"ALL", "CAP_BPF"}, Add: []string{"CAP_BPF"}}, "BPF"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := test.c.set(host)
			if err != nil || strings.ReplaceAll(strings.Join(got, " "), "CAP_", "") != test.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	for last, want := range map[int]int{40: 41, 36: 37, 63: 41} {
		if got, err := (Capabilities{Add: []string{"ALL"}}).set(Host{LastCap: last}); err != nil || len(got) != want {
			t.Errorf("ALL of a kernel up to %d: %d, %v", last, len(got), err)
		}
	}
}

func mountAt(s *specs.Spec, target string) *specs.Mount {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == target {
			return &s.Mounts[i]
		}
	}
	return nil
}

func TestMounts(t *testing.T) {
	source := t.TempDir()
	o := Options{Mounts: []Mount{
		{Source: source, Target: "/data/deep"},
		{Source: source, Target: "/data", ReadOnly: true, Options: []string{"rslave", "noexec"}},
		{Type: "tmpfs", Target: "/dev/shm", Size: 1 << 20, Mode: "0700"},
		{Type: "tmpfs", Target: "/tmp"},
		{Source: source, Target: "/etc", Options: []string{"bind"}},
	}}
	s := generated(t, newBuilder(t), o)
	for target, want := range map[string]specs.Mount{
		"/data/deep": {Type: "bind", Source: source, Options: []string{"rbind", "rprivate", "rw"}},
		"/data":      {Type: "bind", Source: source, Options: []string{"rbind", "ro", "rslave", "noexec"}},
		"/dev/shm":   {Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=700", "size=1048576", "rw"}},
		"/tmp":       {Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", "rw"}},
		"/etc":       {Type: "bind", Source: source, Options: []string{"rprivate", "rw", "bind"}},
	} {
		want.Destination = target
		if got := mountAt(s, target); got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v, want %+v", target, got, want)
		}
	}
	var targets []string
	for _, m := range s.Mounts {
		targets = append(targets, m.Destination)
	}
	// Defaults first, nothing twice, no file on top of the user's /etc, and /data before what is in it.
	want := "/proc /dev /dev/pts /dev/mqueue /sys /sys/fs/cgroup /data /tmp /etc /data/deep /dev/shm"
	if got := strings.Join(targets, " "); got != want {
		t.Errorf("mounts on %s, want %s", got, want)
	}
}

func TestEtcFiles(t *testing.T) {
	own := filepath.Join(t.TempDir(), "hosts")
	write(t, own, "")
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"none":             {Options{}, "/etc/hosts /etc/hostname"},
		"host":             {Options{Network: Network{Mode: NetworkHost}}, "/etc/resolv.conf /etc/hosts /etc/hostname"},
		"the user's hosts": {Options{Mounts: []Mount{{Source: own, Target: "/etc/hosts"}}}, "/etc/hostname /etc/hosts"},
		"a secret there":   {Options{Secrets: []Secret{{Source: own, Target: "/etc/hosts"}}}, "/etc/hostname /etc/hosts"},
	} {
		t.Run(name, func(t *testing.T) {
			s := generated(t, newBuilder(t), test.o)
			var got []string
			for _, m := range s.Mounts {
				if strings.HasPrefix(m.Destination, "/etc/") {
					got = append(got, m.Destination)
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
	// A read-only container cannot write to them either.
	m := mountAt(generated(t, newBuilder(t), Options{ReadOnly: true}), "/etc/hosts")
	if !slices.Contains(m.Options, "ro") {
		t.Errorf("%+v", m)
	}
}

// At every start the files are as on the host at that time, whatever the container did to them.
func TestEtcFilesAreRenewed(t *testing.T) {
	b := newBuilder(t)
	p := prepare(t, b, Options{Name: "c1", Rootfs: t.TempDir(), Command: []string{"x"}, Network: Network{Mode: NetworkHost}})
	etc := filepath.Join(install(t, p), "etc")
	if got := read(t, etc+"/resolv.conf") + read(t, etc+"/hostname"); got != "nameserver 192.0.2.1\nnode7\n" {
		t.Errorf("%q", got)
	}
	write(t, etc+"/hosts", "changed inside")
	write(t, filepath.Join(b.cfg.Host.Etc, "resolv.conf"), "nameserver 192.0.2.2\n")
	install(t, p)
	if got := read(t, etc+"/resolv.conf"); got != "nameserver 192.0.2.2\n" {
		t.Errorf("resolv.conf %q", got)
	}
	if got := read(t, etc+"/hosts"); !strings.Contains(got, "registry") {
		t.Errorf("hosts %q", got)
	}
	if err := os.Remove(filepath.Join(b.cfg.Host.Etc, "resolv.conf")); err != nil {
		t.Fatal(err)
	}
	install(t, p)
	if got := read(t, etc+"/resolv.conf"); got != "" {
		t.Errorf("resolv.conf of a host without one: %q", got)
	}
}

func TestResources(t *testing.T) {
	resources := Resources{Memory: 64 << 20, CPUs: 0.25, Pids: 10}
	for name, test := range map[string]struct {
		swap bool
		r    Resources
		want string
	}{
		"all":      {true, resources, `{"memory":{"limit":67108864,"swap":67108864},"cpu":{"quota":25000,"period":100000},"pids":{"limit":10}}`},
		"no swap":  {false, resources, `{"memory":{"limit":67108864},"cpu":{"quota":25000,"period":100000},"pids":{"limit":10}}`},
		"nothing":  {true, Resources{}, `{}`},
		"two CPUs": {true, Resources{CPUs: 2}, `{"cpu":{"quota":200000,"period":100000}}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t, func(c *BuilderConfig) { c.Host.SwapLimit = test.swap })
			got := *generated(t, b, Options{Resources: test.r}).Linux.Resources
			got.Devices = nil
			data, err := json.Marshal(got)
			if err != nil || string(data) != test.want {
				t.Errorf("%s, %v, want %s", data, err, test.want)
			}
		})
	}
}

func TestRefusedDefinitions(t *testing.T) {
	rootfs := t.TempDir()
	there := filepath.Join(rootfs, "there")
	write(t, there, "")
	good := Options{Name: "c1", Rootfs: rootfs, Command: []string{"/bin/true"}}
	for name, test := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"name":               {func(o *Options) { o.Name = "../c1" }, `container name "../c1": `},
		"two sources":        {func(o *Options) { o.RootfsArchive = there }, "exactly one of bundle, rootfs and rootfs-archive"},
		"no source":          {func(o *Options) { o.Rootfs = "" }, "exactly one of"},
		"rootfs missing":     {func(o *Options) { o.Rootfs = "/nowhere" }, "rootfs: /nowhere: no such file or directory"},
		"rootfs is a file":   {func(o *Options) { o.Rootfs = there }, "rootfs: " + there + ": not a directory"},
		"rootfs relative":    {func(o *Options) { o.Rootfs = "x" }, `rootfs: "x" must be an absolute path`},
		"rootfs of the host": {func(o *Options) { o.Rootfs = "/" }, "rootfs: /: is the root file system of the host"},
		"no command":         {func(o *Options) { o.Command = nil }, "command: missing"},
		"empty command":      {func(o *Options) { o.Command = []string{""} }, "command: missing or empty"},
		"NUL in command":     {func(o *Options) { o.Command = []string{"x", "\x00"} }, "command[1]: has a NUL character"},
		"workdir":            {func(o *Options) { o.Workdir = "srv" }, `workdir: "srv" must be an absolute path`},
		"env name":           {func(o *Options) { o.Env = map[string]string{"A=B": "x"} }, `env: "A=B" cannot be the name`},
		"env value":          {func(o *Options) { o.Env = map[string]string{"A": "\x00"} }, "env.A: the value has a NUL"},
		"env file missing":   {func(o *Options) { o.EnvFiles = []string{"/nowhere"} }, "envFile[0]: /nowhere: no such file or directory"},
		"capability": {func(o *Options) { o.Capabilities.Add = []string{"CAP_KILL", "CAP_FLY"} },
			`capabilities.add[1]: unknown capability "CAP_FLY"`},
		"capability hint": {func(o *Options) { o.Capabilities.Drop = []string{"syslog"} },
			`capabilities.drop[0]: unknown capability "syslog", did you mean "CAP_SYSLOG"?`},
		"mount source missing": {func(o *Options) { o.Mounts = []Mount{{Source: there, Target: "/a"}, {Source: "/x", Target: "/b"}} },
			"mounts[1].source: /x: no such file or directory"},
		"mount source empty": {func(o *Options) { o.Mounts = []Mount{{Target: "/b"}} }, "mounts[0].source: missing"},
		"mount target":       {func(o *Options) { o.Mounts = []Mount{{Source: there, Target: "b"}} }, `mounts[0].target: "b" must be`},
		"mount on root":      {func(o *Options) { o.Mounts = []Mount{{Source: there, Target: "/a/.."}} }, "mounts[0].target: must not be /"},
		"mount type":         {func(o *Options) { o.Mounts = []Mount{{Type: "nfs", Target: "/b"}} }, `mounts[0].type: "nfs" must be`},
		"mount mode":         {func(o *Options) { o.Mounts = []Mount{{Type: "tmpfs", Target: "/b", Mode: "rwx"}} }, `mounts[0].mode: "rwx"`},
		"mount of two things": {func(o *Options) { o.Mounts = []Mount{{Type: "tmpfs", Target: "/b"}, {Source: there, Target: "/b/"}} },
			"mounts[1].target: /b is the target of mounts[0].target already"},
		"secret on a mount": {func(o *Options) {
			o.Mounts = []Mount{{Type: "tmpfs", Target: "/b"}}
			o.Secrets = []Secret{{Source: there, Target: "/b"}}
		}, "secrets[0].target: /b is the target of mounts[0].target already"},
		"secret missing": {func(o *Options) { o.Secrets = []Secret{{Source: "/nowhere", Target: "/t"}} },
			"secrets[0].source: /nowhere: no such file or directory"},
		"secret mode": {func(o *Options) { o.Secrets = []Secret{{Source: there, Target: "/t", Mode: os.ModeSetuid | 0o400}} },
			"secrets[0].mode: "},
		"network":           {func(o *Options) { o.Network.Mode = "bridge" }, `network: "bridge" must be none, host, `},
		"network path":      {func(o *Options) { o.Network = Network{Mode: NetworkPath, Path: "/run/netns/x"} }, "network: /run/netns/x: no such file"},
		"network container": {func(o *Options) { o.Network = Network{Mode: NetworkContainer, Container: "redis"} }, "network: container: needs the daemon"},
		"memory":            {func(o *Options) { o.Resources.Memory = 1 << 20 }, "resources.memory: 1048576 bytes: a container cannot start with less than 3MiB"},
		"cpus":              {func(o *Options) { o.Resources.CPUs = 0.001 }, "resources.cpus: 0.001: must be at least 0.01"},
		"pids":              {func(o *Options) { o.Resources.Pids = -1 }, "resources.pids: -1: must be positive"},
		"rlimit":            {func(o *Options) { o.Rlimits = []Rlimit{{"NOFILE", 1, 1}} }, `rlimits[0].type: unknown rlimit "NOFILE"`},
		"rlimit order":      {func(o *Options) { o.Rlimits = []Rlimit{{"RLIMIT_NOFILE", 2, 1}} }, "rlimits[0].soft: 2 is above the hard limit 1"},
		"hostname":          {func(o *Options) { o.Hostname = strings.Repeat("x", 65) }, "hostname: longer than 64"},
		"oci unknown field": {func(o *Options) { o.OCI = map[string]any{"linux": map[string]any{"secomp": nil}} }, `oci: linux: unknown field "secomp"`},
		"oci wrong type":    {func(o *Options) { o.OCI = map[string]any{"process": map[string]any{"args": "x"}} }, "oci: process.args: must be an array, not a string"},
		"oci takes all":     {func(o *Options) { o.OCI = map[string]any{"process": nil} }, "oci: process: missing"},
		"oci terminal":      {func(o *Options) { o.OCI = map[string]any{"process": map[string]any{"terminal": true}} }, "oci: process.terminal: "},
		"oci root":          {func(o *Options) { o.OCI = map[string]any{"root": map[string]any{"path": "/x"}} }, "oci: root.path: "},
		"oci capability": {func(o *Options) {
			o.OCI = map[string]any{"process": map[string]any{"capabilities": map[string]any{"ambient": []any{"CAP_X"}}}}
		}, `oci: process.capabilities.ambient[0]: unknown capability "CAP_X"`},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			test.change(&o)
			_, err := newBuilder(t).Plan(t.Context(), o)
			wantError(t, err, test.want)
		})
	}
}
