package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/runcsup/runcsup/e2e/machine"
)

// sdMachine is a machine with a systemd of its own for one test, and the program under test in /usr/bin.
//
//	m := newMachine(t)
//	m.must("systemctl", "enable", "--now", "runcsup")    // fails the test unless it succeeds; returns its output
//	out, err := m.try("systemctl", "reload", "runcsup")  // may fail
//	m.write("/etc/runcsup/containers.d/web.yaml", "…")   // a file inside
//	m.rootfs("/srv/web")                                 // busybox as root file system for containers; see makeRootfs
//
// It is closed in the end, and a test that leaves a trace of it outside fails.
type sdMachine struct {
	*machine.Machine
	testing.TB
	ctx context.Context
}

var machines atomic.Int32

// newMachine boots a machine.
func newMachine(t testing.TB) *sdMachine {
	t.Helper()
	name := fmt.Sprintf("%s-m%d", filepath.Base(baseDir), machines.Add(1))
	// Longer than everything that a test waits for: for a machine that does not answer at all.
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	booted, err := machine.Boot(ctx, machine.Options{Name: name})
	check(t, err)
	m := &sdMachine{Machine: booted, TB: t, ctx: ctx}
	t.Cleanup(m.cleanUp)
	check(t, m.CopyIn(ctx, binary, "/usr/bin/runcsup", 0o755))
	return m
}

func (m *sdMachine) cleanUp() {
	if m.Failed() && m.Leader() != 0 {
		out, _ := m.try("journalctl", "--no-pager", "--boot", "-o", "short-monotonic", "--lines=150")
		m.Logf("journal:\n%s", out)
	}
	if err := m.Close(); err != nil {
		m.Error(err)
	}
}

// try runs a command inside. An error has the output too.
func (m *sdMachine) try(name string, args ...string) (string, error) {
	return m.Exec(m.ctx, name, args...)
}

