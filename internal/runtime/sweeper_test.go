package runtime

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func startSweeper(t *testing.T, r *Runtime, age time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewSweeper(r, age).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// stray leaves a process behind that becomes a child of the test and then ends, and returns its pid.
func stray(t *testing.T) int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pid")
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "( read x <&3; exit 1 ) & echo $! >"+file)
	cmd.ExtraFiles = []*os.File{rd}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	_ = rd.Close()
	_ = wr.Close() // now it ends
	return readPid(file)
}

func TestSweeperReapsStrangers(t *testing.T) {
	r := newRuntime(t, "runc")
	startSweeper(t, r, 20*time.Millisecond)
	for range 3 {
		pid := stray(t)
		eventually(t, "the zombie's end", func() bool {
			_, err := readStat(pid)
			return err != nil
		})
	}
}

func TestSweeperLeavesContainersAlone(t *testing.T) {
	r := newRuntime(t, "runc")
	startSweeper(t, r, 5*time.Millisecond)
	p := start(t, r, "mine", shell("exit 11"))
	eventually(t, "the container's end", p.fd.ended)
	pid := stray(t)
	eventually(t, "the stranger's end", func() bool {
		_, err := readStat(pid)
		return err != nil
	})
	if st, err := readStat(p.identity.Pid); err != nil || st.state != 'Z' {
		t.Fatalf("the container is %c, %v", st.state, err)
	}
	if got := wait(t, p); got != exited(11) {
		t.Errorf("got %+v", got)
	}
}

func TestSweeperWaitsForCallsUnderWay(t *testing.T) {
	r := newRuntime(t, "runc")
	s := NewSweeper(r, 0)
	end := r.begin()
	pid := stray(t)
	eventually(t, "a zombie", func() bool { return readableState(pid) == 'Z' })
	now := time.Now()
	for range 3 { // the call may be a Run, and this its container
		now = now.Add(time.Hour)
		if again, err := s.look(now); err != nil || !again {
			t.Errorf("got %v, %v", again, err)
		}
	}
	if _, err := readStat(pid); err != nil {
		t.Fatal("reaped during a call")
	}
	end()
	defer r.begin()() // a later one is none of its business
	if _, err := s.look(now.Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := readStat(pid); err == nil {
		t.Error("not reaped after the call")
	}
}

func TestSweeperTakesNoStatusFromOthers(t *testing.T) {
	r := newRuntime(t, "runc")
	startSweeper(t, r, time.Second)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				var exit *exec.ExitError
				if err := exec.Command("/bin/sh", "-c", "exit 3").Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	wg.Wait()
}
