package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

func TestOrderKeys(t *testing.T) {
	d := mustParse(t, "app.yaml", small+"after: [log]\nrequires:\n- db\n- cache\nbindsTo: [sidecar]\nnetwork: container:pod\nready: {on: notify, timeout: 2m}\n")
	if want := (supervisor.Order{After: []string{"log"}, Requires: []string{"db", "cache"}, BindsTo: []string{"sidecar", "pod"}}); !reflect.DeepEqual(d.Order, want) {
		t.Errorf("order %+v, want %+v", d.Order, want)
	}
	if d.Ready != (supervisor.ReadyPolicy{On: supervisor.ReadyNotify, Timeout: 2 * time.Minute}) || d.Bundle.Notify == nil {
		t.Errorf("ready %+v, notify %v", d.Ready, d.Bundle.Notify)
	}
	if last := d.Namings[len(d.Namings)-1]; last != (Naming{"pod", "network", 8, 10}) {
		t.Errorf("the last naming is %+v", last)
	}
}

// What a container is ready on, where that is not said.
func TestReadyDefaults(t *testing.T) {
	for keys, want := range map[string]supervisor.ReadyPolicy{
		"":                                       {On: supervisor.ReadyStarted},
		"health: {liveness: {tcp: {port: 1}}}\n": {On: supervisor.ReadyStarted},
		"health: {readiness: {tcp: {port: 1}}}\n":                       {On: supervisor.ReadyProbe, Timeout: 90 * time.Second},
		"health: {readiness: {tcp: {port: 1}}}\nready: {timeout: 5m}\n": {On: supervisor.ReadyProbe, Timeout: 5 * time.Minute},
		"health: {readiness: {tcp: {port: 1}}}\nready: started\n":       {On: supervisor.ReadyStarted},
		"health: {startup: {tcp: {port: 1}}}\nready: probe\n":           {On: supervisor.ReadyProbe, Timeout: 90 * time.Second},
		"ready: notify\n":                                       {On: supervisor.ReadyNotify, Timeout: 90 * time.Second},
		"type: oneshot\n":                                       {},
		"type: oneshot\nready: {timeout: 1h}\n":                 {Timeout: time.Hour},
		"type: oneshot\nhealth: {liveness: {tcp: {port: 1}}}\n": {},
	} {
		if d := mustParse(t, "app.yaml", small+keys); d.Ready != want {
			t.Errorf("%q: %+v, want %+v", keys, d.Ready, want)
		}
	}
}

func TestOneshotRestart(t *testing.T) {
	for keys, want := range map[string]supervisor.RestartMode{
		"type: oneshot\n": supervisor.RestartOnFailure, "type: oneshot\nrestart: {delay: 1s}\n": supervisor.RestartOnFailure,
		"restart: no\ntype: oneshot\n": supervisor.RestartNo, "type: simple\n": supervisor.RestartAlways,
	} {
		if d := mustParse(t, "app.yaml", small+keys); d.Restart.Mode != want {
			t.Errorf("%q: %s, want %s", keys, d.Restart.Mode, want)
		}
	}
}

// Which of several definitions is refused, and what is said of it.
func TestOrderCheck(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string // name → keys
		broken   []string
		inEffect map[string]supervisor.Order
		want     map[string]string // name → the first error's summary
	}{
		"all is well":                  {files: map[string]string{"a": "requires: [b]", "b": ""}},
		"a broken file has a name too": {files: map[string]string{"a": "requires: [b]"}, broken: []string{"b"}},
		"unknown": {files: map[string]string{"a": "after: [redis, rediss]", "redis": ""},
			want: map[string]string{"a": `a.yaml:3:16: "after[1]": there is no container "rediss", did you mean "redis"?`}},
		"unknown network": {files: map[string]string{"a": "network: container:pod"},
			want: map[string]string{"a": `a.yaml:3:10: "network": there is no container "pod"`}},
		"the last by name closes the cycle": {files: map[string]string{"a": "after: [b]", "b": "requires: [c]", "c": "bindsTo: [a]", "d": "after: [a]"},
			want: map[string]string{"c": `c.yaml:3:11: "bindsTo[0]": each would wait for the next: c -> a -> b -> c`}},
		"what is new closes the cycle": {files: map[string]string{"a": "after: [b]", "b": "after: [a]"},
			inEffect: map[string]supervisor.Order{"a": {}, "b": {After: []string{"a"}}},
			want:     map[string]string{"a": `a.yaml:3:9: "after[0]": each would wait for the next: a -> b -> a`}},
		"two cycles": {files: map[string]string{"a": "after: [b]", "b": "after: [a]", "c": "after: [d]", "d": "after: [c]"},
			want: map[string]string{"b": `b.yaml:3:9: "after[0]": each would wait for the next: b -> a -> b`, "d": `d.yaml:3:9: "after[0]": each would wait for the next: d -> c -> d`}},
		"turned around at once": {files: map[string]string{"a": "after: [b]", "b": ""},
			inEffect: map[string]supervisor.Order{"a": {}, "b": {After: []string{"a"}}}},
		"a refused one counts as it is in effect": {files: map[string]string{"a": "after: [b, nobody]", "b": "after: [a]"},
			inEffect: map[string]supervisor.Order{"a": {After: []string{"b"}}},
			want:     map[string]string{"a": `a.yaml:3:12: "after[1]": there is no container "nobody"`, "b": `b.yaml:3:9: "after[0]": each would wait for the next: b -> a -> b`}},
	} {
		check := OrderCheck{Definitions: map[string]*Definition{}, Known: slices.Concat(slices.Sorted(maps.Keys(c.files)), c.broken)}
		for name, keys := range c.files {
			check.Definitions[name] = mustParse(t, name+".yaml", small+keys+"\n")
		}
		check.InEffect = func(name string) (supervisor.Order, bool) { o, ok := c.inEffect[name]; return o, ok }
		got := map[string]string{}
		for name, errs := range check.Errors() {
			got[name] = errs[0].Summary()
			if !strings.Contains(errs.Error(), "^") || errs[0].Hint == "" {
				t.Errorf("%s: the place is not shown, or there is no hint:\n%v", name, errs)
			}
		}
		if len(got)+len(c.want) > 0 && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// The order is part of what is shown.
func TestOrderIsShown(t *testing.T) {
	data, err := mustParse(t, "app.yaml", small+"requires: [db]\nready: notify\n").Effective()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"requires":["db"]`, `"type":"simple"`, `"ready":{"on":"notify","timeout":"1m30s"}`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s is not in %s", want, data)
		}
	}
	data, err = mustParse(t, "app.yaml", small+"type: oneshot\n").Effective()
	if err != nil || !strings.Contains(string(data), `"type":"oneshot"`) || strings.Contains(string(data), `"ready"`) {
		t.Errorf("%s, %v", data, err)
	}
}
