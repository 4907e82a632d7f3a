package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// happening is an entry of a history.
type happening struct {
	ID              int64      `json:"id"`
	At              time.Time  `json:"at"`
	Container       string     `json:"container"`
	Type            string     `json:"type"`
	Cause           string     `json:"cause"`
	Action          string     `json:"action"`
	Why             string     `json:"why"`
	Pid             int        `json:"pid"`
	Exit            *exit      `json:"exit"`
	RanSeconds      float64    `json:"ranSeconds"`
	MemoryPeakBytes uint64     `json:"memoryPeakBytes"`
	NextStartAt     *time.Time `json:"nextStartAt"`
	Error           string     `json:"error"`
	BootID          string     `json:"bootId"`
}

// history is what `history -o json` prints of a container.
func (n *node) history(name string) (all []happening) {
	n.Helper()
	n.mustJSON(&all, "history", name, "-n", "1000")
	return all
}

// types are the types of what happened, in order.
func types(all []happening) (out []string) {
	for _, h := range all {
		out = append(out, h.Type)
	}
	return out
}

// waitHistory waits until the history of a container ends with these types, errors aside.
func (n *node) waitHistory(name string, want ...string) (all []happening) {
	n.Helper()
	eventually(n, patience, fmt.Sprintf("the history of %s ends with %v", name, want), func() error {
		all = n.history(name)
		got := slices.DeleteFunc(types(all), func(t string) bool { return t == "error" })
		if len(got) < len(want) || !slices.Equal(got[len(got)-len(want):], want) {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
	return all
}

// A container's life on one screen: with everything that can happen to it, each with its reason.
func TestHistoryTellsWhy(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const text = "command: [idle, '3']\nstop: {timeout: 60s}\nrestart: {policy: on-failure, delay: 300ms, steps: 0, jitter: 0%}\n"
	n.define("web", text)
	n.define("oom", "command: [dd, if=/dev/zero, of=/dev/null, bs=100M]\nresources: {memory: 16MiB}\nrestart: no\n")
	n.define("stubborn", "command: [sleep, '1000000']\nstop: {timeout: 500ms}\n")
	n.start()
	n.waitListening("web")

	check(t, syscall.Kill(n.get("web").Pid, syscall.SIGUSR1)) // it exits with 3
	n.waitHistory("web", "exited", "restart", "started")
	n.waitListening("web")
	n.must("stop", "web")
	n.must("start", "web")
	n.waitListening("web")
	n.must("kill", "-s", "CONT", "web")
	n.kill()
	n.start()
	n.waitHistory("web", "adopted")
	n.define("web", strings.Replace(text, "'3'", "'4'", 1))
	n.reload("web")
	n.waitHistory("web", "stopped", "started")
	n.defineRaw("web", "comand: x\n")
	n.reload("web")
	n.define("web", strings.Replace(text, "'3'", "'4'", 1))
	n.reload("web")
	n.waitListening("web")
	n.must("disable", "web")
	check(t, syscall.Kill(n.get("web").Pid, syscall.SIGTERM)) // it exits with 0
	n.waitHistory("web", "no-restart")
	n.must("stop", "stubborn")
	n.waitHistory("oom", "exited", "no-restart")

	want := `TIME  WHAT  RAN  MEMORY PEAK  NEXT START  WHY
TIME  boot  -  -  -  boot id ID
TIME  started  -  -  -  new definition
TIME  exited 3  RAN  SIZE  NEXT  restart: policy on-failure, after an unclean exit (code 3)
TIME  started  -  -  -  by its restart policy
TIME  stopped  RAN  SIZE  -  by hand (root)
TIME  started  -  -  -  by hand (root)
TIME  signal  -  -  -  by hand (root); SIGCONT
TIME  adopted  RAN  -  -  taken over from an earlier daemon
TIME  definition restarted  -  -  -  command changed
TIME  stopped  RAN  SIZE  -  new definition
TIME  started  -  -  -  new definition
TIME  definition refused  -  -  -  FILE:1:1: unknown key "comand", did you mean "command"? …
TIME  definition good again  -  -  -  -
TIME  disabled  -  -  -  by hand (root)
TIME  exited 0  RAN  SIZE  -  no restart: policy on-failure, after a clean end (code 0)
`
	n.wantScreen("web", want)
	n.wantScreen("oom", `TIME  WHAT  RAN  MEMORY PEAK  WHY
TIME  boot  -  -  boot id ID
TIME  started  -  -  new definition
TIME  OOM  RAN  SIZE  no restart: policy no
`)
	n.wantScreen("stubborn", `TIME  WHAT  RAN  MEMORY PEAK  WHY
TIME  boot  -  -  boot id ID
TIME  started  -  -  new definition
TIME  adopted  RAN  -  taken over from an earlier daemon
TIME  stopped  RAN  SIZE  by hand (root); it did not end within 500ms of SIGTERM
`)
	for _, h := range n.history("oom") {
		if h.Type == "exited" && (h.MemoryPeakBytes < 12<<20 || h.MemoryPeakBytes > 17<<20) {
			t.Errorf("it was killed at its limit of 16 MiB, and its memory peak is %d", h.MemoryPeakBytes)
		}
	}
	if c := n.get("web"); c.LastExit.String() != "exited/0/" {
		t.Errorf("%s", c.brief())
	}
	// What it says does not depend on the daemon.
	before := n.must("history", "web")
	n.kill()
	if r := n.runcsup("history", "web", "--state-dir", n.state); r.code != 0 || r.stdout != before || !strings.Contains(r.stderr, "no daemon") {
		t.Errorf("without a daemon: code %d, %s\n%s", r.code, r.stderr, r.stdout)
	}
	n.start()
	n.stop()
}

// waitListening waits until idle listens to signals: its sleep is there.
func (n *node) waitListening(name string) {
	n.Helper()
	n.waitFor(name, "listens to signals", func(c container) bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", c.Pid, c.Pid))
		return c.State == "running" && err == nil && len(children) > 0
	})
}

// normal takes out of a screen what is another one every time.
var normal = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`\d\d:\d\d:\d\d \(\+[^)]*\)`), "NEXT"},
	{regexp.MustCompile(`(?m)^(TIME  +\S+(?: \S+)*  +)\d[0-9hms.]*`), "${1}RAN"},
	{regexp.MustCompile(`  \d+(\.\d)?[KMG]  `), "  SIZE  "},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`/\S*\.yaml`), "FILE"},
	{regexp.MustCompile(`by hand \(root[^)]*\)`), "by hand (root)"},
	{regexp.MustCompile(`  +`), "  "},
	{regexp.MustCompile(` +\n`), "\n"},
}

