package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
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
	m := newTmux(t, n.dir, 80, 24, []string{"RUNCSUP_SOCKET=" + n.socket, "RUNCSUP=" + binary}, `exec "$RUNCSUP" top -d 500ms`)
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
	eventually(t, patience, "top has ended well", func() error {
		if dead := strings.TrimSpace(m.do("display-message", "-p", "#{pane_dead} #{pane_dead_status}")); dead != "1 0" {
			return fmt.Errorf("tmux says %q, and the screen is\n%s", dead, m.do("capture-pane", "-p"))
		}
		return nil
	})
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
