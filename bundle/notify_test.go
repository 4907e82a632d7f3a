package bundle

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func notifyMount(s *specs.Spec) *specs.Mount {
	i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/run/notify" })
	if i < 0 {
		return nil
	}
	return &s.Mounts[i]
}

// A container that is asked to notify gets a socket's directory, behind all that could hide it, and is told of it.
func TestNotify(t *testing.T) {
	b := newBuilder(t)
	s := generated(t, b, Options{Notify: &Notify{Watchdog: 30 * time.Second}, Mounts: []Mount{{Type: "tmpfs", Target: "/run"}}, Env: map[string]string{"A": "b"}})
	m := notifyMount(s)
	if m == nil || m.Source != b.NotifyDir("c1") || !slices.Contains(m.Options, "ro") {
		t.Fatalf("mounts are %+v", s.Mounts)
	}
	if last := s.Mounts[len(s.Mounts)-1]; last.Destination != "/run/notify" {
		t.Errorf("%s is mounted later", last.Destination)
	}
	for _, want := range []string{"A=b", "NOTIFY_SOCKET=/run/notify/notify.sock", "WATCHDOG_USEC=30000000"} {
		if !slices.Contains(s.Process.Env, want) {
			t.Errorf("%s is missing in %v", want, s.Process.Env)
		}
	}
	s = generated(t, b, Options{Notify: &Notify{}})
	if slices.ContainsFunc(s.Process.Env, func(v string) bool { return strings.HasPrefix(v, "WATCHDOG_USEC=") }) {
		t.Errorf("a watchdog that nobody asked for: %v", s.Process.Env)
	}
	s = generated(t, b, Options{})
	if notifyMount(s) != nil || slices.ContainsFunc(s.Process.Env, func(v string) bool { return strings.HasPrefix(v, "NOTIFY_SOCKET=") }) {
		t.Errorf("a socket that nobody asked for")
	}
}

func TestNotifyOfReadyBundle(t *testing.T) {
	b := newBuilder(t)
	config := strings.Replace(goodConfig, `"env": ["PATH=/bin"]`, `"env": ["PATH=/bin", "NOTIFY_SOCKET=/run/systemd/notify"]`, 1)
	dir := install(t, prepare(t, b, Options{Name: "c1", Bundle: readyDir(t, config), Notify: &Notify{Watchdog: time.Second}}))
	var s specs.Spec
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "config.json"))), &s); err != nil {
		t.Fatal(err)
	}
	if m := notifyMount(&s); m == nil || m.Source != b.NotifyDir("c1") {
		t.Errorf("mounts are %+v", s.Mounts)
	}
	if want := []string{"PATH=/bin", "NOTIFY_SOCKET=/run/notify/notify.sock", "WATCHDOG_USEC=1000000"}; !slices.Equal(s.Process.Env, want) {
		t.Errorf("environment is %v, want %v", s.Process.Env, want)
	}
}

// Another time for the watchdog is for a new instance, as is a socket that comes or goes.
func TestNotifyIsPartOfThePlan(t *testing.T) {
	b := newBuilder(t)
	o := Options{Name: "c1", Rootfs: t.TempDir(), Command: []string{"a"}}
	seen := map[string]bool{}
	for _, n := range []*Notify{nil, {}, {Watchdog: time.Second}} {
		o.Notify = n
		p, err := b.Plan(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		seen[p.Hash] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d different hashes", len(seen))
	}
}

func TestNotifyThatIsTaken(t *testing.T) {
	b := newBuilder(t)
	for want, o := range map[string]Options{
		"env.NOTIFY_SOCKET: is set here already":                        {Env: map[string]string{"NOTIFY_SOCKET": "/x"}},
		"notify: /run/notify is the target of mounts[0].target already": {Mounts: []Mount{{Type: "tmpfs", Target: "/run/notify"}}},
	} {
		o.Name, o.Rootfs, o.Command, o.Notify = "c1", t.TempDir(), []string{"a"}, &Notify{}
		if _, err := b.Plan(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
