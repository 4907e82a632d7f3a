package e2e

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// execIn prepares `runcsup exec ARGS…` of the node.
func (n *node) execIn(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"--socket", n.socket, "exec"}, args...)...)
	cmd.Env = cleanEnv()
	return cmd
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

func TestExec(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("box", "command: [idle]\nenv: {GREETING: hello}\nresources: {pids: 100}")
	n.define("off", "command: [idle]\nenabled: false")
	n.start()
	pid := n.waitState("box", "running").Pid

	for _, tt := range []struct {
		args   []string
		code   int
		stdout string
		stderr string // a part
	}{
		{args: []string{"box", "sh", "-c", "echo $GREETING; echo oops >&2; exit 7"}, code: 7, stdout: "hello\n", stderr: "oops\n"},
		{args: []string{"box", "sh", "-c", "kill -KILL $$"}, code: 137},
		{args: []string{"-w", "/tmp", "-e", "A=b", "box", "sh", "-c", "pwd; echo $A"}, stdout: "/tmp\nb\n"},
		{args: []string{"-u", "12:13", "box", "sh", "-c", "id -u; id -g"}, stdout: "12\n13\n"},
		{args: []string{"box", "sh", "-c", "echo $NOTIFY_SOCKET; grep NoNewPrivs: /proc/self/status; grep Seccomp: /proc/self/status"},
			stdout: "\nNoNewPrivs:\t1\nSeccomp:\t2\n"},
		{args: []string{"box", "/no/such"}, code: 127, stderr: "command not found"},
		{args: []string{"box", "/etc"}, code: 126, stderr: "cannot be executed"},
		{args: []string{"off", "true"}, code: 3, stderr: "not running"},
		{args: []string{"none", "true"}, code: 4, stderr: "no such container"},
	} {
		cmd := n.execIn(tt.args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if code := exitCode(cmd.Run()); code != tt.code || stdout.String() != tt.stdout || !strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("%v: got %d %q %q, want %d %q %q", tt.args, code, &stdout, &stderr, tt.code, tt.stdout, tt.stderr)
		}
	}
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	check(t, err)
	out, err := n.execIn("box", "cat", "/proc/self/cgroup").Output()
	check(t, err)
	if string(out) != string(own) {
		t.Errorf("its cgroup is\n%sand that of the container\n%s", out, own)
	}

	// Both ways, byte by byte, and twenty at once.
	data := make([]byte, 4<<20)
	_, _ = rand.Read(data)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			cmd := n.execIn("-i", "box", "sh", "-c", fmt.Sprintf("cat; exit %d", i))
			size := len(data) / (1 + i*20)
			cmd.Stdin = bytes.NewReader(data[:size])
			out, err := cmd.Output()
			if code := exitCode(err); code != i || !bytes.Equal(out, data[:size]) {
				t.Errorf("%d: code %d, %d of %d bytes, %v", i, code, len(out), size, err)
			}
		})
	}
	all.Wait()
	if pids := processesIn(n, "box"); len(pids) > 2 {
		t.Errorf("left in the container: %v", pids)
	}
	begin := time.Now()
	n.must("stop", "box")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the container took %s to stop", took)
	}
}

