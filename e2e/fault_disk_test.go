package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// troubles are what can befall a directory, and how it passes.
var troubles = map[string]struct{ begin, end func(n *node, dir string) }{
	"ReadOnly": {
		// A file system with files that are open for writing cannot be made read-only, but what is seen of it can.
		func(n *node, dir string) {
			check(n, syscall.Mount(dir, dir, "", syscall.MS_BIND, ""))
			check(n, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
		},
		func(n *node, dir string) { check(n, syscall.Unmount(dir, syscall.MNT_DETACH)) },
	},
	"Full": {
		func(n *node, dir string) { fill(n, filepath.Join(dir, "ballast")) },
		func(n *node, dir string) { check(n, os.Remove(filepath.Join(dir, "ballast"))) },
	},
}

// A state directory that cannot be written, or is full: containers run on, end and are restarted, and can be stopped; the
// error is in the list, and goes away with its cause.
func TestStateDirTrouble(t *testing.T) {
	t.Parallel()
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			n.state = memoryDisk(n, "1m")
			for _, name := range []string{"runs", "dies", "stopped"} {
				n.define(name, "command: [idle]\nstop: {timeout: 1s}\nrestart: {policy: always, delay: 100ms, maxDelay: 100ms}\n")
			}
			n.start()
			was := map[string]container{}
			for _, name := range []string{"runs", "dies", "stopped"} {
				was[name] = n.waitState(name, "running")
			}
			n.must("restart", "runs") // so that nothing of it is left to be written
			was["runs"] = n.waitState("runs", "running")
			waitRecorded(n, was["runs"])

			trouble.begin(n, n.state)
			check(t, syscall.Kill(was["dies"].Pid, syscall.SIGKILL))
			n.runcsup("stop", "stopped") // whether this is a success may be argued about
			c := n.waitFor("dies", "runs again, with an error", func(c container) bool {
				return c.State == "running" && c.Pid != was["dies"].Pid && c.Error != ""
			})
			if c.Restarts != 1 || c.LastExit.String() != "signaled/-1/KILL" || !strings.Contains(c.Error, n.state) {
				t.Errorf("it was killed when nothing could be written, and is %s", c.brief())
			}
			c = n.waitFor("stopped", "is stopped, with an error", func(c container) bool { return c.State == "stopped" && c.Error != "" })
			if !strings.Contains(c.Error, n.state) {
				t.Errorf("it was stopped when nothing could be written, and is %s", c.brief())
			}
			if c := n.get("runs"); c.Pid != was["runs"].Pid || c.Error != "" {
				t.Errorf("nothing happened to it, but it is %s", c.brief())
			}

			trouble.end(n, n.state)
			for name, state := range map[string]string{"runs": "running", "dies": "running", "stopped": "stopped"} {
				was[name] = n.waitFor(name, "has no error any more", func(c container) bool { return c.Error == "" && c.State == state })
			}
			n.waitHistory("stopped", "started", "stopped")
			n.waitHistory("dies", "exited", "restart", "started")
			wholeFiles(n, n.state)
			if told := strings.Count(n.log(), "the history cannot be written"); told > 1 || name == "ReadOnly" && told == 0 {
				t.Errorf("it was told %d times that the history cannot be written", told)
			}
			n.kill()
			n.start()
			for name, was := range was {
				if c := n.waitState(name, was.State); c.Pid != was.Pid || c.Restarts != was.Restarts {
					t.Errorf("it was %s; after the daemon's restart it is %s", was.brief(), c.brief())
				}
			}
			n.stop()
		})
	}
}

