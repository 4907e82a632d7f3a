package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ociRuntime runs a container to its end and returns its output.
type ociRuntime struct {
	name string
	// wrap makes the command line from the runtime's own arguments.
	wrap func(args []string) []string
}

func ociRuntimes() []ociRuntime {
	return []ociRuntime{
		{"runc", func(args []string) []string { return append([]string{"runc"}, args...) }},
		// crun refuses a hybrid of cgroup v1 and v2.
		{"crun", func(args []string) []string {
			return append([]string{"unshare", "-m", "--propagation", "private", "sh", "-c",
				`if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec crun "$@"`, "crun"},
				args...)
		}},
	}
}

func (r ociRuntime) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	line := r.wrap(args)
	return exec.Command(line[0], line[1:]...)
}

func (r ociRuntime) run(t testing.TB, dir, id string) (string, error) {
	t.Helper()
	root := t.TempDir()
	t.Cleanup(func() {
		if out, err := r.command(t, "--root", root, "delete", "--force", id).CombinedOutput(); err != nil &&
			!bytes.Contains(out, []byte("does not exist")) {
			t.Errorf("cannot delete the container: %v: %s", err, out)
		}
	})
	var out bytes.Buffer
	cmd := r.command(t, "--root", root, "run", "--bundle", dir, id)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// realBuilder is one whose containers can run here.
func realBuilder(t testing.TB, change ...func(*BuilderConfig)) *Builder {
	t.Helper()
	host, err := DetectHost()
	if err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("runcsup-bundle-test-%d", os.Getpid())
	t.Cleanup(func() {
		for _, pattern := range []string{"/sys/fs/cgroup/" + group, "/sys/fs/cgroup/*/" + group} {
			dirs, err := filepath.Glob(pattern)
			if err != nil {
				t.Error(err)
			}
			for _, dir := range dirs {
				if err := os.Remove(dir); err != nil {
					t.Errorf("a cgroup is left: %v", err)
				}
			}
		}
	})
	etc := testHost(t).Etc
	return newBuilder(t, append([]func(*BuilderConfig){func(c *BuilderConfig) {
		c.Host, c.Host.Etc = host, etc
		c.CgroupsPath = func(name string) string { return "/" + group + "/" + name }
	}}, change...)...)
}

func TestContainerIsWhatWasAskedFor(t *testing.T) {
	hostName, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	shared := t.TempDir()
	write(t, filepath.Join(shared, "data"), "shared\n")
	secret := filepath.Join(t.TempDir(), "token")
	write(t, secret, "s3cret\n")
	envFile := filepath.Join(t.TempDir(), "env")
	write(t, envFile, "TZ=UTC\nLEVEL=file\n")
	tests := map[string]struct {
		options Options
		script  string
		want    string // output
	}{
		"defaults": {Options{}, `id; pwd; echo $HOME $HOSTNAME; hostname; grep -E "Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|^Seccomp:" /proc/self/status`,
			"uid=0(root) gid=0(root)\n/\n/root c1\nc1\n" +
				"CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n" +
				"CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"},
		"user by name": {Options{User: "web", Workdir: "/tmp", Mounts: []Mount{{Type: "tmpfs", Target: "/tmp"}}},
			`id; echo $HOME; pwd; touch /tmp/mine && echo written`,
			"uid=33(web) gid=33(web) groups=4(log)\n/srv/web\n/tmp\nwritten\n"},
		"environment": {Options{EnvFiles: []string{envFile}, Env: map[string]string{"LEVEL": "env", "HOME": "/h"}},
			`echo $TZ $LEVEL $HOME $PATH`, "UTC env /h /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
		"no capabilities": {Options{Capabilities: Capabilities{Drop: []string{"ALL"}, Add: []string{"CAP_SYSLOG"}}},
			`grep CapEff /proc/self/status`, "CapEff:\t0000000400000000\n"},
		"read-only": {Options{ReadOnly: true}, `touch /x 2>&1 || echo refused`,
			"touch: /x: Read-only file system\nrefused\n"},
		"mounts": {Options{Mounts: []Mount{
			{Source: shared, Target: "/in", ReadOnly: true}, {Source: shared, Target: "/out"},
			{Type: "tmpfs", Target: "/scratch", Size: 65536, Mode: "0700"},
		}}, `cat /in/data; touch /in/x 2>/dev/null || echo ro; touch /out/data && echo rw; stat -c %a /scratch; grep " /scratch " /proc/mounts | grep -o size=64k`,
			"shared\nro\nrw\n700\nsize=64k\n"},
		"secret": {Options{User: "web", Secrets: []Secret{{Source: secret, Target: "/run/secrets/token"}}},
			`cat /run/secrets/token; stat -c "%a %u:%g" /run/secrets/token; echo x 2>/dev/null > /run/secrets/token || echo ro`,
			"s3cret\n400 33:33\nro\n"},
		"rlimits":      {Options{Rlimits: []Rlimit{{"RLIMIT_NOFILE", 100, 200}}}, `ulimit -Sn; ulimit -Hn`, "100\n200\n"},
		"own hostname": {Options{Hostname: "web-1"}, `hostname; cat /etc/hostname; grep -c web-1 /etc/hosts`, "web-1\nweb-1\n1\n"},
		"no network":   {Options{}, `ls /sys/class/net; cat /etc/resolv.conf 2>/dev/null || echo none`, "lo\nnone\n"},
		"host network": {Options{Network: Network{Mode: NetworkHost}},
			`hostname; cat /etc/hostname; cat /etc/resolv.conf; grep -c registry /etc/hosts`,
			hostName + "\n" + hostName + "\nnameserver 192.0.2.1\n1\n"},
		"network by path": {Options{Network: Network{Mode: NetworkPath, Path: "/proc/self/ns/net"}},
			`cat /etc/resolv.conf`, "nameserver 192.0.2.1\n"},
		"host proc is masked": {Options{}, `cat /proc/interrupts; echo 1 2>/dev/null > /proc/sys/kernel/panic || echo ro`, "ro\n"},
		"patched": {Options{OCI: map[string]any{"process": map[string]any{"oomScoreAdj": 77}, "hostname": "patched"}},
			`cat /proc/self/oom_score_adj; hostname`, "77\npatched\n"},
		"limits": {Options{Resources: Resources{Memory: 64 << 20, CPUs: 0.5, Pids: 50}}, `echo up`, "up\n"},
	}
	for _, runtime := range ociRuntimes() {
		for name, test := range tests {
			t.Run(runtime.name+"/"+name, func(t *testing.T) {
				b := realBuilder(t)
				o := test.options
				o.Name, o.Rootfs, o.Command = "c1", busyboxRootfs(t), []string{"/bin/sh", "-c", test.script}
				p := prepare(t, b, o)
				dir := install(t, p)
				out, err := runtime.run(t, dir, "c1")
				if err != nil || out != test.want {
					t.Errorf("output %q (%v), want %q", out, err, test.want)
				}
				if err := p.Released(); err != nil {
					t.Error(err)
				}
				if left := names(t, b.secretsRoot()); left != "" {
					t.Errorf("copies of secrets are left: %s", left)
				}
			})
		}
	}
}

func TestArchiveRuns(t *testing.T) {
	for _, runtime := range ociRuntimes() {
		t.Run(runtime.name, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "export.tar")
			command(t, "tar", "-C", busyboxRootfs(t), "-cf", archive, ".")
			b := realBuilder(t)
			o := Options{Name: "c1", RootfsArchive: archive, User: "web", Command: []string{"/bin/id"}}
			out, err := runtime.run(t, install(t, prepare(t, b, o)), "c1")
			if want := "uid=33(web) gid=33(web) groups=4(log)\n"; err != nil || out != want {
				t.Errorf("output %q (%v), want %q", out, err, want)
			}
		})
	}
}

