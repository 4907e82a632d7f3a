package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

func TestRunErrorsSayWhatTheRuntimeSaid(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		c := container{args: []string{"/nope"}}
		_, err := r.Run(soon(t), supervisor.RunRequest{ID: "nope", Bundle: c.bundle(t, r, "nope")})
		if err == nil {
			t.Fatal("started /nope")
		}
		prefix := r.name() + " run: "
		if text := err.Error(); !strings.HasPrefix(text, prefix) || !strings.Contains(text, "/nope") ||
			strings.Contains(text, "exit status") || strings.Contains(text, "run failed") {
			t.Errorf("got %q", text)
		}
		remove(t, r, "nope")
	})
}

func TestRunWithABrokenRuntime(t *testing.T) {
	const pid = `while [ "$1" != --pid-file ]; do shift; done; printf '%s' `
	tests := []struct {
		name, body, want string
	}{
		{"fails", "exit 4", "runtime run: exit status 4"},
		{"prints", "echo rubbish; echo '{]' >&2; exit 1", "runtime run: exit status 1"},
		{"is killed", "kill -KILL $$", "killed by signal KILL"},
		{"logs", `while [ "$1" != --log ]; do shift; done; echo '{"level":"warning","msg":"w"}
{"level":"error","msg":"first"}
{"level":"error","msg":"no such luck"}
{"level":"info","msg":"i"}
{"level":"err' >"$2"; exit 1`, "runtime run: no such luck"},
		{"does nothing", "exit 0", "wrote no pid file"},
		{"lies", pid + `rubbish >"$2"`, `no pid into its pid file: "rubbish"`},
		{"empty pid", pid + `"" >"$2"`, `no pid into its pid file: ""`},
		{"negative pid", pid + `-1 >"$2"`, `no pid into its pid file: "-1"`},
		{"init's pid", pid + `1 >"$2"`, `no pid into its pid file: "1"`},
		{"kernel's pid", pid + `2 >"$2"`, "process 2, which it wrote into its pid file"},
		{"no such process", pid + `4194303 >"$2"`, "4194303"},
	}
	r := newRuntime(t, "runc")
	bundle := shell("exit 0").bundle(t, r, "broken")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.cfg.Command = script(t, tt.body)
			p, err := r.Run(soon(t), supervisor.RunRequest{ID: "broken", Bundle: bundle})
			if err == nil {
				t.Fatalf("started %+v", p)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
			remove(t, r, "broken")
		})
	}
	t.Run("another's pid", func(t *testing.T) {
		r.cfg.Command = "runc"
		other := start(t, r, "other", container{args: []string{"/bin/sleep", "1000"}})
		r.cfg.Command = script(t, pid+strconv.Itoa(other.identity.Pid)+` >"$2"`)
		_, err := r.Run(soon(t), supervisor.RunRequest{ID: "broken", Bundle: bundle})
		if err == nil || !strings.Contains(err.Error(), "is not of this container") {
			t.Errorf("got %v", err)
		}
		remove(t, r, "broken")
		if other.fd.ended() {
			t.Error("the other container was killed")
		}
	})
}

func TestMissingRuntimeIsSaidInTheUsersWords(t *testing.T) {
	plainFile := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plainFile, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"no-such-runtime":      `OCI runtime "no-such-runtime" is not in PATH; install runc or crun`,
		"/nowhere/runc":        `OCI runtime "/nowhere/runc" does not exist; install runc or crun`,
		plainFile:              "is not an executable file; install runc or crun",
		script(t, "echo nope"): "is no OCI runtime: its --version says",
	} {
		r := newRuntime(t, command)
		if _, err := r.Version(soon(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", command, err, want)
		}
	}
	r := newRuntime(t, "no-such-runtime")
	_, err := r.Run(soon(t), supervisor.RunRequest{ID: "x", Bundle: shell("exit 0").bundle(t, r, "x")})
	if err == nil || !strings.Contains(err.Error(), `"no-such-runtime" is not in PATH`) {
		t.Errorf("got %v", err)
	}
}

func TestVersion(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		v, err := r.Version(soon(t))
		want := fl.name + " version "
		if err != nil || !strings.HasPrefix(v, want) {
			t.Errorf("got %q, %v", v, err)
		}
	})
}

