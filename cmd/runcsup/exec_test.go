package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/runcsup/runcsup/internal/control/controltest"
)

func TestExecVerb(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		stdin string
		env   map[string]string
		want  result
	}{
		{name: "output", args: []string{"npd", "sh", "-c", "echo out; echo err >&2"}, want: result{0, "out\n", "err\n"}},
		{name: "exit code", args: []string{"npd", "sh", "-c", "exit 7"}, want: result{code: 7}},
		{name: "signal", args: []string{"npd", "sh", "-c", "kill -KILL $$"}, want: result{code: 137}},
		{name: "after --", args: []string{"npd", "--", "echo", "-i", "--"}, want: result{stdout: "-i --\n"}},
		{name: "input", args: []string{"-i", "npd", "cat"}, stdin: "in", want: result{stdout: "in"}},
		{name: "no input unless asked for", args: []string{"npd", "cat"}, stdin: "in", want: result{}},
		{name: "input that is not read", args: []string{"-i", "npd", "true"}, stdin: strings.Repeat("x", 1<<20), want: result{}},
		{
			name: "environment", args: []string{"-e", "A=1=2", "-e", "B", "-e", "NONE", "npd", "sh", "-c", "echo $A $B $NONE"},
			env: map[string]string{"B": "here"}, want: result{stdout: "1=2 here\n"},
		},
		{name: "directory", args: []string{"-w", "/", "npd", "pwd"}, want: result{stdout: "/\n"}},
		{
			name: "terminal", args: []string{"-t", "npd", "sh", "-c", "tty >/dev/null && echo $TERM"}, env: map[string]string{"TERM": "vt52"},
			want: result{stdout: "vt52\r\n"},
		},
		{name: "a descendant that keeps the output", args: []string{"npd", "sh", "-c", "sleep 5 & echo done"}, want: result{stdout: "done\n"}},
		{
			name: "no such command", args: []string{"npd", "/no/such"},
			want: result{127, "", "runcsup: cannot execute: fork/exec /no/such: no such file or directory\n"},
		},
		{
			name: "no program", args: []string{"npd", "/etc/passwd"},
			want: result{126, "", "runcsup: cannot execute: fork/exec /etc/passwd: permission denied\n"},
		},
		{name: "not running", args: []string{"redis", "true"}, want: result{3, "", "runcsup: \"redis\" is not running: it is stopped\n"}},
		{name: "no container", args: []string{"none", "true"}, want: result{4, "", "runcsup: no such container \"none\"\nhint: runcsup list shows all\n"}},
		{name: "no command", args: []string{"npd"}, want: result{2, "", "runcsup: exec needs the name of a container and a command\nhint: runcsup exec --help says how\n"}},
		{name: "terminal without one", args: []string{"-it", "npd", "true"}, want: result{2, "", "runcsup: the input is not a terminal: leave --tty away\nhint: runcsup exec --help says how\n"}},
		{name: "tty and none", args: []string{"-t", "-T", "npd", "true"}, want: result{2, "", "runcsup: --tty and --no-tty exclude each other\nhint: runcsup exec --help says how\n"}},
	}
	socket := serve(t, &controltest.Backend{Containers: fleet()})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			p := &program{
				stdin: strings.NewReader(tt.stdin), stdout: &stdout, stderr: &stderr,
				getenv: func(key string) string {
					return map[string]string{socketEnv: socket, "B": tt.env["B"], "TERM": tt.env["TERM"]}[key]
				},
			}
			code := p.run(t.Context(), append([]string{"exec"}, tt.args...))
			if got := (result{code, stdout.String(), stderr.String()}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if got := runWith(t, map[string]string{socketEnv: "/no/such"}, "exec", "npd", "true"); got.code != exitNoDaemon {
		t.Errorf("without a daemon: %+v", got)
	}
}

// What goes to one file stays in order, as after 2>&1.
func TestExecKeepsTheOrderInOneFile(t *testing.T) {
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", wr.Fd()), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := serve(t, &controltest.Backend{Containers: fleet()})
	p := &program{stdin: strings.NewReader(""), stdout: wr, stderr: again, getenv: func(string) string { return socket }}
	code := p.run(t.Context(), []string{"exec", "npd", "sh", "-c", "for i in 1 2 3 4; do echo $i; echo $i >&2; done"})
	_, _ = wr.Close(), again.Close()
	if text, err := io.ReadAll(rd); err != nil || code != 0 || string(text) != "1\n1\n2\n2\n3\n3\n4\n4\n" {
		t.Errorf("got %d %q %v", code, text, err)
	}
}

func TestSignalExit(t *testing.T) {
	for name, want := range map[string]int{"KILL": 137, "TERM": 143, "64": 192, "nonsense": exitFailed} {
		if got := signalExit(name); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}
