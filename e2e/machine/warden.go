package machine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The test binary runs itself again: as the warden, which runs itself as what becomes the machine's process 1.
const (
	stageEnv    = "RUNCSUP_MACHINE_STAGE"
	stageWarden = "warden"
	stageBoot   = "boot"
	nameEnv     = "RUNCSUP_MACHINE_NAME"
	cgroupsEnv  = "RUNCSUP_MACHINE_CGROUPS"
)

// wardenName is what wardens are called in the list of processes, with their machine's name.
const wardenName = "runcsup-machine-warden"

// Main is to be called first in TestMain of a test that boots machines. It does not return in a warden.
func Main() {
	stage := os.Getenv(stageEnv)
	if stage == "" {
		return
	}
	// Namespaces and the signal at a parent's death belong to threads: all of it happens on the first one.
	runtime.LockOSThread()
	name := os.Getenv(nameEnv)
	_ = os.Unsetenv(stageEnv)
	var err error
	switch stage {
	case stageWarden:
		err = guard(name)
	case stageBoot:
		err = boot(name)
	default:
		err = fmt.Errorf("no stage %q", stage)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "machine %s: %s: %v\n", name, stage, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// guard owns a machine from its first boot until nothing of it is left. Its standard input is the line to the test, its
// standard output is for reports.
func guard(name string) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	out := json.NewEncoder(os.Stdout)
	syscall.CloseOnExec(lockFD)
	commands := make(chan string)
	go func() {
		defer close(commands)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			commands <- lines.Text()
		}
	}()
	err := run(name, commands, out)
	if err != nil {
		_ = out.Encode(report{Error: err.Error()}) // if nobody listens any more nobody wants to know
	}
	err = remove(name)
	if err != nil {
		_ = out.Encode(report{Error: err.Error()})
	}
	return nil
}

// run boots the machine as often as it wants to, until commands end.
func run(name string, commands <-chan string, out *json.Encoder) error {
	if err := leaveMounts(); err != nil {
		return err
	}
	if err := makeDisk(name); err != nil {
		return err
	}
	groups, err := makeCgroups(name)
	if err != nil {
		return err
	}
	for {
		leader, ended, err := startBoot(name, groups)
		if err != nil {
			return err
		}
		if err := out.Encode(report{Leader: leader}); err != nil {
			return err
		}
		again, err := watch(leader, ended, commands, out)
		if err != nil || !again {
			return err
		}
		// The next boot begins with new ones, as they were at first.
		for _, g := range groups {
			if err := errors.Join(removeCgroup(g.Dir), g.make()); err != nil {
				return err
			}
		}
	}
}

// watch waits until the machine is off and tells whether it is to boot again.
func watch(leader int, ended <-chan *os.ProcessState, commands <-chan string, out *json.Encoder) (again bool, err error) {
	for {
		select {
		case command, open := <-commands:
			if open && command != "reset" {
				return false, fmt.Errorf("no command %q", command)
			}
			if ended != nil {
				_ = syscall.Kill(leader, syscall.SIGKILL)
				<-ended
			}
			return open, nil
		case state := <-ended:
			ended = nil
			// This is how the kernel says what process 1 of a pid namespace asked for with reboot(2).
			if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGHUP {
				return true, nil
			}
			if err := out.Encode(report{Off: state.String()}); err != nil {
				return false, err
			}
		}
	}
}

// startBoot starts what becomes process 1.
func startBoot(name string, groups []cgroup) (leader int, ended <-chan *os.ProcessState, err error) {
	text, err := json.Marshal(groups)
	if err != nil {
		return 0, nil, err
	}
	c := exec.Command("/proc/self/exe")
	c.Args[0] = wardenName
	c.Env = []string{stageEnv + "=" + stageBoot, nameEnv + "=" + name, cgroupsEnv + "=" + string(text)}
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	if err := c.Start(); err != nil {
		return 0, nil, err
	}
	done := make(chan *os.ProcessState, 1)
	go func() {
		_ = c.Wait() // the state says it all
		done <- c.ProcessState
	}()
	return c.Process.Pid, done, nil
}

// leaveMounts gives up what was mounted when the warden's mount namespace was made and is nothing to it. It would keep file
// systems of others in use, and tests take whoever has their file systems mounted for one of their containers.
func leaveMounts() error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range slices.Backward(lines) {
		point := strings.Fields(line)[4]
		if point == "/" || point == "/run" || slices.ContainsFunc([]string{"/proc", "/sys", "/dev"}, func(dir string) bool {
			return point == dir || strings.HasPrefix(point, dir+"/")
		}) {
			continue
		}
		_ = unix.Unmount(point, unix.MNT_DETACH) // one below another is gone with it; spaces in names are nobody's
	}
	return nil
}

// makeDisk makes the machine's root file system, in the warden's mount namespace: it outlives boots, not the warden.
func makeDisk(name string) error {
	disk := diskOf(name)
	if err := os.MkdirAll(disk, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("cannot mount %s: %w", disk, err)
	}
	root := filepath.Join(disk, "root")
	options := "lowerdir=/,upperdir=" + disk + "/upper,workdir=" + disk + "/work"
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(disk, d), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("cannot mount an overlay of /: %w", err)
	}
	return furnish(root, name)
}

// remove removes what is outside of the machine's namespaces, when nothing runs in them any more.
func remove(name string) error {
	var errs []error
	for _, dir := range cgroupsOf(name) {
		errs = append(errs, removeCgroup(dir))
	}
	_ = unix.Unmount(filepath.Join(diskOf(name), "root"), unix.MNT_DETACH) // it may not have been mounted
	_ = unix.Unmount(diskOf(name), unix.MNT_DETACH)
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(registry, name)))...)
}