func TestBundlesThatAreRefused(t *testing.T) {
	r := newRuntime(t, "runc")
	for _, tt := range []struct{ config, want string }{
		{`{"linux":{"cgroupsPath":""}}`, "cgroupsPath is empty"},
		{`{}`, "cgroupsPath is empty"},
		{`{"linux":{"cgroupsPath":"some/where"}}`, "is relative"},
		{`{"linux":{"cgroupsPath":"/"}}`, "is the root of all cgroups"},
		{`{"linux":{"cgroupsPath":"/a/../"}}`, "is the root of all cgroups"},
		{`{"linux":`, "config.json"},
		{`{"linux":{"cgroupsPath":5}}`, "config.json"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(tt.config), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := r.Run(soon(t), supervisor.RunRequest{ID: "bad", Bundle: dir})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.config, err, tt.want)
		}
	}
	if _, err := r.Run(soon(t), supervisor.RunRequest{ID: "bad", Bundle: "/nowhere"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestAHangingRuntimeEndsWithItsContext(t *testing.T) {
	for name, body := range map[string]string{
		"exec":       "exec sleep %s",
		"child":      "sleep %s; :",
		"background": "sleep %s & sleep %[1]s & wait",
		"deaf":       "trap '' TERM INT HUP; sleep %s & wait; sleep %[1]s",
	} {
		t.Run(name, func(t *testing.T) {
			mark := uniqueSeconds(t)
			r := newRuntime(t, script(t, fmt.Sprintf(body, mark)))
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = out.Close() }()
			bundle := shell("exit 0").bundle(t, r, "hang")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := r.Run(ctx, supervisor.RunRequest{ID: "hang", Bundle: bundle, Stdout: out, Stderr: out})
				done <- err
			}()
			eventually(t, "sleep", func() bool { return len(alive(t, mark)) > 0 })
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			eventually(t, "the death of sleep", func() bool { return len(alive(t, mark)) == 0 })
			remove(t, r, "hang")
		})
	}
}

// TestKilledMidRun cancels runs at all moments of their life. Whatever is left, Remove takes it away, and the name can be
// used again.
func TestKilledMidRun(t *testing.T) {
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		started := 0
		for i := range 40 {
			mark := uniqueSeconds(t)
			c := container{args: []string{"/bin/sleep", mark}}
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+2*i)*time.Millisecond)
			p, err := r.Run(ctx, supervisor.RunRequest{ID: "cut", Bundle: c.bundle(t, r, "cut")})
			cancel()
			if err == nil {
				started++
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			remove(t, r, "cut")
			if pids := alive(t, mark); len(pids) > 0 {
				t.Fatalf("after %d ms of run, processes %v are left", 1+2*i, pids)
			}
			if err == nil {
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Logf("%d of 40 runs were over in time", started)
		p := start(t, r, "cut", shell("exit 5"))
		if got := wait(t, p); got != exited(5) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOutputGoesToTheGivenFilesAndNothingElseIsInherited(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	eachRuntime(t, func(t *testing.T, fl flavour) {
		r := fl.runtime(t)
		dir := t.TempDir()
		open := func(name string) *os.File {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			return f
		}
		c := shell("echo out; echo err >&2; read line; echo \"$? $line\"; echo ${NOTIFY_SOCKET-no} ${LISTEN_FDS-no}; exit 9")
		p, err := r.Run(soon(t), supervisor.RunRequest{
			ID: "talk", Bundle: c.bundle(t, r, "talk"), Stdout: open("out"), Stderr: open("err"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := wait(t, p); got != exited(9) {
			t.Errorf("got %+v", got)
		}
		for name, want := range map[string]string{"out": "out\n1 \nno no\n", "err": "err\n"} {
			if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
				t.Errorf("%s: got %q, %v", name, data, err)
			}
		}
	})
}

func TestIDs(t *testing.T) {
	r := newRuntime(t, "runc")
	if ids, err := r.IDs(); err != nil || len(ids) != 0 {
		t.Errorf("got %v, %v", ids, err)
	}
	p := start(t, r, "b", shell("exit 0"))
	wait(t, p)
	start(t, r, "a", container{args: []string{"/bin/sleep", "1000"}})
	if err := os.Mkdir(r.stateDir("c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if ids, err := r.IDs(); err != nil || strings.Join(ids, " ") != "a b c" {
		t.Errorf("got %v, %v", ids, err)
	}
	for id, want := range map[string]bool{"a": true, "b": true, "c": true, "d": false} {
		if r.Exists(id) != want {
			t.Errorf("Exists(%q) is not %v", id, want)
		}
	}
}
