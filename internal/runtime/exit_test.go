package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

func TestExitStatusIsWhatTheKernelSaid(t *testing.T) {
	oom := signaled(syscall.SIGKILL)
	oom.OOMKilled = true
	const eat = "dd if=/dev/zero of=/dev/null bs=100M count=1"
	tests := []struct {
		name string
		c    container
		kill syscall.Signal // sent when the container has said that it is ready
		want supervisor.ExitStatus
		// needsLog is for what only the kernel's log can tell.
		needsLog bool
	}{
		{name: "0", c: shell("exit 0"), want: exited(0)},
		{name: "3", c: shell("exit 3"), want: exited(3)},
		{name: "137 by itself", c: shell("exit 137"), want: exited(137)},
		{name: "instant", c: container{args: []string{"/bin/true"}}, want: exited(0)},
		{name: "SEGV", c: container{args: shell("kill -SEGV $$").args, hostPid: true}, want: signaled(syscall.SIGSEGV)},
		{name: "TERM", c: container{args: shell("kill -TERM $$").args, hostPid: true}, want: signaled(syscall.SIGTERM)},
		{name: "KILL", c: shell("echo ready; exec sleep 1000"), kill: syscall.SIGKILL, want: signaled(syscall.SIGKILL)},
		{name: "TERM handled", c: shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"), kill: syscall.SIGTERM, want: exited(7)},
		{name: "OOM", c: container{args: shell("exec " + eat).args, memory: 16 << 20}, want: oom},
		{
			name: "OOM of a child, then an exit", want: exited(137),
			c: container{args: shell("( exec " + eat + " ); exit $?").args, memory: 16 << 20},
		},
		{
			name: "OOM of a child, then SIGKILL", kill: syscall.SIGKILL, want: signaled(syscall.SIGKILL),
			c: container{args: shell("( exec " + eat + " ); echo ready; exec sleep 1000").args, memory: 16 << 20},
		},
		{
			name: "OOM of a child, then SIGKILL from elsewhere", want: signaled(syscall.SIGKILL), needsLog: true,
			c: container{args: shell("( exec " + eat + " ); kill -KILL $$").args, memory: 16 << 20, hostPid: true},
		},
		{
			name: "SIGKILL with a memory limit", kill: syscall.SIGKILL, want: signaled(syscall.SIGKILL),
			c: container{args: shell("echo ready; exec sleep 1000").args, memory: 16 << 20},
		},
	}
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		for i, tt := range tests {
			if tt.needsLog && !r.initialPids {
				continue // a machine inside a machine does not see the pids that the kernel logs
			}
			t.Run(tt.name, func(t *testing.T) {
				id := fmt.Sprintf("c%d", i)
				var p *process
				if tt.kill != 0 {
					p = startReady(t, r, id, tt.c)
					if err := p.Signal(tt.kill); err != nil {
						t.Fatal(err)
					}
				} else {
					p = start(t, r, id, tt.c)
				}
				got := plain(wait(t, p))
				if tt.want.OOMKilled && fl.systemd && !r.initialPids {
					got.OOMKilled = true // cannot be told for certain in a machine inside a machine
				}
				if got != tt.want {
					t.Errorf("got %+v (%#x), want %+v", got, uint32(got.Wait), tt.want)
				}
				if err := p.Signal(syscall.SIGTERM); err != nil {
					t.Errorf("signal after the end: %v", err)
				}
				remove(t, r, id)
				if again, err := p.Wait(context.Background()); err != nil || again.Wait != p.status.Wait {
					t.Errorf("after removal: %+v %v", again, err)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func TestInstantExitsAreNeverLost(t *testing.T) {
	r := newRuntime(t, "runc")
	for i := range 20 {
		p := start(t, r, "fast", shell(fmt.Sprintf("exit %d", i)))
		if got := wait(t, p); got != exited(i) {
			t.Fatalf("run %d: got %+v", i, got)
		}
		remove(t, r, "fast")
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIdentity(t *testing.T) {
	r := newRuntime(t, "runc")
	before := time.Now()
	p := start(t, r, "who", container{args: []string{"/bin/sleep", "1000"}})
	id := p.Identity()
	st, err := readStat(id.Pid)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	if want := (supervisor.Identity{BootID: boot, Pid: id.Pid, StartTime: st.start}); id != want {
		t.Errorf("got %+v, want %+v", id, want)
	}
	if len(id.BootID) != 36 {
		t.Errorf("boot id %q is no UUID", id.BootID)
	}
	// A clock tick is 10 ms.
	if at := p.StartedAt(); at.Before(before.Add(-20*time.Millisecond)) || at.After(time.Now()) {
		t.Errorf("started at %v, which is not between %v and now", at, before)
	}
}

// TestStatusWhereSomebodyElseIsTheParent adopts from a daemon that lives on as the parent, which is how it is with systemd in its place.
func TestStatusWhereSomebodyElseIsTheParent(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		d := startElsewhere(t, r, "far", shell("trap 'exit 42' TERM; while :; do sleep 0.05; done"))
		p, err := r.Find(soon(t), "far", nil)
		if err != nil {
			t.Fatal(err)
		}
		if p.Identity() != d.identity {
			t.Fatalf("found %+v, want %+v", p.Identity(), d.identity)
		}
		// The shell may not have set its trap yet, and as init it ignores the signal until then.
		eventually(t, "the end of the container", func() bool {
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			return p.(*process).fd.ended()
		})
		want := supervisor.ExitStatus{} // unknown, on kernels before 6.15
		if kernelTellsStrangers(t) {
			want = exited(42)
			// Nobody has reaped it yet: not even this is a reason to make something up.
			short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if st, err := p.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("before the parent reaped it: %+v, %v", st, err)
			}
		}
		d.reap(t)
		if got := wait(t, p); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		remove(t, r, "far")
	})
}

// kernelTellsStrangers says whether a pidfd gives the status of a process that another one has reaped.
func kernelTellsStrangers(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("/bin/true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := openPidfd(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fd.close() }()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	_, known := fd.exitInfo()
	return known == exitKnown
}

func TestStatusIsUnknownWhenTheParentNeverReaps(t *testing.T) {
	r := newRuntime(t, "runc")
	r.limits.status = 100 * time.Millisecond
	startElsewhere(t, r, "zombie", container{args: []string{"/bin/sleep", "1000"}})
	p, err := r.Find(soon(t), "zombie", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.KillAll(); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, p); got != (supervisor.ExitStatus{}) {
		t.Errorf("got %+v", got)
	}
	remove(t, r, "zombie")
}

func TestStatusAfterTheParentDied(t *testing.T) {
	r := newRuntime(t, "runc")
	d := startElsewhere(t, r, "orphan", container{args: []string{"/bin/sleep", "1000"}})
	p, err := r.Find(soon(t), "orphan", &d.identity)
	if err != nil {
		t.Fatal(err)
	}
	d.kill(t) // now the container is a child of the nearest subreaper, which is the test
	if err := p.KillAll(); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, p); got != signaled(syscall.SIGKILL) {
		t.Errorf("got %+v", got)
	}
	remove(t, r, "orphan")
}

func TestConcurrentWaits(t *testing.T) {
	r := newRuntime(t, "runc")
	p := start(t, r, "waited", container{args: []string{"/bin/sleep", "1000"}})
	var wg, impatient sync.WaitGroup
	for i := range 20 {
		if i%2 == 0 { // these give up, one after the other, and each hands the watch on
			impatient.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
				defer cancel()
				if st, err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %+v, %v", st, err)
				}
			})
			continue
		}
		wg.Go(func() {
			if st, err := p.Wait(context.Background()); err != nil || withoutPeak(st) != signaled(syscall.SIGKILL) {
				t.Errorf("got %+v, %v", st, err)
			}
		})
	}
	impatient.Wait()
	if err := p.KillAll(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestCloseEndsWait(t *testing.T) {
	r := newRuntime(t, "runc")
	p := start(t, r, "closed", container{args: []string{"/bin/sleep", "1000"}})
	done := make(chan error, 3)
	for range cap(done) {
		go func() {
			_, err := p.Wait(context.Background())
			done <- err
		}()
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(done) {
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if err := p.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := p.KillAll(); err != nil || readableState(p.identity.Pid) == 'Z' {
		t.Errorf("a closed Process killed its container: %v", err)
	}
	if _, err := p.Wait(context.Background()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
}

func readableState(pid int) byte {
	st, err := readStat(pid)
	if err != nil {
		return 'Z'
	}
	return st.state
}

func TestWaitingTakesNoThreads(t *testing.T) {
	r := newRuntime(t, "runc")
	const n = 100
	procs := make([]*process, n)
	for i := range procs {
		cmd := exec.Command("/bin/sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fd, st, err := openProcess(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		procs[i] = r.watch(fmt.Sprintf("w%d", i), r.cgroup.at("/none"), cmd.Process.Pid, fd, st, 0)
		if err := cmd.Process.Release(); err != nil { // it is the Process that waits
			t.Fatal(err)
		}
	}
	before := threads(t)
	var wg sync.WaitGroup
	var parked sync.WaitGroup
	for _, p := range procs {
		parked.Add(1)
		wg.Go(func() {
			parked.Done()
			if st, err := p.Wait(context.Background()); err != nil || withoutPeak(st) != signaled(syscall.SIGTERM) {
				t.Errorf("got %+v, %v", st, err)
			}
		})
	}
	parked.Wait()
	if after := threads(t); after > before+5 {
		t.Errorf("%d threads before, %d with %d waits", before, after, n)
	}
	for _, p := range procs {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	for _, p := range procs {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}
