package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A container writes numbered lines as fast as it can, on both streams, while the daemon is killed fifty times. Every line is
// there, once and whole, over more than twenty rotations, for who reads the files, asks for all, and follows.
func TestLogsOverKills(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	// The container's writer ends when there is a file /stop, and says how many lines there were.
	const script = `awk 'BEGIN { while (1) { for (k = 0; k < 1000; k++) print ++i; print i > "/dev/stderr"; ` +
		`if ((getline line < "/stop") > 0) break; close("/stop") } }'; echo end; idle`
	n.define("writer", "command: [sh, -c, '"+strings.ReplaceAll(script, "'", "''")+"']\nlog: {maxSize: 1MiB, maxFiles: 1000}\n")
	n.start()
	pid := n.waitState("writer", "running").Pid
	followed, endFollow := followLogs(n, "--stream", "stdout", "writer")
	defer endFollow()
	// Without a daemon it would not begin.
	eventually(t, patience, "who follows has begun", func() error {
		if readFile(n, followed) == "" {
			return errors.New("nothing printed")
		}
		return nil
	})
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range 50 {
		goal := logSize(n, "writer") + random.Int64N(200<<10)
		eventually(t, patience, "the log grows", func() error {
			if size := logSize(n, "writer"); size <= goal {
				return fmt.Errorf("it has %d bytes, and is to have %d", size, goal)
			}
			return nil
		})
		n.kill()
		n.start()
	}
	writeFile(t, filepath.Join(n.rootfs, "stop"), "now\n")
	n.waitOutput("writer", `(?m)^end$`)
	if c := n.get("writer"); c.Pid != pid {
		t.Fatalf("it was restarted: %s", c.brief())
	}
	rotated, err := filepath.Glob(filepath.Join(n.logs, "writer.log.0*"))
	check(t, err)
	if len(rotated) < 20 {
		t.Errorf("only %d rotations", len(rotated))
	}
	count := numbered(n, n.must("logs", "--stream", "stdout", "writer"), 1)
	t.Logf("%d lines, %d rotations", count, len(rotated))
	r := n.runcsup("logs", "--stream", "stderr", "writer")
	if r.code != 0 || r.stdout != "" {
		t.Errorf("logs --stream stderr: code %d, %q", r.code, r.stdout)
	}
	if got := numbered(n, r.stderr+"end\n", 1000); got != count/1000 {
		t.Errorf("%d lines of stderr, want %d", got, count/1000)
	}
	eventually(t, patience, "who follows has all", func() error {
		if text := readFile(n, followed); !strings.HasSuffix(text, "\nend\n") {
			return fmt.Errorf("it ends in %q", text[max(0, len(text)-40):])
		}
		return nil
	})
	if got := numbered(n, readFile(n, followed), 1); got != count {
		t.Errorf("who follows has %d lines, want %d", got, count)
	}
	n.stop()
	// What is left for who reads without a daemon, compressed or not.
	if got := numbered(n, n.must("logs", "--log-dir", n.logs, "--stream", "stdout", "writer"), 1); got != count {
		t.Errorf("%d lines in the files, want %d", got, count)
	}
	if half, _ := filepath.Glob(filepath.Join(n.logs, "*.tmp")); len(half) != 0 {
		t.Errorf("left over: %v", half)
	}
}

// followLogs begins `runcsup logs -f`, and returns the file with what it prints. end ends it.
func followLogs(n *node, args ...string) (file string, end func()) {
	n.Helper()
	file = filepath.Join(n.dir, "followed")
	out, err := os.Create(file)
	check(n, err)
	cmd := exec.Command(binary, append([]string{"logs", "-f"}, args...)...)
	cmd.Env = append(cleanEnv(), "RUNCSUP_SOCKET="+n.socket)
	said := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = out, said
	check(n, cmd.Start())
	return file, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
		if n.Failed() {
			n.Logf("logs -f said: %s", said)
		}
	}
}

// numbered fails the test unless the lines of a text are step, 2*step and so on, and then "end". It returns the last number
// divided by step.
func numbered(n *node, text string, step int) int {
	n.Helper()
	count := 0
	for line := range strings.Lines(text) {
		if line == "end\n" {
			return count
		}
		count++
		if line != fmt.Sprintf("%d\n", count*step) {
			n.Fatalf("line %d is %.60q", count, line)
		}
	}
	n.Fatalf("there is no end after %d lines", count)
	return 0
}

// logSize is how much there is of a container's log, as far as it is not compressed, and a little more for what is.
func logSize(n *node, name string) (size int64) {
	n.Helper()
	files, err := filepath.Glob(filepath.Join(n.logs, name+".log*"))
	check(n, err)
	for _, file := range files {
		if strings.HasSuffix(file, ".gz") || strings.HasSuffix(file, ".tmp") {
			continue
		}
		if info, err := os.Stat(file); err == nil {
			size += info.Size()
		}
	}
	return size + int64(len(files))<<20
}