// A bundle as people make it: runc spec, edited by hand; its root file system beside it.
func TestReadyBundleRuns(t *testing.T) {
	for _, runtime := range ociRuntimes() {
		t.Run(runtime.name, func(t *testing.T) {
			b := realBuilder(t)
			dir := filepath.Dir(busyboxRootfs(t))
			command(t, "runc", "spec", "--bundle", dir)
			config := filepath.Join(dir, "config.json")
			_, err := b.Plan(t.Context(), Options{Name: "c1", Bundle: dir})
			wantError(t, err, config+":4:3: process.terminal: ", "set process.terminal to false")

			write(t, filepath.Join(dir, "data"), "beside\n")
			text := strings.Replace(read(t, config), `"terminal": true`, `"terminal": false`, 1)
			text = strings.Replace(text, `"sh"`, `"cat", "/data"`, 1)
			text = strings.Replace(text, `"mounts": [`,
				`"mounts": [{"destination": "/data", "type": "bind", "source": "data", "options": ["bind", "ro"]},`, 1)
			// runc makes the mount point, so the root file system must be writable until it is mounted.
			write(t, config, text)
			p := prepare(t, b, Options{Name: "c1", Bundle: dir})
			out, err := runtime.run(t, install(t, p), "c1")
			if err != nil || out != "beside\n" {
				t.Errorf("output %q (%v)", out, err)
			}
			if read(t, config) != text || p.Path() != dir {
				t.Errorf("the user's bundle was changed, or is called %s", p.Path())
			}
		})
	}
}

