package runtime

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// sleeper is a process that lives until the test ends, and its identity.
func sleeper(t *testing.T, flags uintptr) (supervisor.Identity, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	st, err := readStat(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return supervisor.Identity{Pid: cmd.Process.Pid, StartTime: st.start}, cmd
}

func TestOpenNetns(t *testing.T) {
	ours, _ := sleeper(t, 0)
	if f, err := OpenNetns(ours); f != nil || err != nil {
		t.Errorf("our own: %v, %v", f, err)
	}
	theirs, cmd := sleeper(t, unix.CLONE_NEWNET)
	f, err := OpenNetns(theirs)
	if err != nil || f == nil {
		t.Fatalf("another one: %v, %v", f, err)
	}
	_ = f.Close()
	other := theirs
	other.StartTime++
	if f, err := OpenNetns(other); f != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a process whose pid is another's now: %v, %v", f, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if f, err := OpenNetns(theirs); f != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a process that has ended: %v, %v", f, err)
	}
}

// A container's processes are its own, whoever else runs; of one that has ended nobody can tell.
func TestOwns(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := startReady(t, r, "web", shell("sleep 1000 & echo ready; wait"))
		pids, err := r.cgroupOf("web").pids()
		if err != nil || len(pids) < 2 {
			t.Fatalf("%v, %v", pids, err)
		}
		for _, pid := range pids {
			if !r.Owns("web", pid) {
				t.Errorf("process %d of the container is a stranger", pid)
			}
			if r.Owns("other", pid) {
				t.Errorf("process %d is another container's", pid)
			}
		}
		if r.Owns("web", os.Getpid()) || r.Owns("web", 1) {
			t.Error("processes of the host are the container's")
		}
		gone := exec.Command("true")
		if err := gone.Run(); err != nil {
			t.Fatal(err)
		}
		if !r.Owns("web", gone.Process.Pid) {
			t.Error("a process that has ended is certainly a stranger")
		}
		_ = p.KillAll()
		wait(t, p)
		remove(t, r, "web")
	})
}
