package supervisor

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func after1(names ...string) Order   { return Order{After: names} }
func requires(names ...string) Order { return Order{Requires: names} }
func bindsTo(names ...string) Order  { return Order{BindsTo: names} }

func TestCycle(t *testing.T) {
	for _, c := range []struct {
		graph Graph
		name  string
		want  string
	}{
		{Graph{"a": after1("b"), "b": {}}, "a", ""},
		{Graph{"a": after1("nobody")}, "a", ""},
		{Graph{"a": after1("a")}, "a", "a a"},
		{Graph{"a": after1("b"), "b": after1("a")}, "a", "a b a"},
		{Graph{"a": after1("b"), "b": after1("a")}, "b", "b a b"},
		{Graph{"a": requires("b"), "b": bindsTo("c"), "c": after1("a")}, "c", "c a b c"},
		// One that leads into a cycle is on none.
		{Graph{"x": after1("a"), "a": after1("b"), "b": after1("a")}, "x", ""},
		// Two ways to the same are none either.
		{Graph{"a": after1("b", "c"), "b": after1("d"), "c": after1("d"), "d": {}}, "a", ""},
	} {
		if got := strings.Join(c.graph.Cycle(c.name), " "); got != c.want {
			t.Errorf("%v: cycle through %s is %q, want %q", c.graph, c.name, got, c.want)
		}
	}
}

func TestLevels(t *testing.T) {
	g := Graph{
		"proxy": requires("app"), "app": {After: []string{"cache"}, Requires: []string{"migration"}}, "migration": requires("db"),
		"db": {}, "cache": bindsTo("absent"), "alone": {},
	}
	want := [][]string{{"alone", "cache", "db"}, {"migration"}, {"app"}, {"proxy"}}
	if got := g.Levels(); !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("levels %v, want %v", got, want)
	}
	if got := (Graph{"a": after1("b"), "b": after1("a"), "c": {}, "d": after1("a")}).Levels(); len(got) != 2 || !slices.Equal(got[1], []string{"a", "b", "d"}) {
		t.Errorf("with a cycle: %v", got)
	}
}

func TestNeededAndDependents(t *testing.T) {
	g := Graph{"proxy": requires("app"), "app": bindsTo("db"), "db": {}, "log": after1("db"), "cron": requires("log")}
	for _, c := range []struct{ got, want []string }{
		{g.Needed("proxy"), []string{"app", "db"}}, {g.Needed("cron"), []string{"log"}}, {g.Needed("db"), nil},
		{g.Dependents("db"), []string{"app", "proxy"}}, {g.Dependents("proxy"), nil}, {g.After("db"), []string{"app", "log"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

// A container without a cycle is in a later level than all it names, and with one every way back is a way of the graph.
func TestGraphProperties(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		g := Graph{}
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 2, rapid.ID[string])
		for _, n := range names {
			g[n] = Order{After: some.Draw(t, "after"), Requires: some.Draw(t, "requires"), BindsTo: some.Draw(t, "bindsTo")}
		}
		cyclic := false
		for _, n := range names {
			way := g.Cycle(n)
			if way == nil {
				continue
			}
			cyclic = true
			if way[0] != n || way[len(way)-1] != n {
				t.Fatalf("%v does not lead from %s to %s", way, n, n)
			}
			for i := range len(way) - 1 {
				if !slices.Contains(g[way[i]].Names(), way[i+1]) {
					t.Fatalf("%v: %s does not name %s", way, way[i], way[i+1])
				}
			}
		}
		level := map[string]int{}
		for i, l := range g.Levels() {
			for _, n := range l {
				level[n] = i
			}
		}
		if len(level) != len(names) {
			t.Fatalf("levels of %v", level)
		}
		for _, n := range names {
			for _, other := range g[n].Names() {
				if !cyclic && level[other] >= level[n] {
					t.Fatalf("%s in level %d names %s in level %d", n, level[n], other, level[other])
				}
			}
		}
	})
}

// What each word waits for, and what it gives up on.
func TestGate(t *testing.T) {
	there := func(s standing) standing { s.presence = present; return s }
	cases := []struct {
		what           string
		s              standing
		after, require string // what a container with that word does: go, wait, or the text of its trouble
	}{
		{"it is up", there(standing{state: StateRunning, up: true, coming: true}), "go", "go"},
		{"it starts", there(standing{state: StateStarting, coming: true}), "wait", "wait"},
		{"it waits itself", there(standing{state: StateWaiting, coming: true}), "wait", "wait"},
		{"it waits in vain", there(standing{state: StateWaiting, root: `"a", which is stopped`}), "go", `"b", which waits in vain for "a", which is stopped`},
		{"it runs and is not ready yet", there(standing{state: StateRunning, coming: true}), "wait", "wait"},
		{"it is late", there(standing{state: StateRunning, late: true}), "go", "not ready in time"},
		{"it is being restarted", there(standing{state: StateStopping, coming: true}), "wait", "wait"},
		{"it is being stopped", there(standing{state: StateStopping}), "go", "which is stopping"},
		{"it failed to start, and will be tried again", there(standing{state: StateBackoff, end: "could not be started"}), "go", `"b", which could not be started and is started again later`},
		{"it has failed", there(standing{state: StateFailed, end: "exited with code 3"}), "go", `"b", which has failed: it exited with code 3`},
		{"its task could not be done", there(standing{state: StateExited, end: "exited with code 3"}), "go", `"b", which exited with code 3`},
		{"its task is done", there(standing{state: StateExited, up: true}), "go", "go"},
		{"it is stopped", there(standing{state: StateStopped}), "go", "is stopped"},
		{"it is about to be added", standing{presence: expected}, "wait", "wait"},
		{"its definition is refused", standing{absence: "whose definition is refused"}, "go", "definition is refused"},
		{"there is none", standing{}, "go", "not there"},
	}
	for _, c := range cases {
		for word, o := range map[string]Order{"after": after1("b"), "requires": requires("b"), "bindsTo": bindsTo("b")} {
			want := c.require
			if word == "after" {
				want = c.after
			}
			waitsFor, err := gate(o, func(string) standing { return c.s })
			switch {
			case want == "go":
				if waitsFor != nil || err != nil {
					t.Errorf("%s, %s: waits for %v (%v)", c.what, word, waitsFor, err)
				}
			case !slices.Equal(waitsFor, []string{"b"}):
				t.Errorf("%s, %s: does not wait", c.what, word)
			case want == "wait" && err != nil, want != "wait" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s, %s: trouble %v, want %q", c.what, word, err, want)
			}
			if err != nil && !errors.As(err, new(*DependencyError)) {
				t.Errorf("%T", err)
			}
		}
	}
}
