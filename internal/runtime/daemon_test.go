package runtime

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// The test binary, executed again with this in its environment, is another daemon: it starts one container and obeys a
// line on stdin: "reap" waits for the container; at the end of stdin it ends without any cleaning up.
const daemonEnv = "RUNCSUP_TEST_DAEMON"

type daemonRequest struct {
	Config Config
	ID     string
	Bundle string
}

func otherDaemon() int {
	fail := func(err error) int {
		fmt.Println("error:", err)
		return 1
	}
	var req daemonRequest
	if err := json.Unmarshal([]byte(os.Getenv(daemonEnv)), &req); err != nil {
		return fail(err)
	}
	if err := BecomeSubreaper(); err != nil {
		return fail(err)
	}
	r, err := New(req.Config)
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := r.Run(ctx, supervisor.RunRequest{ID: req.ID, Bundle: req.Bundle})
	if err != nil {
		return fail(err)
	}
	id, err := json.Marshal(p.Identity())
	if err != nil {
		return fail(err)
	}
	fmt.Println(string(id))
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if in.Text() == "reap" {
			st, err := p.Wait(ctx)
			fmt.Println(st, err)
		}
	}
	return 0
}

// daemon is a running otherDaemon.
type daemon struct {
	in       io.WriteCloser
	out      *bufio.Scanner
	identity supervisor.Identity
	cmd      *exec.Cmd
}

// startElsewhere starts a container from another process that stays its parent.
func startElsewhere(t *testing.T, r *Runtime, id string, c container) *daemon {
	t.Helper()
	cfg := r.cfg
	cfg.Log = nil
	req, err := json.Marshal(daemonRequest{Config: cfg, ID: id, Bundle: c.bundle(t, r, id)})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), daemonEnv+"="+string(req))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &daemon{in: in, out: bufio.NewScanner(out), cmd: cmd}
	t.Cleanup(func() { d.kill(t) })
	line := d.line(t)
	if err := json.Unmarshal([]byte(line), &d.identity); err != nil {
		t.Fatalf("the other daemon says %q", line)
	}
	return d
}

func (d *daemon) line(t *testing.T) string {
	t.Helper()
	if !d.out.Scan() {
		t.Fatalf("the other daemon ended: %v", d.out.Err())
	}
	return strings.TrimSpace(d.out.Text())
}

func (d *daemon) reap(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(d.in, "reap\n"); err != nil {
		t.Fatal(err)
	}
	d.line(t)
}

// kill ends it as a crash would.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	if d.cmd.ProcessState != nil {
		return
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = d.cmd.Wait() // says that it was killed
}