// A session goes on when the daemon is killed, ends with its container, and hangs up when its client is killed.
func TestExecSessions(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("box", "command: [idle]")
	n.start()
	n.waitState("box", "running")
	begin := func(args ...string) (*exec.Cmd, io.Writer, io.Reader) {
		cmd := n.execIn(args...)
		in, err := cmd.StdinPipe()
		check(t, err)
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		t.Cleanup(func() {
			if cmd.ProcessState == nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		})
		ready := make([]byte, len("ready\n"))
		_, err = io.ReadFull(out, ready)
		check(t, err)
		return cmd, in, out
	}
	wait := func(cmd *exec.Cmd, what string, want int) {
		t.Helper()
		if code := exitCode(cmd.Wait()); code != want {
			t.Errorf("%s: exit code %d, want %d", what, code, want)
		}
	}

	cmd, _, _ := begin("box", "sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done")
	check(t, cmd.Process.Signal(unix.SIGUSR1))
	wait(cmd, "USR1", 9)
	cmd, _, _ = begin("box", "sh", "-c", "echo ready; sleep 1234567")
	check(t, cmd.Process.Signal(unix.SIGINT))
	wait(cmd, "INT", 130)
	cmd, _, _ = begin("box", "sh", "-c", "echo ready; exec sleep 1234567")
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventually(t, patience, "the command hears that its client is gone", func() error {
		if out, _ := n.execIn("box", "ps").Output(); bytes.Contains(out, []byte("1234567")) {
			return fmt.Errorf("it runs:\n%s", out)
		}
		return nil
	})

	cmd, in, out := begin("-i", "box", "sh", "-c", "echo ready; read x; echo got $x; exit 8")
	n.kill()
	_, err := io.WriteString(in, "it\n")
	check(t, err)
	text, err := io.ReadAll(out)
	check(t, err)
	if string(text) != "got it\n" {
		t.Errorf("after the daemon's death: %q", text)
	}
	want := 8
	if !kernelTellsExits(t) {
		want = 5
	}
	wait(cmd, "after the daemon's death", want)

	n.start()
	cmd, in, _ = begin("-i", "box", "sh", "-c", "echo ready; read x; exit 10")
	n.must("reexec")
	_, err = io.WriteString(in, "on\n")
	check(t, err)
	if want = 10; !kernelTellsExits(t) {
		want = 5
	}
	wait(cmd, "after reexec", want)
	cmd, _, _ = begin("box", "sh", "-c", "trap '' TERM HUP INT; echo ready; while :; do sleep 1; done")
	n.must("stop", "box")
	wait(cmd, "container stopped", 137)
}

// As somebody at a terminal has it.
func TestExecTerminal(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("box", "command: [idle]")
	n.start()
	n.waitState("box", "running")

	master, side := openTerminal(t, 31, 91)
	before, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
	check(t, err)
	cmd := n.execIn("-e", "PS1=$ ", "box", "sh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = side, side, side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	screen := &screen{t: t, rd: master}
	go screen.read()
	screen.wait(`\$ `)
	screen.write("readlink /proc/self/fd/0; echo size $(stty size)\r")
	screen.wait(`/dev/pts/0[^$]*\nsize 31 91`)
	check(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100})) // sends SIGWINCH
	screen.write("while [ \"$(stty size)\" != '40 100' ]; do :; done; echo resized\r")
	screen.wait(`\nresized`)
	screen.write("echo be''gun; sleep 1000000\r")
	screen.wait(`\nbegun`)
	screen.write("\x03")
	screen.wait(`\$ `)
	screen.write("echo code $?\r")
	screen.wait(`\ncode 130`)
	screen.write("exit 9\r")
	if code := exitCode(cmd.Wait()); code != 9 {
		t.Errorf("exit code %d", code)
	}
	after, err := unix.IoctlGetTermios(int(side.Fd()), unix.TCGETS)
	check(t, err)
	if *after != *before {
		t.Errorf("the terminal is left as %+v, it was %+v", after, before)
	}
	_ = side.Close()
}

func openTerminal(t *testing.T, rows, columns uint16) (master, side *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(t, err)
	check(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}))
	side, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	check(t, err)
	return master, side
}

// screen is what came from a terminal.
type screen struct {
	t    *testing.T
	rd   *os.File
	mu   sync.Mutex
	text []byte
}

func (s *screen) read() {
	buf := make([]byte, 4096)
	for {
		n, err := s.rd.Read(buf)
		s.mu.Lock()
		s.text = append(s.text, buf[:n]...)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) write(text string) {
	s.t.Helper()
	_, err := io.WriteString(s.rd, text)
	check(s.t, err)
}

// wait waits for what matches, and forgets it and all before.
func (s *screen) wait(expression string) {
	s.t.Helper()
	re := regexp.MustCompile(expression)
	eventually(s.t, patience, "the terminal shows "+expression, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		at := re.FindIndex(s.text)
		if at == nil {
			return fmt.Errorf("it shows %q", s.text)
		}
		s.text = s.text[at[1]:]
		return nil
	})
}
