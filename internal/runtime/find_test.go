package runtime

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

func TestFind(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		dir := t.TempDir()
		old := fl.runtimeIn(t, dir, "0f0f0f0f")
		running := start(t, old, "running", container{args: []string{"/bin/sleep", "1000"}})
		paused := start(t, old, "paused", container{args: []string{"/bin/sleep", "1000"}})
		freezeContainer(t, old, paused)
		dead := start(t, old, "dead", shell("exit 0"))
		wait(t, dead)
		if err := os.Mkdir(old.stateDir("half"), 0o700); err != nil {
			t.Fatal(err)
		}
		r := fl.runtimeIn(t, dir, "0f0f0f0f")
		for _, p := range []*process{running, paused} {
			got, err := r.Find(soon(t), p.id, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Identity() != p.Identity() {
				t.Errorf("found %+v, want %+v", got.Identity(), p.Identity())
			}
			if d := got.StartedAt().Sub(p.StartedAt()).Abs(); d > time.Millisecond {
				t.Errorf("its start differs by %v", d)
			}
		}
		for _, id := range []string{"dead", "half", "nobody"} {
			if p, err := r.Find(soon(t), id, nil); !isNotFound(err) || p != nil {
				t.Errorf("%s: got %v, %v", id, p, err)
			}
		}
	})
}

func TestFindOfTheKnownProcessNeedsNoRuntime(t *testing.T) {
	r := newRuntime(t, "runc")
	p := start(t, r, "known", container{args: []string{"/bin/sleep", "1000"}})
	known := p.Identity()
	r.cfg.Command = script(t, "exec sleep 1000")
	got, err := r.Find(soon(t), "known", &known)
	if err != nil || got.Identity() != known {
		t.Fatalf("got %v, %v", got, err)
	}
	r.cfg.Command = "runc"
	for name, wrong := range map[string]supervisor.Identity{
		"another boot": {BootID: "00000000-0000-0000-0000-000000000000", Pid: known.Pid, StartTime: known.StartTime},
		"reused pid":   {BootID: known.BootID, Pid: known.Pid, StartTime: known.StartTime - 1},
		"gone":         {BootID: known.BootID, Pid: 4194303, StartTime: 1},
		"nonsense":     {BootID: known.BootID, Pid: -1},
	} {
		got, err := r.Find(soon(t), "known", &wrong)
		if err != nil || got.Identity() != known {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if err := r.Remove(soon(t), "known"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Find(soon(t), "known", &known); !isNotFound(err) {
		t.Errorf("after its end: got %v, %v", got, err)
	}
}

// TestFindOfAKnownZombie is a container that ended while the daemon executed itself anew.
func TestFindOfAKnownZombie(t *testing.T) {
	r := newRuntime(t, "runc")
	p := start(t, r, "ended", shell("exit 6"))
	eventually(t, "its end", p.fd.ended)
	known := p.Identity()
	got := endedOf(t, r, "ended", &known)
	got.Status.MemoryPeak = 0
	if got.Status != exited(6) || got.Identity != known {
		t.Errorf("got %+v", got)
	}
}

func TestFindWithABrokenRuntime(t *testing.T) {
	for name, body := range map[string]string{
		"fails": "exit 1", "prints": "echo rubbish", "empty": "echo '{}'", "hangs": "sleep 1000", "lies": `echo '{"status":"running","pid":1}'`,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t, "runc")
			running := start(t, r, "running", container{args: []string{"/bin/sleep", "1000"}})
			dead := start(t, r, "dead", shell("exit 0"))
			wait(t, dead)
			if err := os.MkdirAll(filepath.Join(r.stateDir("strange"), "sub"), 0o700); err != nil {
				t.Fatal(err)
			}
			r.cfg.Command = script(t, body)
			r.limits.state = 100 * time.Millisecond
			if p, err := r.Find(soon(t), "running", nil); err != nil || p.Identity() != running.Identity() {
				t.Errorf("running: got %v, %v", p, err)
			}
			for _, id := range []string{"dead", "strange"} {
				if p, err := r.Find(soon(t), id, nil); !isNotFound(err) && name != "lies" {
					t.Errorf("%s: got %v, %v", id, p, err)
				} else if p != nil {
					t.Errorf("%s: found %v", id, p.Identity())
				}
			}
		})
	}
}

// foreignCallOn starts what looks like an earlier daemon's runtime call; it ends when a file is there.
func foreignCallOn(t *testing.T, r *Runtime, id, until string) *exec.Cmd {
	t.Helper()
	wrapper := script(t, "while [ ! -e "+until+" ]; do sleep 0.01; done; sleep 0 & wait")
	cmd := exec.Command(wrapper, "--root", r.cfg.Root, "--log", "/dev/null", "run", "--bundle", "/x", "--detach", id)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // some are killed
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	})
	eventually(t, "exec", func() bool { return r.calledOn(cmd.Process.Pid) == id })
	return cmd
}

func TestFindWaitsForCallsOfAnEarlierDaemon(t *testing.T) {
	r := newRuntime(t, "runc")
	dir := t.TempDir()
	first, never := filepath.Join(dir, "first"), filepath.Join(dir, "never")
	foreignCallOn(t, r, "one", first)
	stuck := foreignCallOn(t, r, "two", never)
	other := foreignCallOn(t, r, "three", never)

	if _, err := r.Find(soon(t), "four", nil); !isNotFound(err) {
		t.Errorf("a container without calls: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := r.Find(soon(t), "one", nil)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := os.WriteFile(first, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !isNotFound(err) {
		t.Errorf("got %v", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := r.Find(ctx, "two", nil); err == nil || isNotFound(err) {
		t.Errorf("got %v while nobody can tell", err)
	}
	r.limits.foreign = 30 * time.Millisecond
	if _, err := r.Find(soon(t), "two", nil); !isNotFound(err) {
		t.Errorf("got %v", err)
	}
	if readableState(stuck.Process.Pid) != 'Z' {
		t.Error("the call that hangs was not killed")
	}
	if readableState(other.Process.Pid) == 'Z' {
		t.Error("the call on another container was killed")
	}
	remove(t, r, "three")
	if readableState(other.Process.Pid) != 'Z' {
		t.Error("Remove did not end the call")
	}
}

func TestCallID(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"runc", "--root", "/r", "delete", "npd"}, "npd"},
		{[]string{"/bin/sh", "/wrapper", "--root", "/r", "--log", "/l", "run", "--detach", "npd"}, "npd"},
		{[]string{"crun", "--root=/r", "state", "npd"}, "npd"},
		{[]string{"runc", "--root", "/r2", "delete", "npd"}, ""},
		{[]string{"runc", "delete", "npd", "--root"}, ""},
		{[]string{"runc", "--root", "/r"}, ""},
		{[]string{"runc", "delete", "/r"}, ""},
		{[]string{""}, ""},
	} {
		if got := callID(tt.args, "/r"); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestManyAdoptedAtOnce(t *testing.T) {
	dir := t.TempDir()
	old := flavour{command: "runc"}.runtimeIn(t, dir, "0e0e0e0e")
	const n = 20
	want := make([]supervisor.Identity, n)
	for i := range want {
		want[i] = start(t, old, fmt.Sprintf("m%d", i), container{args: []string{"/bin/sleep", "1000"}}).Identity()
	}
	r := flavour{command: "runc"}.runtimeIn(t, dir, "0e0e0e0e")
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() {
			p, err := r.Find(soon(t), fmt.Sprintf("m%d", i), nil)
			if err != nil || p.Identity() != want[i] {
				t.Errorf("got %v, %v", p, err)
			}
		})
	}
	wg.Wait()
}
