package runtime

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runcsup/runcsup/supervisor"
)

func TestRemoveOfNothingNeedsNoRuntime(t *testing.T) {
	r := newRuntime(t, script(t, "exit 1"))
	for range 2 {
		remove(t, r, "nobody")
	}
	for _, id := range []string{"", ".", "..", "a/b", "../runtime", "-x"} {
		if err := r.Remove(soon(t), id); err == nil {
			t.Errorf("removed %q", id)
		}
		if r.Exists(id) {
			t.Errorf("%q exists", id)
		}
	}
}

func TestRemoveEndsWhateverRuns(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		tests := []struct {
			name  string
			c     container
			setup func(t *testing.T, p *process)
		}{
			{"running", shell("echo ready; exec sleep 1000"), func(*testing.T, *process) {}},
			{"deaf", shell("trap '' TERM; echo ready; while :; do sleep 1000; done"), func(*testing.T, *process) {}},
			{"frozen", shell("echo ready; exec sleep 1000"), func(t *testing.T, p *process) { freezeContainer(t, r, p) }},
			{"closed", shell("echo ready; exec sleep 1000"), func(t *testing.T, p *process) {
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}},
			{
				"host pid with children", container{args: shell("sleep 1000 & sleep 1000 & echo ready; exec sleep 1000").args, hostPid: true},
				func(*testing.T, *process) {},
			},
			{
				"host pid, only children left", container{args: shell("sleep 1000 & sleep 1000 & echo ready; exec sleep 1000").args, hostPid: true},
				func(t *testing.T, p *process) {
					if err := p.Signal(syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
					wait(t, p)
				},
			},
		}
		for i, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				id := "r" + strconv.Itoa(i)
				p := startReady(t, r, id, tt.c)
				pids, err := p.cgroup.pids()
				if err != nil {
					t.Fatal(err)
				}
				tt.setup(t, p)
				remove(t, r, id)
				for _, pid := range pids {
					if readableState(pid) != 'Z' {
						t.Errorf("process %d lives", pid)
					}
				}
				remove(t, r, id)
				if tt.name != "closed" {
					if got := plain(wait(t, p)); got != signaled(syscall.SIGKILL) {
						t.Errorf("got %+v", got)
					}
				}
			})
		}
	})
}

