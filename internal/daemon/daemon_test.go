package daemon

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/supervisor"
)

// What a run directory on a disk kept of before a reboot is cleared, what it has of this boot is not.
func TestForgetEarlierBoot(t *testing.T) {
	s := config.DefaultSettings()
	s.RunDir = t.TempDir()
	secret := filepath.Join(s.RunDir, "secrets", "npd", "0")
	state := filepath.Join(runtimeDir(s), "npd", "state.json")
	lay := func() {
		for _, file := range []string{secret, state} {
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	const one, two = "11111111-2222-4333-8444-555555555555", "21111111-2222-4333-8444-555555555555"
	d := &Daemon{settings: s, log: slog.New(slog.DiscardHandler)}
	for _, step := range []struct {
		boot    string
		stays   bool
		damaged string // what the file is before it
	}{
		{one, true, ""}, {one, true, ""}, {two, false, ""}, {two, true, ""}, {two, true, two[:20]}, {two, true, "31111111-2222-4333-8444-555555555555 crc32c:00000000\n"},
		{two, true, "\n"}, {one, false, ""},
	} {
		lay()
		if step.damaged != "" {
			if err := os.WriteFile(filepath.Join(s.RunDir, "boot-id"), []byte(step.damaged), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d.bootID = step.boot
		if err := d.forgetEarlierBoot(); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{secret, state} {
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) == step.stays {
				t.Errorf("%+v: %s: %v", step, file, err)
			}
		}
	}
}

// The watchdog's check names the main loop when that hangs, and does not hang with it.
func TestCheckNoticesAHungMainLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Daemon{pings: make(chan chan struct{}), supervisor: supervisor.New(supervisor.Config{})}
		defer d.supervisor.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := d.check(ctx); err == nil || !strings.Contains(err.Error(), "the main loop does not answer") {
			t.Errorf("hung: %v", err)
		}
		go func() { close(<-d.pings) }()
		if err := d.check(t.Context()); err != nil {
			t.Errorf("alive: %v", err)
		}
	})
}

func TestInstanceID(t *testing.T) {
	if id := instanceID("/run/runcsup"); id != "" {
		t.Errorf("the default run directory has %q", id)
	}
	a, b := instanceID("/run/a"), instanceID("/run/b")
	if len(a) != 8 || a == b {
		t.Errorf("%q, %q", a, b)
	}
}

func TestSettingsChanges(t *testing.T) {
	parse := func(text string) *config.Definition {
		t.Helper()
		d, err := config.Parse("npd.yaml", []byte("rootfs: /srv\ncommand: [a]\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for text, want := range map[string][]string{
		"":                             nil,
		"restart: always":              nil,
		"restart: no":                  {"restart"},
		"stop: {timeout: 1s}":          {"stop"},
		"log: none":                    {"log"},
		"enabled: false":               {"enabled"},
		"log: none\nrestart: on-abort": {"restart", "log"},
	} {
		if got := settingsChanges(parse(""), parse(text)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A file that came back, or changed while its turn was awaited, is read as it is now.
func TestReread(t *testing.T) {
	file := filepath.Join(t.TempDir(), "npd.yaml")
	gone := config.Loaded{Name: "npd", File: file, Err: errGone}
	if l := reread(new(config.Loader), gone); !errors.Is(l.Err, errGone) {
		t.Errorf("gone: %+v", l)
	}
	if err := os.Symlink(file+".target", file); err != nil {
		t.Fatal(err)
	}
	if l := reread(new(config.Loader), gone); l.Err == nil || errors.Is(l.Err, errGone) {
		t.Errorf("a link that leads nowhere: %+v", l)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("rootfs: /srv\ncommand: [a]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if l := reread(new(config.Loader), gone); l.Err != nil || l.Definition == nil {
		t.Errorf("back: %+v", l)
	}
	if err := os.WriteFile(file, []byte("nonsense: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if l := reread(new(config.Loader), config.Loaded{Name: "npd", File: file, Definition: &config.Definition{}}); l.Err == nil || l.Definition != nil {
		t.Errorf("broken meanwhile: %+v", l)
	}
	name := errors.New("rename it")
	if l := reread(new(config.Loader), config.Loaded{Name: "npd", File: file, Err: name}); !errors.Is(l.Err, name) {
		t.Errorf("a fault of the file's name: %+v", l)
	}
}

// Whoever waits for the turn with a container that is removed meanwhile gets the next one of that name.
func TestTurnAfterRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCatalog()
		first, err := c.take(t.Context(), "npd", "npd.yaml")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan *entry)
		go func() {
			e, err := c.take(t.Context(), "npd", "npd.yaml")
			if err != nil {
				t.Error(err)
			}
			got <- e
		}()
		synctest.Wait()
		c.remove(first)
		if first.giveBack() {
			t.Error("who waits for the turn asks for no second look")
		}
		if second := <-got; second == first || c.get("npd") != second {
			t.Error("the turn is with an entry that is gone")
		}
	})
}

// Who does not wait for a turn is not forgotten.
func TestLookAgain(t *testing.T) {
	d := &Daemon{catalog: newCatalog(), lookAgain: make(chan struct{}, 1)}
	e, err := d.catalog.take(t.Context(), "npd", "npd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if e.tryTake() {
		t.Fatal("two have the turn")
	}
	d.giveBack(e)
	select {
	case <-d.lookAgain:
	default:
		t.Error("nobody looks again")
	}
	if !e.tryTake() {
		t.Fatal("the turn is not free")
	}
	d.giveBack(e)
	select {
	case <-d.lookAgain:
		t.Error("looked at again without need")
	default:
	}
}
