package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernelTellsExits says whether the kernel gives the exit status of a process to others than its parent: since Linux 6.15.
func kernelTellsExits(t testing.TB) bool {
	t.Helper()
	var u unix.Utsname
	check(t, unix.Uname(&u))
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 15
}

// Fifty containers run, the daemon is killed, a new one comes: the same fifty processes. Then they end all at once, each
// with a code of its own, and every code is right.
func TestAdoptFifty(t *testing.T) {
	t.Parallel()
	const count = 50
	n := newNode(t)
	var names []string
	for i := range count {
		name := fmt.Sprintf("c%02d", i+1)
		names = append(names, name)
		n.define(name, fmt.Sprintf("command: [idle, \"%d\"]\nrestart: {policy: no}\nstop: {timeout: 1s}\n", i+1))
	}
	n.define("restarted", "command: [idle, \"51\"]\nrestart: {policy: always, delay: 0s}\nstop: {timeout: 1s}\n")
	n.start()
	before := map[string]container{}
	for _, name := range names { // fifty starts take their time
		before[name] = n.waitWithin(3*patience, name, "running", func(c container) bool { return c.State == "running" })
	}
	for i := range 3 { // some restarts to remember
		c := n.waitFor("restarted", "runs again", func(c container) bool { return c.State == "running" && c.Restarts == i })
		exitNow(n, c)
	}
	before["restarted"] = n.waitFor("restarted", "runs again", func(c container) bool { return c.State == "running" && c.Restarts == 3 })
	n.kill()
	for name, c := range before {
		if !alive(c.Pid) {
			t.Errorf("%s did not outlive the daemon", name)
		}
	}
	n.start()
	for name, was := range before {
		c := n.waitState(name, "running")
		if c.Pid != was.Pid || !c.Adopted || c.Restarts != was.Restarts || !c.Ready || c.Error != "" {
			t.Errorf("%s was %s; after the daemon's restart it is %s", name, was.brief(), c.brief())
		}
		// It is the process's start that counts now, which on a slow machine is a while before the daemon could know of it.
		if c.StartedAt == nil || was.StartedAt.Sub(*c.StartedAt) > 10*time.Second || c.StartedAt.Sub(*was.StartedAt) > time.Second {
			t.Errorf("%s: startedAt was %v, after the daemon's restart it is %v", name, was.StartedAt, c.StartedAt)
		}
	}
	if got := n.get("restarted").LastExit.String(); got != "exited/51/" {
		t.Errorf("the last exit before the daemon's restart is %s, want exited/51/", got)
	}

	for _, name := range names {
		exitNow(n, before[name])
	}
	for i, name := range names {
		want := fmt.Sprintf("exited/%d/", i+1)
		if !kernelTellsExits(t) {
			want = "unknown/-1/"
		}
		c := n.waitState(name, "exited")
		if got := c.LastExit.String(); got != want {
			t.Errorf("%s: last exit %s, want %s", name, got, want)
		}
		if c.Pid != 0 || c.Adopted || c.Restarts != 0 {
			t.Errorf("%s has ended, but it is %s", name, c.brief())
		}
	}
	if c := n.get("restarted"); c.Pid != before["restarted"].Pid {
		t.Errorf("a container that has nothing to do with it was restarted: %s", c.brief())
	}
	n.stop()
}

// exitNow makes a container that runs idle exit with the code in its arguments. It does not go through the daemon.
func exitNow(n *node, c container) {
	n.Helper()
	// The shell has its traps before it starts the sleep that it waits for.
	eventually(n, patience, c.Name+" is up", func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Pid, c.Pid))
		if err == nil && len(children) == 0 {
			err = fmt.Errorf("process %d has no child", c.Pid)
		}
		return err
	})
	check(n, syscall.Kill(c.Pid, syscall.SIGUSR1))
}