func freezeContainer(t *testing.T, r *Runtime, p *process) {
	t.Helper()
	rc := r.cfg.Command
	if out, err := exec.Command(rc, "--root", r.cfg.Root, "pause", p.id).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestKillAllTakesChildrenOnTheHostsPids(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		other := start(t, r, "other", container{args: []string{"/bin/sleep", "1000"}})
		tree := "sh -c 'sleep 1000 & sleep 1000' & sleep 1000 & "
		p := startReady(t, r, "family", container{args: shell(tree + "echo ready; exec sleep 1000").args, hostPid: true})
		eventually(t, "four processes", func() bool {
			pids, err := p.cgroup.pids()
			return err == nil && len(pids) >= 4
		})
		if err := p.KillAll(); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, p); got != signaled(syscall.SIGKILL) {
			t.Errorf("got %+v", got)
		}
		eventually(t, "an empty cgroup", func() bool {
			pids, err := p.cgroup.pids()
			return err == nil && len(pids) == 0
		})
		if other.fd.ended() {
			t.Error("another container was killed")
		}
		if err := p.KillAll(); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestKillAllOfAnOldInstanceSparesTheNewOne(t *testing.T) {
	r := newRuntime(t, "runc")
	old := start(t, r, "again", shell("exit 0"))
	wait(t, old)
	remove(t, r, "again")
	p := start(t, r, "again", container{args: []string{"/bin/sleep", "1000"}})
	if err := old.KillAll(); err != nil {
		t.Fatal(err)
	}
	if p.fd.ended() {
		t.Error("the new instance was killed")
	}
}

func TestCgroupsThatMustNotBeKilled(t *testing.T) {
	r := newRuntime(t, "runc")
	if err := r.cgroup.at("/").kill(); err == nil {
		t.Error("killed the root cgroup")
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.cgroup.all {
		own := strings.TrimPrefix(h.own(string(self)), h.dir)
		if own == "" {
			continue // in the root
		}
		for _, dir := range []string{own, filepath.Dir(own)} {
			if err := r.cgroup.at(dir).kill(); err == nil {
				t.Errorf("killed %s, which holds the test itself", dir)
			}
		}
	}
}

func TestCgroupInUseIsNeitherTakenNorKilled(t *testing.T) {
	r := newRuntime(t, "runc")
	p := start(t, r, "owner", container{args: []string{"/bin/sleep", "1000"}})
	thief := container{args: []string{"/bin/sleep", "1000"}, cgroups: r.CgroupsPath("owner")}
	_, err := r.Run(soon(t), supervisor.RunRequest{ID: "thief", Bundle: thief.bundle(t, r, "thief")})
	if err == nil || !strings.Contains(err.Error(), "is in use by process "+strconv.Itoa(p.identity.Pid)) {
		t.Errorf("got %v", err)
	}
	remove(t, r, "thief")
	if p.fd.ended() {
		t.Error("the cgroup's owner was killed")
	}
}

func TestRemoveWithABrokenRuntime(t *testing.T) {
	runtimes := map[string]string{
		"fails":         "exit 1",
		"prints":        "echo '{]'; echo rubbish >&2; exit 1",
		"lies":          "exit 0",
		"kills itself":  "kill -KILL $$",
		"hangs":         "sleep 1000",
		"hangs as tree": "sh -c 'sleep 1000; :' & wait",
	}
	states := map[string]container{
		"dead":     shell("exit 0"),
		"running":  shell("exec sleep 1000"),
		"host pid": {args: shell("sleep 1000 & exec sleep 1000").args, hostPid: true},
	}
	r := newRuntime(t, "runc")
	r.limits.delete = 300 * time.Millisecond
	for name, body := range runtimes {
		for state, c := range states {
			t.Run(name+"/"+state, func(t *testing.T) {
				r.cfg.Command = "runc"
				p := start(t, r, "wedged", c)
				if state == "dead" {
					wait(t, p)
				}
				r.cfg.Command = script(t, body)
				remove(t, r, "wedged")
				if !p.fd.ended() {
					t.Error("its process lives")
				}
			})
		}
	}
	r.cfg.Command = "/nowhere/runc"
	t.Run("missing", func(t *testing.T) { remove(t, r, "wedged") })
}

func TestRemoveObeysItsContext(t *testing.T) {
	r := newRuntime(t, "runc")
	p := start(t, r, "late", shell("exit 0"))
	wait(t, p)
	pidFile := filepath.Join(t.TempDir(), "pid")
	r.cfg.Command = script(t, "echo $$ >"+pidFile+"; exec sleep 1000")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Remove(ctx, "late") }()
	eventually(t, "the call", func() bool { return readPid(pidFile) > 0 })
	cancel()
	if err := <-done; err == nil {
		t.Error("removed without a runtime, in spite of the end of its context")
	}
	if state := readableState(readPid(pidFile)); state != 'Z' {
		t.Errorf("the runtime's process is in state %c", state)
	}
}

func readPid(file string) int {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

// TestRemoveOfAStoppedContainerIsOneCall counts calls: a forced delete takes more than 100 ms.
func TestRemoveOfAStoppedContainerIsOneCall(t *testing.T) {
	calls := filepath.Join(t.TempDir(), "calls")
	r := newRuntime(t, script(t, `echo "$@" >>`+calls+`; exec runc "$@"`))
	p := start(t, r, "once", shell("exit 0"))
	wait(t, p)
	remove(t, r, "once")
	data, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], " run ") || !strings.HasSuffix(lines[1], " delete once") {
		t.Errorf("calls: %q", lines)
	}
}

func TestRemoveOfHalfMade(t *testing.T) {
	r := newRuntime(t, "runc")
	if err := os.Mkdir(r.stateDir("half"), 0o700); err != nil {
		t.Fatal(err)
	}
	if !r.Exists("half") {
		t.Error("does not exist")
	}
	remove(t, r, "half")
	if err := os.Mkdir(r.stateDir("torn"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.stateDir("torn"), "state.json"), []byte(`{"id":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	remove(t, r, "torn")
}

func TestUpdate(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := start(t, r, "grow", container{args: []string{"/bin/sleep", "1000"}, memory: 32 << 20})
		limit := int64(64 << 20)
		if err := r.Update(soon(t), "grow", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}); err != nil {
			t.Fatal(err)
		}
		got := memoryLimit(t, p)
		if got != "67108864" {
			t.Errorf("limit is %q", got)
		}
		endless := int64(-1)
		if err := r.Update(soon(t), "grow", &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &endless}}); err != nil {
			t.Errorf("taking the CPU limit away: %v", err)
		}
		if err := r.Update(soon(t), "nobody", &specs.LinuxResources{}); !isNotFound(err) {
			t.Errorf("update of what is not there: %v", err)
		}
	})
}

// memoryLimit reads that of the cgroup which the process is in: crun makes one below systemd's scope.
func memoryLimit(t *testing.T, p *process) string {
	t.Helper()
	self, err := os.ReadFile("/proc/" + strconv.Itoa(p.identity.Pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range p.cgroup.h.all {
		dir := h.own(string(self))
		for ; dir != "" && strings.Contains(dir, "runcsup"); dir = filepath.Dir(dir) {
			for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
				if data, err := os.ReadFile(filepath.Join(dir, file)); err == nil && strings.TrimSpace(string(data)) != "max" {
					return strings.TrimSpace(string(data))
				}
			}
		}
	}
	return ""
}
