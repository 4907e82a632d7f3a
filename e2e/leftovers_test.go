package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupPrefix is how the names of the cgroups begin that belong to a daemon with this run directory.
func cgroupPrefix(runDir string) string {
	sum := sha256.Sum256([]byte(runDir))
	return "runcsup-" + hex.EncodeToString(sum[:4])
}

// processesOf returns the processes that have dir in their command line, or live in a mount namespace into which
// something of dir is mounted: daemons, runtimes, and all of their containers, whatever cgroup those are in.
func processesOf(dir string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	own, _ := os.Readlink("/proc/self/ns/mnt")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || pid == os.Getppid() {
			continue
		}
		proc := filepath.Join("/proc", e.Name())
		cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		if mentions(cmdline, dir) {
			pids = append(pids, pid)
			continue
		}
		if bytes.HasPrefix(cmdline, []byte("runcsup-machine-warden\x00")) {
			continue // of a machine of its own; see e2e/machine
		}
		if ns, err := os.Readlink(filepath.Join(proc, "ns/mnt")); err != nil || ns == own {
			continue
		}
		// Sources are relative to their file system, so the whole path need not be there.
		tail := dir[strings.Index(dir, "runcsup-e2e-"):]
		if mounts, _ := os.ReadFile(filepath.Join(proc, "mountinfo")); mentions(mounts, tail) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// mentions tells whether text has a path, and not only one that begins alike.
func mentions(text []byte, path string) bool {
	for rest := text; ; {
		i := bytes.Index(rest, []byte(path))
		if i < 0 {
			return false
		}
		rest = rest[i+len(path):]
		if len(rest) == 0 || !bytes.ContainsAny(rest[:1], "0123456789abcdefghijklmnopqrstuvwxyz") {
			return true
		}
	}
}

// mountsUnder returns the mount points in dir, the innermost first.
func mountsUnder(dir string) (points []string) {
	info, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	slices.Reverse(points)
	return points
}

// cgroupsOf returns the topmost cgroups of a daemon with this run directory.
func cgroupsOf(runDir string) (dirs []string) {
	for _, pattern := range []string{"", "runcsup.slice/", "*/", "*/runcsup.slice/"} {
		found, _ := filepath.Glob("/sys/fs/cgroup/" + pattern + cgroupPrefix(runDir) + "*")
		dirs = append(dirs, found...)
	}
	return dirs
}

func processesInCgroup(dir string) (pids []int) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == "cgroup.procs" {
			text, _ := os.ReadFile(path)
			for field := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
		}
		return nil
	})
	return pids
}

func removeCgroup(dir string) {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	for _, d := range dirs {
		_ = os.Remove(d)
	}
}

// leftovers tells what an orderly stopped daemon with its directories in dir should have removed.
func leftovers(dir string) (left []string) {
	for _, pid := range processesOf(dir) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		left = append(left, fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte(" "))))
	}
	for _, m := range mountsUnder(dir) {
		left = append(left, "mount "+m)
	}
	run := filepath.Join(dir, "run")
	for _, d := range cgroupsOf(run) {
		left = append(left, "cgroup "+d)
	}
	for _, pattern := range []string{"run/control.sock", "run/runtime", "run/calls/*", "run/secrets/*", "run/netns/*"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range found {
			left = append(left, "file "+path)
		}
	}
	return left
}

// demolish kills and removes what belongs to the node in dir, whatever state it is in.
func demolish(dir string) error {
	run := filepath.Join(dir, "run")
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		pids := processesOf(dir)
		for _, cgroup := range cgroupsOf(run) {
			thaw(cgroup)
			pids = append(pids, processesInCgroup(cgroup)...)
		}
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of %s do not end", pids, dir)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-tick.C
	}
	containers, _ := filepath.Glob(filepath.Join(run, "runtime", "*"))
	for _, c := range containers {
		// What is left of it is removed below.
		_ = exec.Command("runc", "--root", filepath.Join(run, "runtime"), "delete", "--force", filepath.Base(c)).Run()
	}
	for _, cgroup := range cgroupsOf(run) {
		removeCgroup(cgroup)
	}
	for _, m := range mountsUnder(dir) {
		_ = syscall.Unmount(m, syscall.MNT_DETACH)
	}
	if left := cgroupsOf(run); len(left) > 0 {
		return fmt.Errorf("cannot remove cgroups %v", left)
	}
	return os.RemoveAll(dir)
}

// thaw lets frozen processes die.
func thaw(cgroup string) {
	_ = filepath.WalkDir(cgroup, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
		case e.Name() == "freezer.state":
			_ = os.WriteFile(path, []byte("THAWED"), 0)
		case e.Name() == "cgroup.freeze":
			_ = os.WriteFile(path, []byte("0"), 0)
		}
		return nil
	})
}

// sweep demolishes all nodes in base, and base.
func sweep(base string) error {
	var errs []error
	nodes, _ := filepath.Glob(filepath.Join(base, "n*"))
	for _, dir := range nodes {
		errs = append(errs, demolish(dir))
	}
	for _, pid := range processesOf(base) { // what belongs to no node
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return errors.Join(append(errs, os.RemoveAll(base))...)
}
