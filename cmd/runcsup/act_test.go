package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
)

// What the verbs ask of the daemon.
func TestVerbsCall(t *testing.T) {
	for args, want := range map[string][]string{
		"start npd":                     {"start npd"},
		"start npd redis npd":           {"start npd", "start redis"},
		"start --no-wait npd":           {"start npd"},
		"start --all":                   {"start broken", "start given-up", "start npd", "start worker"}, // enabled ones
		"stop npd":                      {"stop npd"},
		"stop --all":                    {"stop broken", "stop given-up", "stop npd", "stop redis", "stop worker"},
		"stop --no-wait npd":            {"stop npd"},
		"restart npd":                   {"restart npd"},
		"restart --all":                 {"restart broken", "restart given-up", "restart npd", "restart worker"}, // not stopped ones
		"restart --no-wait npd":         {"restart npd"},
		"kill npd":                      {"kill npd 15 all=false"},
		"kill -s HUP npd redis":         {"kill npd 1 all=false", "kill redis 1 all=false"},
		"kill -s 9 --all-processes npd": {"kill npd 9 all=true"},
		"kill --signal sigusr1 npd":     {"kill npd 10 all=false"},
		"enable redis":                  {"enable redis now=false"},
		"enable --now redis":            {"enable redis now=true"},
		"disable npd":                   {"disable npd now=false"},
		"disable --now npd":             {"disable npd now=true"},
		"reset-failed given-up":         {"reset-failed given-up"},
		"reset-failed --all":            {"reset-failed broken", "reset-failed given-up", "reset-failed npd", "reset-failed redis", "reset-failed worker"},
		"reload":                        {"reload []"},
		"reload npd npd redis":          {"reload [npd redis]"},
		"diff":                          {"diff []"},
		"diff npd":                      {"diff [npd]"},
		"build npd":                     {"build npd"},
	} {
		t.Run(args, func(t *testing.T) {
			b := &controltest.Backend{Containers: fleet()}
			var got result
			t.Run("", func(t *testing.T) { // the server's end waits for what nobody waited for
				got = run(t, b, strings.Fields(args)...)
			})
			if got.code != 0 || got.stderr != "" {
				t.Errorf("got %+v", got)
			}
			if verb := strings.Fields(args)[0]; verb != "build" && got.stdout != "" {
				t.Errorf("printed %q", got.stdout)
			}
			if calls := b.Calls(); !slices.Equal(calls, want) {
				t.Errorf("the daemon was asked for %q, want %q", calls, want)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	b := &controltest.Backend{Containers: fleet(), Fail: map[string]error{
		"start npd":    errors.New(`cannot start "npd": runc run: no such file`),
		"start redis":  &control.Error{Code: control.CodeStartLimit, Message: `cannot start "redis": start limit hit`, Hint: "runcsup reset-failed redis"},
		"reload [npd]": &control.Error{Code: control.CodeNoSuchContainer, Message: "no definition of npd"},
	}}
	socket := serve(t, b)
	none := filepath.Join(t.TempDir(), "control.sock")
	const fails = "runcsup: cannot start \"npd\": runc run: no such file\n"
	const limit = "runcsup: cannot start \"redis\": start limit hit\nhint: runcsup reset-failed redis\n"
	const missing = "runcsup: no such container \"none\"\nhint: runcsup list shows all\n"
	noDaemon := "runcsup: no daemon listens on " + none + "\nhint: start it (systemctl start runcsup), or name its socket with --socket or RUNCSUP_SOCKET\n"
	for _, tt := range []struct {
		args   string
		code   int
		stderr string // whole, or a part in …
	}{
		{"start worker", 0, ""},
		{"start npd", 1, fails},
		{"start npd redis", 1, fails + limit}, // in the order of the names
		{"start redis npd", 1, limit + fails},
		{"start npd none worker", 4, fails + missing},
		{"stop none", 4, missing},
		{"start --no-wait none", 4, missing},
		{"status none", 4, missing},
		{"status given-up", 3, ""},
		{"status given-up none", 4, missing},
		{"status npd", 0, ""},
		{"show none", 4, missing},
		{"list none", 4, missing},
		{"build none", 4, missing},
		{"reload npd", 4, "runcsup: no definition of npd\n"},
		// usage
		{"logs", 2, "…logs needs the name of a container…"},
		{"logs --stream stdin npd", 2, "…--stream is stdout or stderr…"},
		{"logs -f --until 1h npd", 2, "…--follow and --until exclude each other…"},
		{"logs npd", 0, ""},
		{"pause npd", 2, "…unknown command…"},
		{"top", 2, "…there is no terminal to show it in; --once…"},
		{"top --once --sort size", 2, "…cannot sort by \"size\"…"},
		{"top --once --delay 1ms", 2, "…100ms at least…"},
		{"top --once none", 4, missing},
		{"export kube npd", 2, "…unknown command…"},
		{"reexec now", 2, "…reexec takes no arguments…"},
		{"lst npd", 2, "runcsup: unknown command \"lst\"\nhint: did you mean \"list\"?\n"},
		{"start", 2, "runcsup: start needs the name of a container\nhint: runcsup start --help says how\n"},
		{"start --all npd", 2, "runcsup: names and --all exclude each other\nhint: runcsup start --help says how\n"},
		{"status", 2, "…needs the name…"},
		{"show npd redis", 2, "…one argument…"},
		{"version now", 2, "…no arguments…"},
		{"list --bogus", 2, "runcsup: unknown flag: --bogus\nhint: runcsup list --help says how\n"},
		{"list -o yaml", 2, "…unknown format \"yaml\"…"},
		{"kill -s NOPE npd", 2, "…unknown signal \"NOPE\"…"},
		{"kill -s 0 npd", 2, "…between 1 and 64…"},
		{"completion ksh", 2, "…no completion for shell \"ksh\"…"},
		{"completion", 2, "…needs the name of a shell…"},
		{"--bogus", 2, "…unknown flag…"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := runWith(t, map[string]string{socketEnv: socket}, strings.Fields(tt.args)...)
			if got.code != tt.code {
				t.Errorf("exit code is %d, want %d", got.code, tt.code)
			}
			if part := strings.Trim(tt.stderr, "…"); part == tt.stderr && got.stderr != part || !strings.Contains(got.stderr, part) {
				t.Errorf("standard error is\n%swant\n%s", got.stderr, tt.stderr)
			}
			if tt.code == exitUsage && got.stdout != "" {
				t.Errorf("printed %q", got.stdout)
			}
		})
	}
	for _, args := range []string{"list", "status npd redis", "show npd", "start npd redis", "start --all", "stop npd", "restart npd", "kill npd",
		"enable npd", "disable npd", "reset-failed npd", "reload", "diff", "build npd", "list -o json", "stop npd -o json"} {
		t.Run("no daemon: "+args, func(t *testing.T) {
			got := runWith(t, map[string]string{socketEnv: none}, strings.Fields(args)...)
			if got.code != exitNoDaemon || got.stderr != noDaemon {
				t.Errorf("got %+v, want code %d and\n%s", got, exitNoDaemon, noDaemon)
			}
		})
	}
}

func TestSocketFlagWinsOverEnvironment(t *testing.T) {
	socket := serve(t, &controltest.Backend{Containers: fleet()})
	got := runWith(t, map[string]string{socketEnv: "/nonexistent"}, "--socket", socket, "list")
	if got.code != 0 {
		t.Errorf("got %+v", got)
	}
}

// Verbs wait for all containers at once, and an interrupt ends the wait.
func TestInterrupt(t *testing.T) {
	block := make(chan struct{})
	b := &controltest.Backend{Containers: fleet(), Block: map[string]chan struct{}{"stop npd": block, "stop redis": block}}
	w := &counted{Backend: b, began: make(chan struct{}, 2)}
	socket := serve(t, w)
	ctx, interrupt := context.WithCancelCause(t.Context())
	defer interrupt(nil)
	var stderr strings.Builder
	p := &program{stdout: io.Discard, stderr: &stderr, getenv: func(string) string { return socket }, now: time.Now}
	code := make(chan int)
	go func() { code <- p.run(ctx, []string{"stop", "npd", "redis"}) }()
	<-w.began
	<-w.began // both are under way
	interrupt(errors.New("interrupt signal received"))
	if got := <-code; got != exitInterrupted {
		t.Errorf("exit code is %d, want %d", got, exitInterrupted)
	}
	if want := "runcsup: gave up waiting for the daemon: interrupt signal received\n"; stderr.String() != want {
		t.Errorf("standard error is %q, want %q", stderr.String(), want)
	}
}

// counted tells when Stop begins.
type counted struct {
	*controltest.Backend
	began chan struct{}
}

func (c *counted) Stop(ctx context.Context, name string) error {
	c.began <- struct{}{}
	return c.Backend.Stop(ctx, name)
}