// Bundles that cannot be built because the disk is full are refused, with the error in the list, and leave nothing; what
// runs goes on. They are built and started by themselves once there is space.
func TestBuildOnAFullDisk(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.state = memoryDisk(n, "8m")
	archive := filepath.Join(n.dir, "rootfs.tar")
	pack(t, n.rootfs, archive)
	n.define("runs", "command: [idle]\nenv: {A: '1'}\n")
	n.define("archive", "image: rootfs-archive:"+archive+"\ncommand: [idle]\nenv: {A: '1'}\n")
	n.start()
	was := map[string]container{"runs": n.waitState("runs", "running"), "archive": n.waitState("archive", "running")}
	waitRecorded(n, was["runs"])
	waitRecorded(n, was["archive"])

	troubles["Full"].begin(n, n.state)
	// More than fits into the pages that files have already.
	long := strings.Repeat("x", 8<<10)
	n.define("runs", "command: [idle]\nenv: {A: '"+long+"'}\n")
	n.define("archive", "image: rootfs-archive:"+archive+"\ncommand: [idle]\nenv: {A: '"+long+"'}\n")
	n.define("new", "image: rootfs-archive:"+archive+"\ncommand: [idle]\n")
	noSpace := func(c container) bool { return strings.Contains(c.Error, syscall.ENOSPC.Error()) }
	for name, was := range was {
		if c := n.waitFor(name, "is refused for want of space", noSpace); c.Pid != was.Pid || c.State != "running" {
			t.Errorf("its new definition cannot be built, and it is %s", c.brief())
		}
	}
	if c := n.waitFor("new", "is refused for want of space", noSpace); c.State != "failed" {
		t.Errorf("it has never been built, and it is %s", c.brief())
	}
	wholeFiles(n, n.state)

	troubles["Full"].end(n, n.state)
	for _, name := range []string{"runs", "archive", "new"} {
		c := n.waitFor(name, "runs with its new definition, without anybody doing anything", func(c container) bool {
			return c.State == "running" && c.Error == "" && c.Pid != was[name].Pid
		})
		waitRecorded(n, c)
	}
	wholeFiles(n, n.state)
	if refusals := strings.Count(n.log(), "definition refused"); refusals != 3 {
		t.Errorf("three definitions were refused for one reason each, and %d refusals are logged", refusals)
	}
	n.stop()
}

// A daemon that is started on a full disk runs what was built before, and the rest as soon as there is space.
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.state = memoryDisk(n, "1m")
	n.define("built", "command: [idle]\nstop: {timeout: 1s}\n")
	n.start()
	n.waitState("built", "running")
	n.stop()
	n.define("new", "command: [idle]\nstop: {timeout: 1s}\n")
	troubles["Full"].begin(n, n.state)
	n.start()
	built := n.waitState("built", "running")
	n.waitFor("new", "has no bundle, for want of space", func(c container) bool { return strings.Contains(c.Error, syscall.ENOSPC.Error()) })
	troubles["Full"].end(n, n.state)
	n.waitFor("new", "runs", func(c container) bool { return c.State == "running" && c.Error == "" })
	if c := n.waitFor("built", "is without an error", func(c container) bool { return c.Error == "" }); c.Pid != built.Pid {
		t.Errorf("it was %s, and is %s", built.brief(), c.brief())
	}
	n.waitHistory("built", "stopped", "started")
	wholeFiles(n, n.state)
	n.stop()
}

// A daemon that is started with a full run directory, as it may be after a boot, says what is the matter, and runs everything
// once there is space.
func TestStartWithAFullRunDir(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.run = memoryDisk(n, "1m")
	n.socket = filepath.Join(n.run, "control.sock")
	n.define("web", "command: [idle]\nstop: {timeout: 1s}\nrestart: {policy: always, delay: 1s, maxDelay: 1s}\n")
	troubles["Full"].begin(n, n.run)
	d := n.start()
	n.waitFor("web", "cannot be started, for want of space", func(c container) bool { return strings.Contains(c.Error, syscall.ENOSPC.Error()) })
	if !strings.Contains(n.log(), "the run directory cannot be written") {
		t.Errorf("the daemon does not say what is the matter:\n%s", n.log())
	}
	troubles["Full"].end(n, n.run)
	web := n.waitFor("web", "runs", func(c container) bool { return c.State == "running" && c.Error == "" })
	boot := strings.TrimSpace(readFile(t, "/proc/sys/kernel/random/boot_id"))
	eventually(t, patience, "the boot is noted", func() error {
		text, err := os.ReadFile(filepath.Join(n.run, "boot-id"))
		if err != nil || !strings.HasPrefix(string(text), boot+" ") {
			return fmt.Errorf("there is %q: %w", text, errors.Join(err, errors.New("that is not this boot")))
		}
		return nil
	})
	if !d.running() {
		t.Error("the daemon has ended")
	}
	waitRecorded(n, web)
	n.kill()
	n.start()
	if c := n.waitState("web", "running"); c.Pid != web.Pid {
		t.Errorf("it was %s; after the daemon's restart it is %s", web.brief(), c.brief())
	}
	n.stop()
}

