package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// A position that is damaged in any byte costs no daemon and no later line, whatever it is of the line that was under way.
func TestDamagedPosition(t *testing.T) {
	w := newWorld(t, nil)
	path := filepath.Join(w.dir, "output", "npd", "position")
	stdout, stderr := w.open("npd")
	say(t, stdout, "first\nhalf a line")
	w.settle()
	size := int(unsafe.Sizeof(record{}))
	for i := range size + 1 {
		must(t, w.c.Close())
		position, err := os.ReadFile(path)
		must(t, err)
		if i < size {
			position[i] ^= 0xff
		} else {
			position = nil
		}
		must(t, os.WriteFile(path, position, 0o600))
		w.begin()
		must(t, w.c.Configure("npd", fileDriver))
		say(t, stdout, fmt.Sprintf("\nafter %d\nhalf a line", i))
		w.settle()
		got := w.texts("npd", Query{Tail: -1})
		if !slices.Contains(got, "stdout F first") || !slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, fmt.Sprintf("F after %d", i)) }) {
			t.Fatalf("byte %d: %q", i, got)
		}
	}
	must(t, errors.Join(stdout.Close(), stderr.Close()))
}

// Queries over rotated, compressed and current files.
func TestQueriesOverRotations(t *testing.T) {
	w := newWorld(t, nil)
	must(t, w.c.Configure("npd", Options{Driver: DriverFile, MaxSize: 20 << 10, MaxFiles: 1000}))
	stdout, stderr := w.open("npd")
	const count = 5000
	for i := range count {
		say(t, stdout, fmt.Sprintf("%d\n", i))
		if i%500 == 0 {
			w.settle()
		}
	}
	w.settle()
	w.c.compressor.wait()
	zipped, err := filepath.Glob(filepath.Join(w.dir, "log", "npd.log.*.gz"))
	must(t, err)
	if len(zipped) < 3 {
		t.Fatalf("%d compressed files", len(zipped))
	}
	all := w.texts("npd", Query{Tail: -1})
	if len(all) != count {
		t.Fatalf("%d lines", len(all))
	}
	var lines []Line
	must(t, w.c.Read(t.Context(), "npd", Query{Tail: -1}, func(l Line) error { lines = append(lines, l); return nil }))
	for _, n := range []int{0, 1, 7, 1000, count - 1, count, count + 1} {
		if got, want := w.texts("npd", Query{Tail: n}), all[max(0, count-n):]; !slices.Equal(got, want) {
			t.Errorf("the last %d are %d", n, len(got))
		}
	}
	for _, i := range []int{0, 1, 499, 2500, count - 2, count - 1} {
		if got := w.texts("npd", Query{Tail: -1, After: lines[i].Cursor}); !slices.Equal(got, all[i+1:]) {
			t.Errorf("after %d there are %d", i, len(got))
		}
		if got := w.texts("npd", Query{Tail: -1, Since: lines[i].Time}); !slices.Equal(got, all[i:]) {
			t.Errorf("since %d there are %d", i, len(got))
		}
		if got := w.texts("npd", Query{Tail: -1, Until: lines[i].Time}); !slices.Equal(got, all[:i]) {
			t.Errorf("until %d there are %d", i, len(got))
		}
	}
	must(t, errors.Join(stdout.Close(), stderr.Close()))
}
