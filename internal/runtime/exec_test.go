package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// idle is a container that does nothing and ends at once when told to.
func idle(t *testing.T, r *Runtime, id string) *process {
	t.Helper()
	return startReady(t, r, id, shell("trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait; done"))
}

func sh(script string) ExecRequest { return ExecRequest{Args: []string{"sh", "-c", script}} }

func TestExec(t *testing.T) {
	tests := []struct {
		name   string
		req    ExecRequest
		output int
		want   ExecResult
	}{
		{name: "0", req: sh("exit 0"), want: ExecResult{Status: exited(0)}},
		{name: "3", req: sh("exit 3"), want: ExecResult{Status: exited(3)}},
		{name: "signal", req: sh("kill -SEGV $$"), want: ExecResult{Status: signaled(syscall.SIGSEGV)}},
		{
			name: "both outputs", req: sh("echo out; echo err >&2"), output: 100,
			want: ExecResult{Status: exited(0), Output: []byte("out\nerr\n")},
		},
		{
			name: "more output than wanted", req: sh("echo 12345"), output: 4,
			want: ExecResult{Status: exited(0), Output: []byte("1234"), Truncated: true},
		},
		{name: "no output wanted", req: sh("echo 12345"), want: ExecResult{Status: exited(0), Truncated: true}},
		{
			name: "a flood of output", req: sh("dd if=/dev/zero bs=1M count=20 2>/dev/null | cat; echo end >&2"), output: 2,
			want: ExecResult{Status: exited(0), Output: []byte{0, 0}, Truncated: true},
		},
		{name: "stdin is empty", req: sh("cat"), output: 9, want: ExecResult{Status: exited(0)}},
		{
			name: "environment", output: 100,
			req:  ExecRequest{Args: []string{"sh", "-c", "echo $PATH $A $NOTIFY_SOCKET"}, Env: []string{"A=1", "A=2=3"}},
			want: ExecResult{Status: exited(0), Output: []byte("/bin 2=3\n")},
		},
		{
			name: "directory", req: ExecRequest{Args: []string{"pwd"}, Dir: "/tmp"}, output: 100,
			want: ExecResult{Status: exited(0), Output: []byte("/tmp\n")},
		},
		{
			name: "user by name", req: ExecRequest{Args: []string{"sh", "-c", "id -u; id -g"}, User: "web"}, output: 100,
			want: ExecResult{Status: exited(0), Output: []byte("33\n34\n")},
		},
		{
			name: "user by number", req: ExecRequest{Args: []string{"sh", "-c", "id -u; id -g"}, User: "12:13"}, output: 100,
			want: ExecResult{Status: exited(0), Output: []byte("12\n13\n")},
		},
		{
			name: "what it leaves in its group ends", req: sh("sleep 1000 & echo $!"), output: 0,
			want: ExecResult{Status: exited(0), Truncated: true},
		},
	}
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := idle(t, r, "box")
		for _, tt := range tests {
			got, err := r.Exec(soon(t), "box", tt.req, tt.output)
			got.Status = plain(got.Status)
			if err != nil || got.Status != tt.want.Status || string(got.Output) != string(tt.want.Output) || got.Truncated != tt.want.Truncated {
				t.Errorf("%s: got %+v %v, want %+v", tt.name, got, err, tt.want)
			}
		}
		onlyInit(t, r, "box", p)
		noZombies(t)
		if entries, err := os.ReadDir(r.cfg.CallDir + "/box"); err != nil || len(entries) != 1 {
			t.Errorf("left of the calls: %v %v", entries, err)
		}
		stopsAtOnce(t, r, "box", p)
	})
}

// onlyInit checks that nothing but the init and its sleep is in the container.
func onlyInit(t *testing.T, r *Runtime, id string, p *process) {
	t.Helper()
	eventually(t, "only the container's own processes", func() bool {
		pids, err := r.cgroupOf(id).pids()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			if pid != p.identity.Pid && parentOf(pid) != p.identity.Pid {
				return false
			}
		}
		return len(pids) <= 2
	})
}

// noZombies checks that nothing is left which keeps a container's init from ending. Those of the runtimes are the Sweeper's.
func noZombies(t *testing.T) {
	t.Helper()
	pids, err := children()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if st, err := readStat(pid); err == nil && st.state == 'Z' && isContainerMember(pid) {
			t.Errorf("process %d is left as a zombie", pid)
		}
	}
}

// stopsAtOnce checks that no zombie keeps the init from ending.
func stopsAtOnce(t *testing.T, r *Runtime, id string, p *process) {
	t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if st := wait(t, p); st != exited(0) {
		t.Errorf("the container ended with %v", st)
	}
	remove(t, r, id)
}