// The limits of a Plan are what `runc update` takes, also when they are taken away.
func TestResourcesCanBeUpdated(t *testing.T) {
	for _, runtime := range ociRuntimes() {
		t.Run(runtime.name, func(t *testing.T) {
			b := realBuilder(t)
			o := Options{Name: "c1", Rootfs: busyboxRootfs(t), Command: []string{"/bin/sleep", "1000"},
				Resources: Resources{Memory: 64 << 20, CPUs: 0.5, Pids: 50}}
			dir := install(t, prepare(t, b, o))
			root := t.TempDir()
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = null.Close() })
			run := runtime.command(t, "--root", root, "run", "--detach", "--bundle", dir, "c1")
			run.Stdin, run.Stdout, run.Stderr = null, null, null // a pipe would stay open as long as the container
			t.Cleanup(func() {
				if out, err := runtime.command(t, "--root", root, "delete", "--force", "c1").CombinedOutput(); err != nil {
					t.Errorf("cannot delete the container: %v: %s", err, out)
				}
			})
			if err := run.Run(); err != nil {
				t.Fatalf("cannot start: %v", err)
			}
			for _, limits := range []Resources{{Memory: 128 << 20, CPUs: 1.5, Pids: 60}, {Memory: 32 << 20}, {}, o.Resources} {
				o.Resources = limits
				plan, err := b.Plan(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				updateResources(t, runtime, root, plan.Resources)
				for file, want := range limitFiles(b, limits) {
					got := strings.Fields(read(t, filepath.Join("/sys/fs/cgroup", file)))[0]
					if len(got) > 9 || got == "max" || got == "4194304" {
						got = "-1" // as good as no limit
					}
					if got != fmt.Sprint(want) {
						t.Errorf("after %+v %s is %s, want %d", limits, file, got, want)
					}
				}
			}
		})
	}
}

// limitFiles are the cgroup files of container c1 that limits show in, and what is expected in them; -1 for no limit.
func limitFiles(b *Builder, limits Resources) map[string]int64 {
	or := func(limit int64) int64 {
		if limit == 0 {
			return -1
		}
		return limit
	}
	group := b.cfg.CgroupsPath("c1")
	memory, quota, pids := or(limits.Memory), or(int64(limits.CPUs*100_000)), or(limits.Pids)
	if !b.cfg.Host.CgroupV2 {
		return map[string]int64{
			"memory/" + group + "/memory.limit_in_bytes":       memory,
			"memory/" + group + "/memory.memsw.limit_in_bytes": memory,
			"cpu/" + group + "/cpu.cfs_quota_us":               quota,
			"pids/" + group + "/pids.max":                      pids,
		}
	}
	return map[string]int64{
		group + "/memory.max":      memory,
		group + "/memory.swap.max": min(memory, 0), // beyond memory
		group + "/cpu.max":         quota,
		group + "/pids.max":        pids,
	}
}

func updateResources(t *testing.T, runtime ociRuntime, root string, resources *specs.LinuxResources) {
	t.Helper()
	if runtime.name == "crun" && *resources.CPU.Quota == -1 {
		// crun before 1.8.4 cannot write -1 (cgroup v1), and before 1.22 it makes 1 ms of it (cgroup v2 with systemd):
		// whoever calls crun has to say it so.
		resources.CPU.Quota = new(int64(1e9))
	}
	data, err := json.Marshal(resources)
	if err != nil {
		t.Fatal(err)
	}
	cmd := runtime.command(t, "--root", root, "update", "--resources", "-", "c1")
	if runtime.name == "crun" {
		file := filepath.Join(t.TempDir(), "resources.json")
		write(t, file, string(data))
		cmd = runtime.command(t, "--root", root, "update", "--resources", file, "c1")
	}
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("update to %s: %v: %s", data, err, out)
	}
}

func TestNetworkOfAnotherContainer(t *testing.T) {
	for _, runtime := range ociRuntimes() {
		t.Run(runtime.name, func(t *testing.T) {
			target := exec.Command("unshare", "-n", "cat")
			in, err := target.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := target.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := target.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = in.Close()
				_ = target.Wait()
			})
			// It echoes when the namespace is there.
			if _, err := in.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			ns := fmt.Sprintf("/proc/%d/ns/net", target.Process.Pid)
			running := true
			b := realBuilder(t, func(c *BuilderConfig) {
				c.NetnsOf = func(name string) (string, error) {
					if name != "redis" || !running {
						return "", fmt.Errorf("container %q is not running", name)
					}
					return ns, nil
				}
			})
			p := prepare(t, b, Options{Name: "c1", Rootfs: busyboxRootfs(t), Command: []string{"/bin/sh", "-c",
				"readlink() { /bin/busybox readlink $1; }; readlink /proc/self/ns/net"},
				Network: Network{Mode: NetworkContainer, Container: "redis"}})
			got, err := runtime.run(t, install(t, p), "c1")
			want, linkErr := os.Readlink(ns)
			if err != nil || linkErr != nil || strings.TrimSpace(got) != want {
				t.Errorf("network namespace %q (%v), want %q (%v)", got, err, want, linkErr)
			}
			if err := p.Released(); err != nil {
				t.Error(err)
			}
			if left := names(t, b.netnsRoot()); left != "" {
				t.Errorf("left in netns: %s", left)
			}
			running = false
			_, err = p.Install(t.Context())
			wantError(t, err, `network: container "redis"`, "not running")
		})
	}
}
