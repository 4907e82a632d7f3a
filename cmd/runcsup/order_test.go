package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/supervisor"
)

// ordered is the fleet with an order.
func ordered() *controltest.Backend {
	return &controltest.Backend{Containers: fleet(), Order: supervisor.Graph{
		"npd": {Requires: []string{"redis"}}, "worker": {After: []string{"npd", "redis"}, BindsTo: []string{"redis"}},
	}}
}

func TestGraph(t *testing.T) {
	got := run(t, ordered(), "graph")
	want := "" +
		"LEVEL  NAME      STATE    READY  COMES AFTER\n" +
		"0      broken    running  yes    -\n" +
		"0      given-up  failed   no     -\n" +
		"0      redis     stopped  no     -\n" +
		"1      npd       running  yes    requires redis\n" +
		"2      worker    backoff  no     bound to redis; after npd\n"
	if got.code != 0 || got.stdout != want {
		t.Errorf("code %d, printed\n%swant\n%s", got.code, got.stdout, want)
	}
	drawn := run(t, ordered(), "graph", "-o", "dot").stdout
	for _, line := range []string{
		`"npd" [label="npd\nrunning"];`, `"npd" -> "redis";`, `"worker" -> "redis" [style=bold, label=bindsTo];`, `"worker" -> "npd" [style=dashed, label=after];`,
	} {
		if !strings.Contains(drawn, "  "+line+"\n") {
			t.Errorf("%s is not in\n%s", line, drawn)
		}
	}
	if strings.Count(drawn, "->") != 3 {
		t.Errorf("too many arrows:\n%s", drawn)
	}
	if got := run(t, ordered(), "list", "-o", "dot"); got.code != 2 {
		t.Errorf("list as dot: code %d", got.code)
	}
}

// The order in files needs no daemon.
func TestGraphOfFiles(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for name, keys := range map[string]string{"db": "", "migration": "type: oneshot\nrequires: [db]\n", "app": "requires: [migration]\nafter: [log]\n"} {
		file := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(file, []byte("rootfs: /a\ncommand: [a]\n"+keys), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	got := runWith(t, nil, append([]string{"graph"}, files...)...)
	want := "" +
		"LEVEL  NAME                 COMES AFTER\n" +
		"0      db                   -\n" +
		"1      migration (oneshot)  requires db\n" +
		"2      app                  requires migration; after log\n"
	if got.code != 0 || got.stdout != want {
		t.Errorf("code %d, printed\n%swant\n%s%s", got.code, got.stdout, want, got.stderr)
	}
}

// Of several names each has its turn when those are done that come before it; what has no order does not wait.
func TestVerbsKeepOrder(t *testing.T) {
	for _, c := range []struct{ args, first, free, then string }{
		{"start npd redis broken", "start redis", "start broken", "start npd"},
		{"stop redis npd broken", "stop npd", "stop broken", "stop redis"},
		{"restart npd redis broken", "restart redis", "restart broken", "start npd"}, // which was restarted with redis
	} {
		t.Run(c.args, func(t *testing.T) {
			b, gate := ordered(), make(chan struct{})
			b.Block = map[string]chan struct{}{c.first: gate}
			done := make(chan result, 1)
			socket := serve(t, b)
			go func() {
				done <- runWith(t, map[string]string{socketEnv: socket}, strings.Fields(c.args)...)
			}()
			deadline := time.After(30 * time.Second)
			for tick := time.NewTicker(5 * time.Millisecond); !slices.Contains(b.Calls(), c.first) || !slices.Contains(b.Calls(), c.free); {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatalf("asked for %q only", b.Calls())
				}
			}
			if slices.Contains(b.Calls(), c.then) {
				t.Errorf("%s did not wait for %s", c.then, c.first)
			}
			close(gate)
			if got := <-done; got.code != 0 || !slices.Contains(b.Calls(), c.then) {
				t.Errorf("%+v, asked for %q", got, b.Calls())
			}
		})
	}
}