func TestExecDeadline(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := idle(t, r, "box")
		for name, script := range map[string]string{
			"hangs":              "echo begun; sleep 1000",
			"ignores signals":    "trap '' TERM HUP INT; echo begun; while :; do sleep 1000; done",
			"forks":              "echo begun; sleep 1000 & sleep 1000 & wait",
			"forks twice":        "echo begun; (sleep 1000 &) ; sleep 1000",
			"writes for ever":    "echo begun; while :; do echo more; done",
			"stops itself":       "echo begun; kill -STOP $$",
			"other groups":       "set -m; echo begun; sleep 1000 & (sleep 1000 &) ; sleep 1000",
			"closes its outputs": "echo begun; exec >&- 2>&-; sleep 1000",
		} {
			ctx, cancel := context.WithTimeout(soon(t), time.Second)
			got, err := r.Exec(ctx, "box", sh(script), 6)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %+v %v", name, got, err)
			}
			if got.Status.Known {
				t.Errorf("%s: a status was made up: %+v", name, got)
			}
			onlyInit(t, r, "box", p)
		}
		noZombies(t)
		stopsAtOnce(t, r, "box", p)
	})
}

// A process that has made itself a daemon is not waited for, although it holds the output.
func TestExecLeavesDaemonsAlone(t *testing.T) {
	r := newRuntime(t, "runc")
	idle(t, r, "box")
	seconds := uniqueSeconds(t)
	got, err := r.Exec(soon(t), "box", sh("setsid sleep "+seconds+" & sleep 0.2; echo done"), 10)
	if err != nil || got.Status != exited(0) || string(got.Output) != "done\n" {
		t.Errorf("got %+v %v", got, err)
	}
	if len(alive(t, seconds)) != 1 {
		t.Error("the daemon does not live")
	}
}

func TestExecErrors(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := idle(t, r, "box")
		for _, tt := range []struct {
			req  ExecRequest
			is   error
			text string
		}{
			{req: ExecRequest{Args: []string{"nope"}}, is: ErrCommandNotFound, text: "nope"},
			{req: ExecRequest{Args: []string{"/bin/nope"}}, is: ErrCommandNotFound, text: "/bin/nope"},
			{req: ExecRequest{Args: []string{"/bin/plain"}}, is: ErrCommandNotExecutable, text: "/bin/plain"},
			{req: ExecRequest{Args: []string{"/etc"}}, is: ErrCommandNotExecutable, text: "/etc"},
			{req: ExecRequest{}, text: "no command given"},
			{req: ExecRequest{Args: []string{"pwd"}, Dir: "/nope"}, text: "/nope"},
			{req: ExecRequest{Args: []string{"pwd"}, Dir: "tmp"}, text: `working directory "tmp" is not an absolute path`},
			{req: ExecRequest{Args: []string{"id"}, User: "nobody"}, text: `user: "nobody": `},
			{req: ExecRequest{Args: []string{"id"}, Env: []string{"=secret"}}, text: "not of the form KEY=VALUE"},
		} {
			got, err := r.Exec(soon(t), "box", tt.req, 1000)
			if err == nil || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v: got %+v %v", tt.req.Args, got, err)
			}
			for _, is := range []error{ErrCommandNotFound, ErrCommandNotExecutable, supervisor.ErrNotFound} {
				if want := tt.is != nil && errors.Is(tt.is, is); errors.Is(err, is) != want {
					t.Errorf("%v: is %q: %v, want %v (%v)", tt.req.Args, is, !want, want, err)
				}
			}
		}
		onlyInit(t, r, "box", p)
		noZombies(t)
		if _, err := r.Exec(soon(t), "other", sh("exit 0"), 0); !isNotFound(err) {
			t.Errorf("in a container that is not there: %v", err)
		}
		if err := p.KillAll(); err != nil {
			t.Fatal(err)
		}
		wait(t, p)
		if _, err := r.Exec(soon(t), "box", sh("exit 0"), 0); !isNotFound(err) {
			t.Errorf("in a container that has ended: %v", err)
		}
		remove(t, r, "box")
		if _, err := r.Exec(soon(t), "box", sh("exit 0"), 0); !isNotFound(err) {
			t.Errorf("in a container that was removed: %v", err)
		}
		mustBeGone(t, r, "box")
	})
}