// What ends while no daemon is there ended in an unknown way, and that counts as a failure.
func TestAdoptDied(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	policies := map[string]string{
		"always": "{policy: always, delay: 0s}", "on-failure": "{policy: on-failure, delay: 0s}",
		"never": "{policy: no}", "on-success": "{policy: on-success, delay: 0s}", "later": "{policy: always, delay: 10m}",
	}
	for name, restart := range policies {
		n.define(name, "command: [idle, \"7\"]\nstop: {timeout: 1s}\nrestart: "+restart+"\n")
	}
	n.start()
	was := map[string]container{}
	for name := range policies {
		was[name] = n.waitState(name, "running")
	}
	n.kill()
	for _, c := range was {
		exitNow(n, c)
	}
	for _, c := range was {
		waitReaped(n, c.Pid)
	}
	n.start()
	for _, name := range []string{"always", "on-failure"} {
		c := n.waitFor(name, "runs again", func(c container) bool { return c.State == "running" && c.Pid != was[name].Pid })
		if c.LastExit.String() != "unknown/-1/" || c.Restarts != 1 || c.Adopted {
			t.Errorf("%s ended unseen, and now it is %s", name, c.brief())
		}
	}
	for name, state := range map[string]string{"never": "exited", "on-success": "exited", "later": "backoff"} {
		c := n.waitState(name, state)
		if c.LastExit.String() != "unknown/-1/" || c.Pid != 0 {
			t.Errorf("%s ended unseen, and now it is %s", name, c.brief())
		}
	}
	n.stop()
}

// waitReaped waits until a process is no more: of a zombie the next daemon could still learn how it ended.
func waitReaped(n *node, pid int) {
	n.Helper()
	eventually(n, patience, fmt.Sprintf("process %d is no more", pid), func() error {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			return fmt.Errorf("a signal to it gives %w", err)
		}
		return nil
	})
}

// Stopped by hand and disabled outlive the daemon, whether it is killed or stopped, also what was said just before.
func TestIntentOutlivesDaemon(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const text = "command: [idle]\nstop: {timeout: 1s}\n"
	for _, name := range []string{"runs", "stopped", "disabled", "disabled-runs"} {
		n.define(name, text)
	}
	n.define("enabled", text+"enabled: false\n")
	n.define("started", text+"enabled: false\n")
	n.start()
	for _, name := range []string{"runs", "stopped", "disabled", "disabled-runs"} {
		n.waitState(name, "running")
	}
	n.must("disable", "--now", "disabled")
	n.must("disable", "disabled-runs")
	n.must("enable", "enabled")
	n.must("start", "started")
	started, runs, disabledRuns := n.get("started"), n.get("runs"), n.get("disabled-runs")
	n.must("stop", "stopped")
	n.kill()

	look := func(when string, want map[string]string) {
		t.Helper()
		for name, state := range want {
			c := n.waitState(name, state)
			if enabled := name != "disabled" && name != "disabled-runs" && name != "started"; c.Enabled != enabled {
				t.Errorf("%s: %s is %s", when, name, c.brief())
			}
		}
	}
	n.start()
	look("after a SIGKILL of the daemon", map[string]string{
		"runs": "running", "stopped": "stopped", "disabled": "stopped", "disabled-runs": "running", "enabled": "running", "started": "running",
	})
	for _, was := range []container{started, runs, disabledRuns} {
		if c := n.get(was.Name); c.Pid != was.Pid || !c.Adopted {
			t.Errorf("after a SIGKILL of the daemon %s is %s, but was %s", was.Name, c.brief(), was.brief())
		}
	}
	n.stop()
	n.start()
	// Those that are not enabled ran only because somebody had started them.
	look("after a stop of the daemon", map[string]string{
		"runs": "running", "stopped": "stopped", "disabled": "stopped", "enabled": "running", "started": "stopped", "disabled-runs": "stopped",
	})
	n.must("start", "stopped")
	n.stop()
	n.start()
	look("after a start by hand and a stop of the daemon", map[string]string{"stopped": "running"})
	n.stop()
}