// must runs a command inside that has to succeed, and returns its output without spaces around it.
func (m *sdMachine) must(name string, args ...string) string {
	m.Helper()
	out, err := m.try(name, args...)
	if err != nil {
		m.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// write makes a file inside.
func (m *sdMachine) write(file, text string) {
	m.Helper()
	check(m, m.Write(m.ctx, file, 0o644, strings.NewReader(text)))
}

// rootfs makes a root file system inside. Directories of the test outside are not seen there.
func (m *sdMachine) rootfs(dir string) {
	m.Helper()
	outside := filepath.Join(m.TempDir(), "rootfs")
	makeRootfs(m, outside)
	archive := outside + ".tar"
	pack(m, outside, archive)
	f, err := os.Open(archive)
	check(m, err)
	defer f.Close()
	m.must("mkdir", "-p", dir)
	unpack := m.Command(m.ctx, "tar", "-C", dir, "-xf", "-")
	unpack.Stdin = f
	out, err := unpack.CombinedOutput()
	if err != nil {
		m.Fatalf("cannot unpack a root file system: %v\n%s", err, out)
	}
}

// property is one of a unit.
func (m *sdMachine) property(unit, name string) string {
	m.Helper()
	return m.must("systemctl", "show", "--value", "--property="+name, unit)
}

// What the tests of services rely on.
func TestMachine(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if pid := m.must("sh", "-c", "readlink /proc/1/exe"); !strings.HasSuffix(pid, "/systemd") {
		t.Errorf("process 1 is %s", pid)
	}
	m.must("systemd-run", "--wait", "--quiet", "--unit=says", "echo", "hello from a service")
	m.must("journalctl", "--sync")
	if out := m.must("journalctl", "--no-pager", "-o", "cat", "-u", "says", "_TRANSPORT=stdout"); out != "hello from a service" {
		t.Errorf("the journal has %q", out)
	}
	m.must("busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.DBus.Peer", "Ping")
	if _, err := m.try("sh", "-c", "echo 1 >/proc/sys/kernel/panic"); err == nil {
		t.Error("settings of the kernel can be changed from inside")
	}

	// The power switch: what is on disk stays, what runs does not, and it is another boot.
	m.write("/var/lib/kept", "kept")
	m.write("/run/lost", "")
	m.must("systemd-run", "--quiet", "--unit=sleeper", "sleep", "infinity")
	before := m.must("cat", "/proc/sys/kernel/random/boot_id")
	check(t, m.Reset(m.ctx))
	if after := m.must("cat", "/proc/sys/kernel/random/boot_id"); after == before || len(after) != len(before) {
		t.Errorf("the boot id is %s, before the reset it was %s", after, before)
	}
	m.must("test", "-e", "/var/lib/kept", "-a", "!", "-e", "/run/lost")
	if state := m.property("sleeper", "ActiveState"); state != "inactive" {
		t.Errorf("a process from before the reset is %s", state)
	}
	leader := m.Leader()
	check(t, m.Reboot(m.ctx))
	m.must("test", "-e", "/var/lib/kept")
	if m.Leader() == leader {
		t.Error("the machine was not rebooted")
	}
}

// A machine is gone with all of its processes and cgroups when its test is, and the next run finds what could not be
// removed then.
func TestMachineLeavesNothing(t *testing.T) {
	t.Parallel()
	traces := func(name string) (found []string) {
		_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() && strings.Contains(e.Name(), name) {
				found = append(found, path)
			}
			return nil
		})
		if dir := filepath.Join("/run/runcsup-machines", name); exists(dir) {
			found = append(found, dir)
		}
		return found
	}
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		name, leader := m.must("hostname"), m.Leader()
		if len(traces(name)) == 0 {
			t.Fatal("nothing is seen of a machine that runs: this test cannot fail")
		}
		check(t, m.Close())
		if left := traces(name); len(left) > 0 || exists(fmt.Sprintf("/proc/%d", leader)) {
			t.Errorf("left are %v", left)
		}
	})
	t.Run("warden killed", func(t *testing.T) {
		t.Parallel()
		name := filepath.Base(baseDir) + "-warden-killed"
		// What others have mounted is not kept in use.
		foreign := filepath.Join(baseDir, "foreign")
		check(t, os.Mkdir(foreign, 0o755))
		check(t, syscall.Mount("tmpfs", foreign, "tmpfs", 0, ""))
		t.Cleanup(func() { check(t, syscall.Unmount(foreign, 0)) })
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		m, err := machine.Boot(ctx, machine.Options{Name: name})
		check(t, err)
		leader := m.Leader()
		_, after, _ := strings.Cut(readFile(t, fmt.Sprintf("/proc/%d/status", leader)), "PPid:\t")
		var warden int
		_, err = fmt.Sscan(after, &warden)
		check(t, err)
		if mounts := readFile(t, fmt.Sprintf("/proc/%d/mountinfo", warden)); strings.Contains(mounts, foreign) {
			t.Errorf("the warden keeps file systems of others:\n%s", mounts)
		}
		check(t, syscall.Kill(warden, syscall.SIGKILL))
		if err := m.Close(); err == nil {
			t.Error("nobody says that the warden was killed")
		}
		eventually(t, patience, "the machine dies with its warden", func() error {
			if exists(fmt.Sprintf("/proc/%d", leader)) {
				return errors.New("it lives")
			}
			return nil
		})
		check(t, machine.Sweep(ctx, name))
		if left := traces(name); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
	})
	t.Run("test killed", func(t *testing.T) {
		t.Parallel()
		// The tests again, in a process that has only one to run and is killed amidst it.
		base := filepath.Join(baseDir, "killed")
		check(t, os.Mkdir(base, 0o755))
		lifeline, held, err := os.Pipe()
		check(t, err)
		defer held.Close()
		c := exec.Command("/proc/self/exe", "-test.run=^TestMachineOfAKilledTest$", "-test.count=1")
		c.Env = append(os.Environ(), baseEnv+"="+base, "RUNCSUP_BINARY="+binary, killedTestEnv+"=1")
		c.ExtraFiles = []*os.File{lifeline}
		out, err := c.StdoutPipe()
		check(t, err)
		check(t, c.Start())
		check(t, lifeline.Close())
		var name string
		_, err = fmt.Fscanln(out, &name)
		found := len(traces(name))
		check(t, c.Process.Kill())
		_ = c.Wait()
		check(t, err)
		if found == 0 {
			t.Errorf("no trace of %s while it ran", name)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		check(t, machine.Sweep(ctx, name))
		if left := traces(name); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
	})
}

const killedTestEnv = "RUNCSUP_E2E_KILLED_TEST"

// TestMachineOfAKilledTest is for TestMachineLeavesNothing, which runs it in a process of its own.
func TestMachineOfAKilledTest(t *testing.T) {
	if os.Getenv(killedTestEnv) == "" {
		return
	}
	m := newMachine(t)
	fmt.Println(m.must("hostname"))
	select {}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// The daemon and its containers in the machine: what every test of the service builds on.
func TestContainerUnderSystemd(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.rootfs("/srv/rootfs")
	m.write("/etc/runcsup/containers.d/web.yaml", "rootfs: /srv/rootfs\ncommand: [idle]\nstop: {timeout: 2s}\n")
	check(t, m.CopyIn(m.ctx, "../packaging/systemd/runcsup.service", "/usr/lib/systemd/system/runcsup.service", 0o644))
	check(t, m.CopyIn(m.ctx, "../packaging/systemd/runcsup.slice", "/usr/lib/systemd/system/runcsup.slice", 0o644))
	m.must("systemctl", "enable", "--now", "runcsup")
	if out := m.must("runcsup", "list"); !strings.Contains(out, "running") {
		t.Errorf("runcsup list says\n%s", out)
	}
	if out := m.must("systemctl", "--no-pager", "status", "runcsup.slice"); !strings.Contains(out, "runcsup-web.scope") {
		t.Errorf("the container's scope is not in its slice:\n%s", out)
	}
	m.must("systemctl", "stop", "runcsup")
}