func TestExecInAContainerThatEnds(t *testing.T) {
	r := newRuntime(t, "runc")
	p := startReady(t, r, "box", shell("echo ready; sleep 1"))
	got, err := r.Exec(soon(t), "box", sh("sleep 1000"), 0)
	if err != nil || got.Status != signaled(syscall.SIGKILL) {
		t.Errorf("got %+v %v", got, err)
	}
	wait(t, p)
	remove(t, r, "box")
	noZombies(t)
}

func TestExecWithABrokenRuntime(t *testing.T) {
	const upTo = `while [ "$1" != exec ]; do shift; done; `
	for name, body := range map[string]string{
		"hangs before":    "exec sleep 1000",
		"hangs after":     `runc "$@"; exec sleep 1000`,
		"leaves its work": `runc "$@"; rm -f "$(echo "$@" | sed 's/.*--pid-file \([^ ]*\) .*/\1/')"; exec sleep 1000`,
		"left its group":  `setsid sleep 1000 "$@" & exec sleep 1000`,
		"no pid file":     upTo + "exit 0",
		"another's pid":   `while [ "$1" != --pid-file ]; do shift; done; printf 1 >"$2"`,
		"fails":           "exit 4",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t, "runc")
			p := idle(t, r, "box")
			r.cfg.Command = script(t, body)
			ctx, cancel := context.WithTimeout(soon(t), time.Second)
			defer cancel()
			got, err := r.Exec(ctx, "box", sh("exec sleep 1000"), 0)
			if err == nil {
				t.Fatalf("got %+v", got)
			}
			onlyInit(t, r, "box", p)
			if left := alive(t, r.cfg.Root); len(left) > 0 {
				t.Errorf("processes %v of the call are left", left)
			}
			r.cfg.Command = "runc"
			if got, err := r.Exec(soon(t), "box", sh("exit 5"), 0); err != nil || got.Status != exited(5) {
				t.Errorf("afterwards: %+v %v", got, err)
			}
			stopsAtOnce(t, r, "box", p)
		})
	}
}

// A stop does not wait for a runtime that hangs in an exec, nor for those in line behind it.
func TestRemoveEndsStartsOfCommands(t *testing.T) {
	r := newRuntime(t, "runc")
	idle(t, r, "box")
	r.cfg.Command = script(t, `case "$*" in *" exec "*) sleep 1000;; esac; exec runc "$@"`)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := r.Exec(soon(t), "box", sh("exit 0"), 0); !isNotFound(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	eventually(t, "a call that hangs", func() bool { return len(alive(t, r.cfg.Root)) > 0 })
	begin := time.Now()
	remove(t, r, "box")
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	wg.Wait()
	mustBeGone(t, r, "box")
}

func TestExecsSideBySide(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := idle(t, r, "box")
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				got, err := r.Exec(soon(t), "box", sh(fmt.Sprintf("echo %d; exit %d", i, i)), 10)
				if err != nil || got.Status != exited(i) || string(got.Output) != fmt.Sprintln(i) {
					t.Errorf("%d: got %+v %v", i, got, err)
				}
			})
		}
		wg.Wait()
		onlyInit(t, r, "box", p)
		noZombies(t)
		stopsAtOnce(t, r, "box", p)
	})
}

func TestExecSession(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		p := idle(t, r, "box")
		req := sh("until [ \"$(stty size 2>/dev/null)\" = '33 77' ]; do :; done; stty size; read line; echo got $line; exit 6")
		req.Terminal = &TerminalSize{Rows: 33, Columns: 77}
		e, master, err := r.StartExec(soon(t), "box", req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = master.Close() }()
		if _, err := io.WriteString(master, "hello\n"); err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(master) // ends with EIO when the process has
		if !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
		if text := strings.ReplaceAll(string(out), "\r", ""); !strings.Contains(text, "33 77\n") || !strings.Contains(text, "got hello\n") {
			t.Errorf("got %q", text)
		}
		pidfd, err := e.Pidfd()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pidfd.Close() }()
		if st, err := e.Wait(soon(t)); err != nil || st != exited(6) {
			t.Errorf("got %v %v", st, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		// The terminal's size may be left out.
		req.Terminal = &TerminalSize{}
		req.Args = []string{"sleep", "1000"}
		e, master, err = r.StartExec(soon(t), "box", req)
		if err != nil {
			t.Fatal(err)
		}
		_ = master.Close()
		if st, err := e.Wait(soon(t)); err != nil || st != signaled(syscall.SIGHUP) {
			t.Errorf("after the terminal was closed: %v %v", st, err)
		}
		_ = e.Close()
		noZombies(t)
		stopsAtOnce(t, r, "box", p)
	})
}
