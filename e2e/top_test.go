package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// tmux is a terminal of a size, with a server of its own.
type tmux struct {
	testing.TB
	socket string
}

func newTmux(t testing.TB, dir string, width, height int, env []string, command ...string) *tmux {
	t.Helper()
	m := &tmux{TB: t, socket: filepath.Join(dir, "tmux")}
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height)}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	m.do(append(args, command...)...)
	t.Cleanup(func() { _ = m.command("kill-server").Run() }) // it may have ended with its only program
	m.do("set", "-g", "remain-on-exit", "on")
	m.do("set", "-g", "status", "off")
	return m
}

func (m *tmux) command(args ...string) *exec.Cmd {
	c := exec.Command("tmux", append([]string{"-S", m.socket}, args...)...)
	c.Env = append(cleanEnv(), "LC_ALL=C.UTF-8", "TMUX=")
	return c
}

func (m *tmux) do(args ...string) string {
	m.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		m.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// shows waits until all of these are on the screen.
func (m *tmux) shows(texts ...string) string {
	m.Helper()
	var screen string
	eventually(m, patience, fmt.Sprintf("%q are on the screen", texts), func() error {
		screen = m.do("capture-pane", "-p")
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return fmt.Errorf("no %q on\n%s", text, screen)
			}
		}
		return nil
	})
	return screen
}

// top in a terminal: the table, another size, one container with what happened to it, and away again without a trace.
func TestTopInATerminal(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("web", "command: [idle]\nresources: {memory: 64MiB}\nhealth: {liveness: {exec: [\"true\"], period: 1s}}")
	n.define("crash", "command: [sh, -c, exit 3]\nrestart: {delay: 90m, maxDelay: 90m, jitter: 0%}")
	n.start()
	n.waitState("web", "running")
	n.waitState("crash", "backoff")
	m := newTmux(t, n.dir, 80, 24, []string{"RUNCSUP_SOCKET=" + n.socket, "RUNCSUP=" + binary}, `"$RUNCSUP" top -d 500ms; echo "code $?"; exec sleep 1000`)
	m.shows("2 containers: 1 running, 1 backoff", "NAME▼", "MEM/LIMIT", "/64.0M", "healthy", "in 1h", "q quit")
	m.do("resize-window", "-x", "200", "-y", "50")
	m.shows("LAST EXIT", "exited 3", "THROTTLED%")
	m.do("send-keys", "s")
	m.shows("STATE▼")
	m.do("send-keys", "Home", "Enter")
	m.shows("crash  backoff", "esc back", "Events", "exited 3", "restart: policy always")
	m.do("send-keys", "Down")
	m.shows("web  running", "Memory", "of the limit, 64.0M", "liveness (exec): succeeded")
	m.do("resize-window", "-x", "80", "-y", "24")
	m.do("send-keys", "Escape")
	m.shows("2 containers", "NAME")
	// The daemon goes and comes back under it.
	n.kill()
	m.shows("no daemon listens on")
	n.start()
	eventually(t, patience, "the trouble is over", func() error {
		if screen := m.do("capture-pane", "-p"); strings.Contains(screen, "no daemon listens") || !strings.Contains(screen, "2 containers") {
			return fmt.Errorf("%s", screen)
		}
		return nil
	})
	m.do("send-keys", "q")
	m.shows("code 0")
	if screen := m.do("capture-pane", "-p"); strings.Contains(screen, "MEM/LIMIT") {
		t.Errorf("the table is left:\n%s", screen)
	}
}

// --once prints it for files and scripts.
func TestTopOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("busy", "command: [sh, -c, \"while :; do :; done\"]\nresources: {cpus: 0.2}")
	n.start()
	n.waitState("busy", "running")
	var rows []struct {
		Name       string
		CPUPercent *float64
		Usage      *struct {
			Memory struct{ WorkingSetBytes uint64 }
		}
	}
	// On a machine with work of its own it gets less than its limit.
	eventually(t, patience, "its CPU time is seen", func() error {
		n.mustJSON(&rows, "top", "--once", "-o", "json")
		if len(rows) != 1 || rows[0].CPUPercent == nil || rows[0].Usage == nil || rows[0].Usage.Memory.WorkingSetBytes == 0 {
			return fmt.Errorf("%+v", rows)
		}
		if p := *rows[0].CPUPercent; p < 1 || p > 60 {
			return fmt.Errorf("%v%% with a limit of 20%%", p)
		}
		return nil
	})
	if out := n.must("top", "--once"); !strings.HasPrefix(out, "NAME ") || !strings.Contains(out, "\nbusy ") || strings.Contains(out, "\x1b") {
		t.Error(out)
	}
	if r := n.runcsup("top"); r.code != 2 || !strings.Contains(r.stderr, "--once") {
		t.Errorf("without a terminal: %d %s", r.code, r.stderr)
	}
}

// Terminals of other sorts: one that cannot be used, one without colors, and one that goes away, as with a connection that is
// lost, under a top that ignores the hang-up.
func TestTopInOtherTerminals(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("web", "command: [idle]")
	n.define("other", "command: [idle]")
	n.start()
	n.waitState("web", "running")
	open := func(t *testing.T, script string) *tmux {
		return newTmux(t, t.TempDir(), 80, 24, []string{"RUNCSUP_SOCKET=" + n.socket, "RUNCSUP=" + binary}, script)
	}
	t.Run("dumb", func(t *testing.T) {
		m := open(t, `TERM=dumb "$RUNCSUP" top; echo "code $?"; exec sleep 1000`)
		m.shows("cannot use the terminal: terminal not cursor addressable", "--once", "code 1")
	})
	t.Run("vt100", func(t *testing.T) {
		m := open(t, `TERM=vt100 exec "$RUNCSUP" top -d 500ms`)
		m.shows("2 containers: 2 running")
		m.do("send-keys", "s")
		m.shows("STATE▼")
		m.do("send-keys", "Home", "Down", "Enter")
		m.shows("web  running", "esc back")
		m.do("send-keys", "Escape")
		m.shows("STATE▼")
		// Without colors what runs must not stand out: only the heading and the selection are in reverse.
		screen := m.do("capture-pane", "-p", "-e")
		if i := strings.Index(screen, "other"); i < 0 || strings.Contains(strings.SplitN(screen[i:], "\n", 2)[0], "7m") {
			t.Errorf("%q", screen)
		}
	})
	t.Run("gone", func(t *testing.T) {
		m := open(t, `trap "" HUP; exec "$RUNCSUP" top -d 500ms`)
		m.shows("2 containers: 2 running")
		pid, err := strconv.Atoi(strings.TrimSpace(m.do("display-message", "-p", "#{pane_pid}")))
		check(t, err)
		m.do("kill-server")
		eventually(t, patience, "top has ended", func() error {
			if alive(pid) {
				return fmt.Errorf("process %d is there", pid)
			}
			return nil
		})
	})
}
