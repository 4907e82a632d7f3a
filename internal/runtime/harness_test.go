package runtime

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

const busybox = "/bin/busybox"

var rootfs string // shared by all containers, read-only

func TestMain(m *testing.M) {
	if os.Getenv(daemonEnv) != "" {
		os.Exit(otherDaemon())
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests start containers: run them as root")
		return 1
	}
	if err := BecomeSubreaper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "runcsup-runtime-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rootfs = filepath.Join(dir, "rootfs")
	if err := makeRootfs(rootfs); err != nil {
		fmt.Fprintln(os.Stderr, "cannot make a root file system (is busybox-static installed?):", err)
		return 1
	}
	return m.Run()
}

func makeRootfs(dir string) error {
	for _, d := range []string{"bin", "etc", "proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755); err != nil {
		return err
	}
	users := "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n"
	if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte(users), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/plain"), []byte("no program\n"), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"sh", "sleep", "true", "dd", "tail", "cat", "id", "pwd", "setsid", "stty"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// flavour is a way to run containers.
type flavour struct {
	name, command string
	systemd       bool // makes the cgroups
}

// eachRuntime runs a test with every OCI runtime and cgroup driver that this machine has.
func eachRuntime(t *testing.T, f func(t *testing.T, fl flavour)) {
	for _, name := range []string{"runc", "crun"} {
		for _, systemd := range []bool{false, true} {
			label := name
			if systemd {
				if !DetectCgroupManager() {
					continue
				}
				label += "-systemd"
			}
			t.Run(label, func(t *testing.T) {
				command := name
				if _, err := exec.LookPath(name); err != nil {
					if name == "runc" {
						t.Fatal("install runc: these tests are of no use without it")
					}
					t.Skipf("%s is not installed", name)
				}
				if name == "crun" {
					command = crunCommand(t)
				}
				f(t, flavour{name: name, command: command, systemd: systemd})
			})
		}
	}
}

// crunCommand is crun; where cgroups are hybrid, which it refuses, with the second version hidden from it.
func crunCommand(t *testing.T) string {
	if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.procs"); err != nil {
		return "crun"
	}
	// The tmpfs takes directories that crun would otherwise make under the mount point, for all to keep.
	return script(t, `exec unshare -m --propagation private sh -c '
umount /sys/fs/cgroup/unified; mount -t tmpfs tmpfs /sys/fs/cgroup/unified; exec crun "$@"' crun "$@"`)
}

func script(t *testing.T, body string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "runtime")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// newRuntime makes a Runtime with directories and cgroups of its own and, in the end, checks that nothing is left.
func newRuntime(t *testing.T, command string) *Runtime {
	t.Helper()
	return flavour{command: command}.runtime(t)
}

func (fl flavour) runtime(t *testing.T) *Runtime {
	t.Helper()
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	return fl.runtimeIn(t, t.TempDir(), hex.EncodeToString(id))
}

func (fl flavour) runtimeIn(t *testing.T, dir, instance string) *Runtime {
	t.Helper()
	r, err := New(Config{
		Command: fl.command, SystemdCgroup: fl.systemd, Root: filepath.Join(dir, "runtime"), CallDir: filepath.Join(dir, "calls"), InstanceID: instance,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(t, r) })
	return r
}

func removeAll(t *testing.T, r *Runtime) {
	if strings.HasPrefix(r.cfg.Command, "/") && !strings.Contains(r.cfg.Command, "crun") {
		r.cfg.Command = "runc" // whatever the test has put in its place
	}
	ids := map[string]bool{}
	for _, dir := range []string{r.cfg.Root, r.cfg.CallDir} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			ids[e.Name()] = true
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for id := range ids {
		if err := r.Remove(ctx, id); err != nil {
			t.Error(err)
		}
	}
	for _, p := range r.procs {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := r.RemoveCgroupParent(); err != nil {
		t.Error(err)
	}
	if r.cgroup.at("/" + r.cgroupParent()).exists() {
		t.Error("the cgroup parent is still there")
	}
	for _, dir := range []string{r.cfg.Root, r.cfg.CallDir} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("left in %s: %v %v", dir, entries, err)
		}
	}
}