// After a reboot nothing runs, the run directory is empty and the boot id another one: everything enabled starts, what was
// stopped by hand too, and disabled stays disabled.
func TestReboot(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{false, true} {
		t.Run(map[bool]string{false: "RunDirEmpty", true: "RunDirKept"}[kept], func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			const text = "command: [idle]\nstop: {timeout: 1s}\n"
			for _, name := range []string{"runs", "stopped", "disabled"} {
				n.define(name, text)
			}
			n.define("flops", "command: [sh, -c, 'echo ran; exit 3']\nrestart: {policy: always, delay: 10m}\n")
			n.define("once", "command: [sh, -c, 'echo ran; exit 4']\nrestart: {policy: no}\n")
			n.define("off", text+"enabled: false\n")
			n.start()
			pid := n.waitState("runs", "running").Pid
			n.waitState("stopped", "running")
			n.waitState("flops", "backoff")
			n.waitState("once", "exited")
			n.must("stop", "stopped")
			n.must("disable", "--now", "disabled")
			n.must("start", "off")
			n.kill()
			endAsPowerCut(n)
			if !kept {
				check(t, os.RemoveAll(n.run))
			}
			startInAnotherBoot(n)
			for name, state := range map[string]string{"runs": "running", "stopped": "running", "disabled": "stopped", "off": "stopped"} {
				c := n.waitState(name, state)
				if c.Adopted || c.Restarts != 0 || c.Pid == pid {
					t.Errorf("after the reboot %s is %s", name, c.brief())
				}
			}
			for name, want := range map[string]string{"flops": "backoff", "once": "exited"} {
				n.waitOutput(name, "^ran\nran\n$")
				n.waitState(name, want)
			}
			past := n.waitHistory("runs", "boot", "lost", "started")
			if boot, start := past[len(past)-3], past[len(past)-1]; boot.BootID != "11111111-2222-4333-8444-555555555555" ||
				!strings.Contains(boot.Why, "without the daemon being told") || start.Cause != "daemon" {
				t.Errorf("of the reboot its history says %+v", past[len(past)-3:])
			}
			n.waitHistory("off", "boot", "lost")
			n.waitHistory("disabled", "stopped", "boot")
			if c := n.get("disabled"); c.Enabled {
				t.Errorf("the reboot made the disabled one %s", c.brief())
			}
			n.stop()
		})
	}
}

// endAsPowerCut ends all containers of a node without a daemon, and of what they had takes away what no boot finds: the
// processes, the cgroups, the mounts.
func endAsPowerCut(n *node) {
	n.Helper()
	eventually(n, patience, "all containers are dead", func() error {
		left := 0
		for _, dir := range cgroupsOf(n.run) {
			for _, pid := range processesInCgroup(dir) {
				left++
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if left > 0 {
			return fmt.Errorf("%d processes are left", left)
		}
		return nil
	})
	for _, dir := range cgroupsOf(n.run) {
		removeCgroup(dir)
	}
	for _, m := range mountsUnder(n.dir) {
		check(n, syscall.Unmount(m, syscall.MNT_DETACH))
	}
}

// startInAnotherBoot starts the daemon where /proc tells another boot id: in a mount namespace of its own.
func startInAnotherBoot(n *node) {
	n.Helper()
	id := filepath.Join(n.dir, "boot_id")
	writeFile(n, id, "11111111-2222-4333-8444-555555555555\n")
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount(id, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, "")
		}
		if err != nil {
			failed <- err
			return
		}
		n.launch()
	}()
	check(n, <-failed)
	eventually(n, patience, "the daemon answers", func() error {
		_, err := n.tryList()
		return err
	})
}

// A daemon whose container's pid was given to another process must not take that for the container.
func TestAdoptIgnoresReusedPid(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("c", "command: [idle]\nrestart: {policy: always, delay: 0s}\nstop: {timeout: 1s}\n")
	n.start()
	was := n.waitState("c", "running")
	n.kill()
	endAsPowerCut(n)
	// The number belongs to somebody else now: a process that nobody of runcsup made.
	stranger := processWithPid(n, was.Pid)
	n.start()
	c := n.waitFor("c", "runs again", func(c container) bool { return c.State == "running" })
	if c.Pid == was.Pid || c.Adopted || c.LastExit.String() != "unknown/-1/" {
		t.Errorf("with a reused pid %d the container is %s", was.Pid, c.brief())
	}
	n.must("stop", "c")
	n.stop()
	if !alive(stranger) {
		t.Error("the process that got the container's pid was killed")
	}
}

// processWithPid makes a process with a pid that is free, unless others are too fast again and again.
func processWithPid(n *node, pid int) int {
	n.Helper()
	eventually(n, patience, "a process gets the pid "+strconv.Itoa(pid), func() error {
		check(n, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "600"}, &os.ProcAttr{})
		check(n, err)
		if p.Pid == pid {
			n.Cleanup(func() { _ = p.Kill(); _, _ = p.Wait() })
			return nil
		}
		_ = p.Kill()
		_, _ = p.Wait()
		return fmt.Errorf("one got %d", p.Pid)
	})
	return pid
}