func (n *node) wantScreen(name, want string) {
	n.Helper()
	got := n.must("history", name)
	for _, r := range normal {
		got = r.re.ReplaceAllString(got, r.to)
	}
	if got != want {
		n.Errorf("the history of %s is\n%s\nwant\n%s", name, got, want)
	}
}

// Followed events go on over kills of the daemon: each is there, once, in order, and the files say the same.
func TestEventsAreFollowedOverRestarts(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for i := range 4 {
		n.define(fmt.Sprintf("crash%d", i), "command: [sh, -c, 'sleep 0.2; exit 3']\nrestart: {policy: always, delay: 100ms, maxDelay: 100ms}\n")
	}
	n.start()
	cmd := exec.Command(binary, "events", "-f", "-o", "json")
	cmd.Env = append(cleanEnv(), "RUNCSUP_SOCKET="+n.socket)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := make(chan happening, 100_000)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			var h happening
			if json.Unmarshal(in.Bytes(), &h) == nil {
				lines <- h
			}
		}
	}()
	const kills = 2
	var followed []happening
	starts := 0 // of crash0, since the daemon's last start
	deadline := time.After(patience)
	for killed := 0; killed < kills || starts < 3; {
		select {
		case h := <-lines:
			followed = append(followed, h)
			switch {
			case h.Type == "daemon-started":
				starts = 0
			case h.Type == "started" && h.Container == "crash0":
				starts++
			}
		case <-deadline:
			t.Fatalf("after %d kills and %d events no more come", killed, len(followed))
		}
		if starts == 3 && killed < kills {
			n.killNow()
			n.start()
			killed, starts = killed+1, 0
		}
	}
	for i, h := range followed {
		if i > 0 && h.ID <= followed[i-1].ID {
			t.Errorf("%d comes after %d", h.ID, followed[i-1].ID)
		}
	}
	n.stop()
	var kept []happening
	for line := range strings.Lines(n.must("events", "-n", "10000", "-o", "json", "--state-dir", n.state)) {
		var h happening
		decode(t, line, &h)
		kept = append(kept, h)
	}
	first := slices.IndexFunc(kept, func(h happening) bool { return h.ID == followed[0].ID })
	if first < 0 {
		t.Fatalf("followed %d, and the files have %d, and not the first", len(followed), len(kept))
	}
	at := first
	for i, h := range followed {
		switch k := kept[min(at, len(kept)-1)]; {
		case k.ID == h.ID && k.Type == h.Type && k.Container == h.Container:
			at++
		case k.Type == "daemon-started" && k.ID > h.ID: // the daemon was killed before it could write what it had told
		default:
			t.Fatalf("number %d is %+v, and the files have %+v", i, h, k)
		}
	}
	if n := len(slices.DeleteFunc(kept, func(h happening) bool { return h.Type != "daemon-started" })); n != kills+1 {
		t.Errorf("%d starts of the daemon are told", n)
	}
}

// A file that is damaged costs the lines that are, which is told where they were, and nothing else.
func TestDamagedHistory(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.define("web", "command: [idle]\n")
	n.start()
	n.waitState("web", "running")
	for range 3 {
		n.must("kill", "-s", "CONT", "web")
	}
	n.waitHistory("web", "started", "signal", "signal", "signal")
	n.kill()
	file := filepath.Join(n.state, "history", "containers", "web.jsonl")
	lines := strings.SplitAfter(readFile(t, file), "\n")
	lines[1] = strings.Replace(lines[1], "SIGCONT", "SIGXXXX", 1)
	check(t, os.WriteFile(file, []byte(strings.Join(lines[:3], "")+lines[3][:20]), 0o600))
	n.start()
	got := types(n.waitHistory("web", "adopted"))
	if want := []string{"started", "damaged", "signal", "damaged", "adopted"}; !slices.Equal(slices.DeleteFunc(got, func(t string) bool { return t == "boot" }), want) {
		t.Errorf("it has %v, want %v", got, want)
	}
	n.stop()
}