// wholeFiles fails the test if anything in a state directory stays half-written or left over.
func wholeFiles(n *node, dir string) {
	n.Helper()
	eventually(n, patience, "all files in "+dir+" are whole", func() error {
		return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "rootfs":
				return fs.SkipDir
			case strings.HasPrefix(d.Name(), "."):
				return fmt.Errorf("%s is left over", path)
			}
			var lines []string
			switch filepath.Ext(path) {
			case ".json":
				lines = []string{readFile(n, path)}
			case ".jsonl":
				text := readFile(n, path)
				if text != "" && !strings.HasSuffix(text, "\n") {
					return fmt.Errorf("%s ends in the middle of a line", path)
				}
				lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			}
			for _, line := range lines {
				if line != "" && !json.Valid([]byte(line)) {
					return fmt.Errorf("%s has %q", path, line)
				}
			}
			return nil
		})
	})
}

// waitRecorded waits until it is on disk that a container runs.
func waitRecorded(n *node, c container) {
	n.Helper()
	eventually(n, patience, c.Name+" is on record", func() error { return recorded(n, c) })
}

// recorded fails unless a container's present instance is on record.
func recorded(n *node, c container) error {
	text, err := os.ReadFile(filepath.Join(n.state, "records", c.Name+".json"))
	if err == nil && !strings.Contains(string(text), fmt.Sprint(c.Pid)) {
		err = errors.New(string(text))
	}
	return err
}

// A log directory that cannot be written is trouble for what writes, and says so there. It stops nothing, and nothing is lost
// of it.
func TestLogDirReadOnly(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.logs = memoryDisk(n, "1m")
	const text = "stop: {timeout: 1s}\n"
	n.define("runs", "command: [idle]\n"+text)
	n.start()
	was := n.waitState("runs", "running")
	troubles["ReadOnly"].begin(n, n.logs)
	n.define("new", "command: [sh, -c, 'echo begin; exec idle']\n"+text)
	n.must("reload")
	c := n.waitFor("new", "runs, and its output has no place", func(c container) bool { return c.State == "running" && c.Error != "" })
	if !strings.Contains(c.Error, n.logs) || !strings.Contains(c.Error, "read-only") {
		t.Errorf("there is no place for its output, and it is %s", c.brief())
	}
	if c := n.get("runs"); c.Pid != was.Pid || c.Error != "" {
		t.Errorf("nothing happened to it, but it is %s", c.brief())
	}
	troubles["ReadOnly"].end(n, n.logs)
	n.waitOutput("new", "^begin\n$")
	n.waitFor("new", "has no trouble", func(c container) bool { return c.Error == "" })
	n.stop()
}

// A full log directory holds back what writes, and nothing else: containers run on and are started, and when there is space
// again every line is there, once and whole.
func TestLogDirFull(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.logs = memoryDisk(n, "2m")
	const text = "stop: {timeout: 1s}\nrestart: {policy: always, delay: 100ms, maxDelay: 100ms}\n"
	n.define("writes", "command: [sh, -c, 'trap \"exit 0\" TERM; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done; echo end; idle']\n"+text)
	n.define("idles", "command: [idle]\n"+text)
	fill(n, filepath.Join(n.logs, "ballast"))
	n.start()
	writes, idles := n.waitState("writes", "running"), n.waitState("idles", "running")
	c := n.waitFor("writes", "has no space for its output", func(c container) bool { return c.Error != "" })
	if !strings.Contains(c.Error, "no space left") {
		t.Errorf("the disk for its output is full, and it is %s", c.brief())
	}
	check(t, syscall.Kill(idles.Pid, syscall.SIGKILL))
	n.waitFor("idles", "runs again", func(c container) bool { return c.State == "running" && c.Pid != idles.Pid })
	if out := n.output("writes"); out != "" && !strings.HasSuffix(out, "\n") {
		t.Errorf("half a line: %q", out[max(0, len(out)-50):])
	}
	check(t, os.Remove(filepath.Join(n.logs, "ballast")))
	n.waitOutput("writes", "\nend\n")
	if count := numbered(n, n.output("writes"), 1); count != 20000 {
		t.Errorf("%d lines", count)
	}
	if c := n.get("writes"); c.Pid != writes.Pid || c.Error != "" {
		t.Errorf("the disk has space again, and it is %s", c.brief())
	}
	n.stop()
}

// memoryDisk makes a tmpfs of a size that is there until the end of the test.
func memoryDisk(n *node, size string) string {
	n.Helper()
	// Not in the node's directory, where a stopped daemon must not have left mounts, but where the guardian looks.
	dir := filepath.Join(baseDir, "ndisk-"+filepath.Base(n.dir), "fs")
	check(n, os.MkdirAll(dir, 0o755))
	check(n, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=755"))
	n.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes a file until there is no more space.
func fill(n *node, file string) {
	n.Helper()
	f, err := os.Create(file)
	check(n, err)
	defer func() { _ = f.Close() }()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			n.Fatal(err)
		}
	}
}
