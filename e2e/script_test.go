package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata, one per feature. Each has a node of its own, whose directory is $NODE, below whose cgroup $CGROUP
// everything runs, and whose containers are the files NAME.yaml in the script. Their commands, beside testscript's own:
//
//	daemon [ARG…]               start the daemon and wait until it answers
//	daemon-kill                 SIGKILL to the daemon
//	daemon-stop                 SIGTERM to the daemon, which has to leave nothing
//	define NAME [FILE]          put NAME.yaml (or FILE) into the directory of definitions
//	undefine NAME               remove it from there
//	runcsup [CODE] ARG…         run a verb, which has to end with CODE (0)
//	json FILTER                 the last standard output is JSON of which jq's FILTER is true
//	wait-for NAME FILTER        wait until jq's FILTER is true of the container
//	wait-state NAME STATE       wait until a container is in a state
//	wait-output NAME REGEXP     wait until a container has written something that matches
//	pid NAME VAR                set VAR to the pid of a container
//	alive PID                   the process exists
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			n := newNode(env.T().(testing.TB))
			env.Values[nodeKey{}] = n
			env.Setenv("NODE", n.dir)
			env.Setenv("RUNCSUP_SOCKET", n.socket)
			env.Setenv("CGROUP", cgroupPrefix(n.run))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon":      func(ts *testscript.TestScript, _ bool, args []string) { of(ts).start(args...) },
			"daemon-kill": func(ts *testscript.TestScript, _ bool, _ []string) { of(ts).kill() },
			"daemon-stop": func(ts *testscript.TestScript, _ bool, _ []string) { of(ts).stop() },
			"define":      scriptDefine,
			"undefine":    func(ts *testscript.TestScript, _ bool, args []string) { of(ts).undefine(args[0]) },
			"runcsup":     scriptRuncsup,
			"json":        scriptJSON,
			"wait-for":    scriptWait,
			"wait-state":  func(ts *testscript.TestScript, _ bool, args []string) { of(ts).waitState(args[0], args[1]) },
			"wait-output": func(ts *testscript.TestScript, _ bool, args []string) { of(ts).waitOutput(args[0], args[1]) },
			"pid": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[1], strconv.Itoa(of(ts).get(args[0]).Pid))
			},
			"alive": scriptAlive,
		},
	})
}

type nodeKey struct{}

// of is the node of a script.
func of(ts *testscript.TestScript) *node { return ts.Value(nodeKey{}).(*node) }

func scriptDefine(ts *testscript.TestScript, _ bool, args []string) {
	file := args[len(args)-1]
	if len(args) == 1 {
		file += ".yaml"
	}
	of(ts).define(args[0], ts.ReadFile(file))
}

func scriptRuncsup(ts *testscript.TestScript, neg bool, args []string) {
	want := 0
	if code, err := strconv.Atoi(args[0]); err == nil {
		want, args = code, args[1:]
	}
	if neg {
		ts.Fatalf("say which exit code is expected: runcsup CODE ARG…")
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(cleanEnv(), "RUNCSUP_SOCKET="+ts.Getenv("RUNCSUP_SOCKET"))
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	err := cmd.Run()
	if cmd.ProcessState == nil {
		ts.Fatalf("%v", err)
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		ts.Fatalf("exit code is %d, want %d", code, want)
	}
}

// holds tells whether jq's filter is true of a JSON text.
func holds(filter, text string) error {
	jq := exec.Command("jq", "-e", filter)
	jq.Stdin = strings.NewReader(text)
	if out, err := jq.CombinedOutput(); err != nil {
		return fmt.Errorf("jq %s: %w, %s", filter, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if err := holds(args[0], ts.ReadFile("stdout")); (err == nil) == neg {
		ts.Fatalf("%v", err)
	}
}

func scriptWait(ts *testscript.TestScript, _ bool, args []string) {
	n := of(ts)
	eventually(n, patience, strings.Join(args, ": "), func() error {
		r := n.runcsup("list", "-o", "json", args[0])
		if err := holds(".[0] | "+args[1], r.stdout); err != nil {
			return fmt.Errorf("%w\n%s%s", err, r.stdout, r.stderr)
		}
		return nil
	})
}

func scriptAlive(ts *testscript.TestScript, neg bool, args []string) {
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	if alive(pid) == neg {
		cmdline, _ := os.ReadFile(filepath.Join("/proc", args[0], "cmdline"))
		ts.Fatalf("process %d is alive: %t %q", pid, !neg, cmdline)
	}
}
