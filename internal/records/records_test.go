package records

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

func sample() supervisor.Record {
	at := time.Date(2026, 11, 23, 5, 5, 0, 0, time.UTC)
	off := false
	return supervisor.Record{
		Version: 1, BootID: "4a6ae1e8-9e3f-4a4e-8d1c-0d3e3b3a2b11", StoppedByHand: true, EnabledOverride: &off,
		State: supervisor.StateRunning, Instance: &supervisor.Identity{BootID: "4a6ae1e8", Pid: 4711, StartTime: 99},
		StartedAt: &at, Restarts: 3, Attempt: 2, Starts: []time.Time{at}, NextStartAt: &at,
		LastExit: &supervisor.Exit{Reason: supervisor.ReasonExited, Code: 3, At: at},
	}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := New(filepath.Join(t.TempDir(), "records"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	s := newStore(t)
	if r, err := s.Load("npd"); err != nil || !reflect.DeepEqual(r, supervisor.Record{}) {
		t.Fatalf("a name that is not known: %+v, %v", r, err)
	}
	for _, durable := range []bool{false, true} {
		want := sample()
		want.StoppedByHand = durable
		if err := s.Save("npd", want, durable); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load("npd"); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
	for path, mode := range map[string]fs.FileMode{s.dir: 0o700 | fs.ModeDir, s.path("npd"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
	for range 2 {
		if err := s.Delete("npd"); err != nil {
			t.Fatal(err)
		}
	}
	if entries, _ := os.ReadDir(s.dir); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

// A file that is cut anywhere is damaged, never a record.
func TestCut(t *testing.T) {
	s := newStore(t)
	whole, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(s.path("npd"), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Load("npd")
		if !errors.Is(err, ErrDamaged) || !reflect.DeepEqual(r, supervisor.Record{}) {
			t.Fatalf("cut at %d: %+v, %v", n, r, err)
		}
		kept, err := os.ReadFile(s.path("npd") + ".damaged")
		if err != nil || string(kept) != string(whole[:n]) {
			t.Fatalf("cut at %d: not set aside: %v", n, err)
		}
		if _, err := os.Stat(s.path("npd")); err == nil {
			t.Fatalf("cut at %d: still in place", n)
		}
	}
}

// A flipped bit gives an error or a record that holds together, never a panic.
func TestFlipped(t *testing.T) {
	whole, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for bit := range 8 {
			data := []byte(string(whole))
			data[i] ^= 1 << bit
			r, err := decode("npd.json", data)
			if err != nil {
				continue
			}
			if r.State == "" || r.BootID == "" || r.Instance != nil && r.Instance.Pid <= 0 {
				t.Fatalf("byte %d, bit %d: %+v", i, bit, r)
			}
		}
	}
}

func TestNotARecord(t *testing.T) {
	for name, data := range map[string]string{
		"another thing": `{"name":"npd"}`, "an array": `[]`, "null": `null`, "twice": string(mustJSON(t)) + string(mustJSON(t)),
		"nothing": "", "no version": `{"bootId":"b","state":"running"}`, "zeros": strings.Repeat("\x00", 400),
		"negative": `{"version":1,"bootId":"b","state":"running","restarts":-1,"attempt":0,"stoppedByHand":false}`,
	} {
		if _, err := decode("npd.json", []byte(data)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustJSON(t *testing.T) []byte {
	t.Helper()
	data, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestNewerVersionIsLeftAlone(t *testing.T) {
	s := newStore(t)
	if err := os.WriteFile(s.path("npd"), []byte(`{"version":2,"whatever":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var newer *NewerError
	if _, err := s.Load("npd"); !errors.As(err, &newer) {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path("npd")); err != nil {
		t.Error("it was moved")
	}
	if err := s.CheckVersions(); !errors.As(err, &newer) {
		t.Errorf("check: %v", err)
	}
	if err := s.Save("npd", sample(), false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("damaged"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckVersions(); err != nil {
		t.Errorf("check of what can be read: %v", err)
	}
}

func TestInterruptedWritesAreSwept(t *testing.T) {
	s := newStore(t)
	left := filepath.Join(s.dir, tempPrefix+"123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Save("npd", sample(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := New(s.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Error("still there")
	}
	if _, err := s.Load("npd"); err != nil {
		t.Error(err)
	}
}

// What cannot be written leaves the old record and no file beside it.
func TestWriteThatFails(t *testing.T) {
	s := newStore(t)
	if err := s.Save("npd", sample(), false); err != nil {
		t.Fatal(err)
	}
	// A directory in the way of the rename.
	if err := os.Mkdir(s.path("other"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Save("other", sample(), true); err == nil {
		t.Fatal("no error")
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestDefinitions(t *testing.T) {
	d, err := NewDefinitions(filepath.Join(t.TempDir(), "definitions"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load("npd"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := d.Save("npd", []byte("rootfs: /srv\n")); err != nil {
		t.Fatal(err)
	}
	if src, err := d.Load("npd"); err != nil || string(src) != "rootfs: /srv\n" {
		t.Error(string(src), err)
	}
	if names, err := d.List(); err != nil || !reflect.DeepEqual(names, []string{"npd"}) {
		t.Error(names, err)
	}
	for range 2 {
		if err := d.Delete("npd"); err != nil {
			t.Error(err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	first, err := Lock(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir, 0); err == nil || !strings.Contains(err.Error(), "in use by another runcsup daemon") {
		t.Errorf("second lock: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Lock(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

// A lock that is given back in time is taken.
func TestLockIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	first, err := Lock(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	time.AfterFunc(100*time.Millisecond, func() { closed <- first.Close() })
	second, err := Lock(dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-closed, second.Close()); err != nil {
		t.Fatal(err)
	}
}
