package machine

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// environment is that of everything in a machine.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
	"DEBIAN_FRONTEND=noninteractive",
}

func systemdProgram() string {
	for _, file := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return ""
}

// masked are units that a machine without devices and users can do without, or that would reach out of it.
var masked = []string{
	"systemd-logind.service", "getty.target", "systemd-udevd.service", "systemd-udev-trigger.service", "systemd-modules-load.service",
	"systemd-random-seed.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-binfmt.service",
	"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
	"dev-hugepages.mount", "dev-mqueue.mount", "proc-sys-fs-binfmt_misc.automount", "systemd-timesyncd.service",
}

// furnish makes a machine of its own of an overlay of this one: no services but those of the base system, no trace of a
// runcsup that may be installed here.
func furnish(root, name string) error {
	for _, path := range []string{
		"etc/systemd/system", "etc/fstab", "etc/machine-id", "etc/runcsup", "var/lib/runcsup", "var/log/runcsup", "var/log/journal",
		"usr/sbin/policy-rc.d",
	} {
		if err := os.RemoveAll(filepath.Join(root, path)); err != nil {
			return err
		}
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	for file, text := range map[string]string{
		"etc/machine-id": hex.EncodeToString(id) + "\n",
		"etc/hostname":   name + "\n",
		"etc/systemd/journald.conf.d/test-machine.conf": "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSyncIntervalSec=1s\n",
		"etc/systemd/system.conf.d/test-machine.conf":   "[Manager]\nShowStatus=no\n",
	} {
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	units := filepath.Join(root, "etc/systemd/system")
	if err := os.MkdirAll(units, 0o755); err != nil {
		return err
	}
	for _, unit := range masked {
		if err := os.Symlink("/dev/null", filepath.Join(units, unit)); err != nil {
			return err
		}
	}
	return nil
}

// boot is the first process in the machine's namespaces. It becomes systemd.
func boot(name string) error {
	var groups []cgroup
	if err := json.Unmarshal([]byte(os.Getenv(cgroupsEnv)), &groups); err != nil {
		return err
	}
	for _, g := range groups {
		if err := os.WriteFile(filepath.Join(g.Dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil { // what it is in becomes the root
		return err
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return err
	}
	root := filepath.Join(diskOf(name), "root")
	for _, step := range []func(string) error{
		mountKernel, mountDevices, func(root string) error { return mountCgroups(root, groups) }, enter,
	} {
		if err := step(root); err != nil {
			return err
		}
	}
	return syscall.Exec(systemdProgram(), []string{"systemd", "--unit=multi-user.target", "--log-target=journal"},
		append([]string{"container=runcsup-test"}, environment...))
}

func mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return &fs.PathError{Op: "mount " + kind, Path: target, Err: err}
	}
	return nil
}

// mountKernel mounts proc and sys such that nothing in the machine changes settings of the kernel, which are everybody's.
func mountKernel(root string) error {
	proc, sys := filepath.Join(root, "proc"), filepath.Join(root, "sys")
	settings, bootID := filepath.Join(proc, "sys"), filepath.Join(diskOf(os.Getenv(nameEnv)), "boot_id")
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	text := fmt.Sprintf("%x-%x-%x-%x-%x\n", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	if err := os.WriteFile(bootID, []byte(text), 0o444); err != nil {
		return err
	}
	return errors.Join(
		mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount(settings, settings, "", unix.MS_BIND, ""),
		mount(bootID, filepath.Join(settings, "kernel/random/boot_id"), "", unix.MS_BIND, ""),
		mount("", settings, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("sysfs", sys, "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("tmpfs", filepath.Join(root, "run"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"),
		mount("tmpfs", filepath.Join(root, "tmp"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
	)
}

func mountDevices(root string) error {
	dev := filepath.Join(root, "dev")
	if err := mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		return err
	}
	var errs []error
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		file := filepath.Join(dev, d.name)
		errs = append(errs, unix.Mknod(file, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))), os.Chmod(file, 0o666))
	}
	for _, d := range []string{"pts", "shm", "mqueue"} {
		errs = append(errs, os.Mkdir(filepath.Join(dev, d), 0o755))
	}
	for name, target := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2",
	} {
		errs = append(errs, os.Symlink(target, filepath.Join(dev, name)))
	}
	return errors.Join(append(errs,
		mount("devpts", filepath.Join(dev, "pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"),
		mount("mqueue", filepath.Join(dev, "mqueue"), "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"),
	)...)
}

func mountCgroups(root string, groups []cgroup) error {
	if groups[0].Mount != cgroupRoot {
		if err := mount("tmpfs", filepath.Join(root, cgroupRoot), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"); err != nil {
			return err
		}
	}
	for _, g := range groups {
		dir := filepath.Join(root, g.Mount)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := mount("cgroup", dir, g.Type, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, g.Options); err != nil {
			return err
		}
		// Controllers that are mounted together are known by each of their names.
		for _, controller := range strings.Split(filepath.Base(dir), ",") {
			if link := filepath.Join(filepath.Dir(dir), controller); link != dir && g.Type == "cgroup" {
				if err := os.Symlink(filepath.Base(dir), link); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// enter makes the machine's root file system the root, with nothing of the outer one left.
func enter(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	// Both are the same directory: the old root ends up mounted over the new one.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	// As on every machine with systemd, which leaves this to who made the namespaces.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return err
	}
	// Loopback has its addresses when it is up.
	if err := loopbackUp(); err != nil {
		return err
	}
	return os.Chdir("/")
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
}