// container says what is in a bundle.
type container struct {
	args    []string
	hostPid bool
	memory  int64  // bytes
	cgroups string // linux.cgroupsPath, empty for the Runtime's
}

func shell(command string) container { return container{args: []string{"/bin/sh", "-c", command}} }

func (c container) bundle(t *testing.T, r *Runtime, id string) string {
	t.Helper()
	type object = map[string]any
	namespaces := []object{{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}}
	if !c.hostPid {
		namespaces = append(namespaces, object{"type": "pid"})
	}
	if c.cgroups == "" {
		c.cgroups = r.CgroupsPath(id)
	}
	linux := object{"cgroupsPath": c.cgroups, "namespaces": namespaces}
	if c.memory > 0 {
		linux["resources"] = object{"memory": object{"limit": c.memory}}
	}
	config := object{
		"ociVersion": "1.0.2",
		"process": object{
			"terminal": false, "user": object{"uid": 0, "gid": 0}, "cwd": "/", "args": c.args, "env": []string{"PATH=/bin"},
		},
		"root": object{"path": rootfs, "readonly": true},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
			{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": []string{"newinstance", "ptmxmode=0666"}},
			{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
		},
		"linux": linux,
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, r *Runtime, id string, c container) *process {
	t.Helper()
	p, err := r.Run(soon(t), supervisor.RunRequest{ID: id, Bundle: c.bundle(t, r, id)})
	if err != nil {
		t.Fatal(err)
	}
	return p.(*process)
}

// startReady starts a container and returns when it has printed "ready".
func startReady(t *testing.T, r *Runtime, id string, c container) *process {
	t.Helper()
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rd.Close() }) // not before: the container may write more
	p, err := r.Run(soon(t), supervisor.RunRequest{ID: id, Bundle: c.bundle(t, r, id), Stdout: wr, Stderr: wr})
	_ = wr.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := rd.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for out := bufio.NewScanner(rd); out.Scan(); {
		if out.Text() == "ready" {
			return p.(*process)
		}
	}
	t.Fatal("the container did not print that it is ready")
	return nil
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// wait returns how a container ended.
func wait(t *testing.T, p supervisor.Process) supervisor.ExitStatus {
	t.Helper()
	st, err := p.Wait(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return withoutPeak(st)
}

// withoutPeak leaves out the memory peak, which is never the same twice.
func withoutPeak(st supervisor.ExitStatus) supervisor.ExitStatus {
	st.MemoryPeak = 0
	return st
}

func remove(t *testing.T, r *Runtime, id string) {
	t.Helper()
	if err := r.Remove(soon(t), id); err != nil {
		t.Fatal(err)
	}
	mustBeGone(t, r, id)
}

func mustBeGone(t *testing.T, r *Runtime, id string) {
	t.Helper()
	if r.Exists(id) {
		t.Errorf("%s still exists", id)
	}
	if r.cgroupOf(id).exists() {
		t.Errorf("the cgroup of %s is still there", id)
	}
	if _, err := os.Stat(filepath.Join(r.cfg.CallDir, id)); err == nil {
		t.Errorf("files of runtime calls of %s are still there", id)
	}
}

// eventually waits for what nobody reports.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx := soon(t)
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

// alive are the processes, zombies apart, with that string in their arguments.
func alive(t *testing.T, arg string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.Contains(string(data), arg) && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// uniqueSeconds is an argument for sleep by which it is found again.
func uniqueSeconds(t *testing.T) string {
	t.Helper()
	n := make([]byte, 4)
	if _, err := rand.Read(n); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("1000.%d", uint32(n[0])<<24|uint32(n[1])<<16|uint32(n[2])<<8|uint32(n[3]))
}

func exited(code int) supervisor.ExitStatus {
	return supervisor.ExitStatus{Known: true, Wait: syscall.WaitStatus(code << 8)}
}

func signaled(sig syscall.Signal) supervisor.ExitStatus {
	return supervisor.ExitStatus{Known: true, Wait: syscall.WaitStatus(sig)}
}

// plain leaves out whether a core was dumped, which is up to the machine.
func plain(st supervisor.ExitStatus) supervisor.ExitStatus {
	st.Wait &^= 0x80
	return st
}

func isNotFound(err error) bool { return errors.Is(err, supervisor.ErrNotFound) }
