package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
		Version: supervisor.RecordVersion, BootID: "4a6ae1e8-9e3f-4a4e-8d1c-0d3e3b3a2b11", StoppedByHand: true, EnabledOverride: &off,
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
	for _, whole := range [][]byte{mustEncode(t, sample()), mustJSON(t)} {
		for n := range len(bytes.TrimSpace(whole)) {
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
}

// damages calls f with data of which one byte is another one, for every byte: with each of its bits flipped, and as what disks
// and programs leave.
func damages(data []byte, f func(at int, damaged []byte)) {
	damaged := bytes.Clone(data)
	for at, was := range data {
		others := []byte("\x00\xff 0\"\n")
		for bit := range 8 {
			others = append(others, was^1<<bit)
		}
		for _, b := range others {
			if damaged[at] = b; b != was {
				f(at, damaged)
			}
		}
		damaged[at] = was
	}
}

// A byte that is another one is noticed, wherever it is, unless it changes nothing: JSON does not care about white space, nor
// Go's about capitals in keys. Nothing is taken for a record of a later version.
func TestEveryByteChanged(t *testing.T) {
	whole := mustEncode(t, sample())
	noticed := 0
	damages(whole, func(at int, data []byte) {
		r, err := decode("npd.json", data)
		switch {
		case errors.Is(err, ErrDamaged):
			noticed++
		case err != nil:
			t.Errorf("byte %d is %q: %v", at, data[at], err)
		case !reflect.DeepEqual(r, sample()):
			t.Errorf("byte %d is %q: %+v", at, data[at], r)
		}
	})
	if noticed < 10*len(whole) {
		t.Errorf("%d damages of %d bytes were noticed", noticed, len(whole))
	}
}

// The same of a definition, in which a text without a checksum is one of an older program.
func TestEveryByteOfADefinitionChanged(t *testing.T) {
	const src = "rootfs: /srv/npd\ncommand: [npd]\nresources: {memory: 256MiB}\n"
	whole := sealDefinition([]byte(src))
	damages(whole, func(at int, data []byte) {
		got, err := unsealDefinition(data)
		switch {
		case errors.Is(err, ErrDamaged):
		case err != nil:
			t.Errorf("byte %d is %q: %v", at, data[at], err)
		case !strings.HasSuffix(string(got), src):
			t.Errorf("byte %d is %q: %q", at, data[at], got)
		}
	})
	for n := range whole {
		got, err := unsealDefinition(whole[:n])
		if !errors.Is(err, ErrDamaged) && (err != nil || !strings.HasPrefix(definitionMark, string(got))) {
			t.Errorf("cut at %d: %q, %v", n, got, err)
		}
	}
	if got, err := unsealDefinition(whole); err != nil || string(got) != src {
		t.Errorf("whole: %q, %v", got, err)
	}
	if got, err := unsealDefinition([]byte(src)); err != nil || string(got) != src {
		t.Errorf("of an older program: %q, %v", got, err)
	}
}

func mustEncode(t *testing.T, r supervisor.Record) []byte {
	t.Helper()
	data, err := encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A record of version 1 is what its file holds, without an envelope.
func TestOldRecords(t *testing.T) {
	const first = `{"version":1,"bootId":"4a6ae1e8","stoppedByHand":true,"enabledOverride":false,"state":"running",
		"instance":{"bootId":"4a6ae1e8","pid":4711,"startTime":99},"startedAt":"2026-11-23T05:05:00Z","restarts":3,"attempt":2,
		"starts":["2026-11-23T05:05:00Z"],"lastExit":{"reason":"exited","code":3,"signal":"","at":"2026-11-23T05:05:00Z"}}`
	s := newStore(t)
	if err := os.WriteFile(s.path("npd"), []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.Load("npd")
	if err != nil || r.Restarts != 3 || !r.StoppedByHand || r.Instance == nil || r.Instance.Pid != 4711 || r.LastExit.Code != 3 {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := s.CheckVersions(); err != nil {
		t.Error(err)
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
	const record = `{"version":99,"whatever":[]}`
	text := fmt.Sprintf(`{"version": 99, "checksum": %q, "record": %s}`, checksum([]byte(record)), record)
	if err := os.WriteFile(s.path("npd"), []byte(text), 0o600); err != nil {
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

// A program that was built later and has a field more, but not another version, is a newer one, too.
func TestUnknownFieldIsOfANewerProgram(t *testing.T) {
	record := strings.TrimSuffix(string(mustJSON(t)), "}") + `,"mood":"good"}`
	text := fmt.Sprintf(`{"version": %d, "checksum": %q, "record": %s}`, sample().Version, checksum([]byte(record)), record)
	if r, err := decode("npd.json", []byte(text)); !errors.As(err, new(*NewerError)) || r.BootID != "" {
		t.Errorf("got %+v, %v", r, err)
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

// The boot of a directory is what it is, or cannot be told: taken for an earlier one, all that runs would be forgotten.
func TestBootInEveryByteChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "boot-id")
	const id = "4a6ae1e8-9e3f-4a4e-8d1c-0d3e3b3a2b11"
	if _, err := LoadBoot(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	if err := SaveBoot(file, id); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadBoot(file); err != nil || got != id {
		t.Fatalf("got %q, %v", got, err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadBoot(file); !errors.Is(err, ErrDamaged) && got != id {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	damages(whole, func(at int, data []byte) { try(fmt.Sprintf("byte %d is %q", at, data[at]), data) })
	for n := range whole {
		try(fmt.Sprint("cut at ", n), whole[:n])
	}
	if err := os.WriteFile(file, []byte(id+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadBoot(file); err != nil || got != id {
		t.Errorf("of an earlier program: %q, %v", got, err)
	}
}
