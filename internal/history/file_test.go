package history

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// tempFile is a container's file that is not there yet.
func tempFile(t *testing.T) file {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, containersDir), 0o700); err != nil {
		t.Fatal(err)
	}
	return file{containerPath(dir, "web")}
}

// entry is the nth of a test.
func entry(n int) Entry {
	e := Entry{ID: int64(n), At: time.UnixMilli(1_700_000_000_000 + int64(n)).UTC(), Container: "web", Type: "exited", Why: fmt.Sprintf("reason %d", n)}
	if n%2 == 0 {
		e.Exit, e.RanSeconds, e.MemoryPeakBytes = &Exit{Reason: "exited", Code: n % 256}, 1.5, 1<<20
	}
	return e
}

func lines(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b []byte
	for _, e := range entries {
		line, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, line...)
	}
	return b
}

// ids are those of the entries that are not damaged, and how many are.
func ids(entries []Entry) (good []int64, damaged int) {
	for _, e := range entries {
		if e.Type == TypeDamaged {
			damaged++
		} else {
			good = append(good, e.ID)
		}
	}
	return good, damaged
}

func mustRead(t testing.TB, f file) []Entry {
	t.Helper()
	got, err := f.read(Query{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A write that ended after any number of its bytes costs the lines it had not finished, and nothing that comes before or
// after.
func TestTornAtEveryByte(t *testing.T) {
	f := tempFile(t)
	before, torn, after := lines(t, entry(1), entry(2)), lines(t, entry(3), entry(4)), lines(t, entry(5))
	third := len(lines(t, entry(3)))
	for cut := range len(torn) {
		if err := os.WriteFile(f.path, slices.Concat(before, torn[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		want, wantDamaged := []int64{1, 2}, 0
		if cut >= third {
			want = append(want, 3)
		}
		if cut != 0 && cut != third {
			wantDamaged = 1
		}
		if good, damaged := ids(mustRead(t, f)); !slices.Equal(good, want) || damaged != wantDamaged {
			t.Fatalf("cut at %d: read %v and %d damaged, want %v and %d", cut, good, damaged, want, wantDamaged)
		}
		// An id that only its newline keeps from being read is not given again either.
		newest := int64(2 + (cut+1)/third)
		if id, err := f.lastID(); err != nil || id < want[len(want)-1] || id > newest {
			t.Fatalf("cut at %d: the last id is %d, %v", cut, id, err)
		}
		if err := f.append(after); err != nil {
			t.Fatal(err)
		}
		want = append(want, 5)
		// A line of which only its newline is missing is whole again when the next one is written.
		if cut == third-1 {
			want, wantDamaged = []int64{1, 2, 3, 5}, 0
		}
		if cut == len(torn)-1 {
			want, wantDamaged = []int64{1, 2, 3, 4, 5}, 0
		}
		if good, damaged := ids(mustRead(t, f)); !slices.Equal(good, want) || damaged != wantDamaged {
			t.Fatalf("cut at %d, then one more: read %v and %d damaged, want %v and %d", cut, good, damaged, want, wantDamaged)
		}
	}
}

// Whatever a disk makes of one line, the others are read, and what is read was written.
func TestDamage(t *testing.T) {
	f := tempFile(t)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "entries")
		var data []byte
		var begins []int
		for i := range n {
			line, err := encode(entry(i + 1))
			if err != nil {
				t.Fatal(err)
			}
			begins = append(begins, len(data))
			data = append(data, line...)
		}
		at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
		was := data[at]
		data[at] = rapid.Byte().Draw(t, "byte")
		hit := 0
		for hit+1 < n && begins[hit+1] <= at {
			hit++
		}
		if err := os.WriteFile(f.path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := f.read(Query{})
		if err != nil {
			t.Fatal(err)
		}
		good, damaged := ids(got)
		for i := range n {
			next := hit + 1 // a newline that is gone takes the next line with it
			spared := i != hit && (i != next || was != '\n' || data[at] == '\n')
			if spared && !slices.Contains(good, int64(i+1)) {
				t.Fatalf("line %d was changed, and line %d is lost: %v", hit, i, good)
			}
		}
		if len(good) < n && damaged == 0 {
			t.Fatalf("%d of %d are lost, and nobody is told", n-len(good), n)
		}
		for _, e := range got {
			if want := entry(int(e.ID)); e.Type != TypeDamaged && (e.Why != want.Why || !e.At.Equal(want.At)) {
				t.Fatalf("read %+v, which was never written", e)
			}
		}
		if !slices.IsSorted(good) {
			t.Fatalf("out of order: %v", good)
		}
	})
}

func TestDamageIsToldInItsPlace(t *testing.T) {
	f := tempFile(t)
	data := slices.Concat([]byte("rubbish\n\x00\x00\x00\n"), lines(t, entry(7)), []byte("{}\n"), lines(t, entry(9)))
	if err := os.WriteFile(f.path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range mustRead(t, f) {
		got = append(got, fmt.Sprintf("%d %s %s %s", e.ID, e.Container, e.Type, e.Why))
	}
	want := []string{
		"6 web damaged 2 lines of web.jsonl cannot be read",
		"7 web exited reason 7",
		"7 web damaged one line of web.jsonl cannot be read",
		"9 web exited reason 9",
	}
	if !slices.Equal(got, want) {
		t.Errorf("read:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// All of it: then it is told of the time when the file was written.
	if err := os.WriteFile(f.path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := f.read(Query{Containers: []string{"web"}})
	if err != nil || len(all) != 1 || all[0].Type != TypeDamaged || time.Since(all[0].At) > time.Hour {
		t.Errorf("of rubbish: %+v, %v", all, err)
	}
}

// The two halves never have more than 256 KiB, and always the newest entries, at least 128 KiB of them.
func TestBound(t *testing.T) {
	f := tempFile(t)
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	long := strings.Repeat("x", 1000)
	for n := 1; n <= 1000; n++ {
		e := entry(n)
		e.Why = long
		if err := f.append(lines(t, e)); err != nil {
			t.Fatal(err)
		}
		now, old := size(f.path), size(f.path+oldExt)
		if now > halfSize || old > halfSize {
			t.Fatalf("after %d entries the halves have %d and %d bytes", n, now, old)
		}
		if n == 1000 && now+old < halfSize {
			t.Errorf("only %d bytes are kept", now+old)
		}
	}
	good, damaged := ids(mustRead(t, f))
	if len(good) < 100 || damaged != 0 || good[len(good)-1] != 1000 || good[0] != int64(1000-len(good)+1) {
		t.Errorf("kept %d entries, %d damaged: %v", len(good), damaged, good)
	}
	for _, limit := range []int{1, 10, len(good) - 1, len(good), len(good) + 1} {
		some, err := f.read(Query{Limit: limit})
		if got, _ := ids(some); err != nil || !slices.Equal(got, good[max(0, len(good)-limit):]) {
			t.Errorf("the newest %d are %d, %v", limit, len(got), err)
		}
	}
	if some, err := f.read(Query{After: 990}); err != nil || len(some) != 10 || some[0].ID != 991 {
		t.Errorf("after 990 there are %d, %v", len(some), err)
	}
}

// A full disk: what does not fit leaves nothing behind, and the next write after there is space is good.
func TestAppendToAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("these tests need root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	f := file{filepath.Join(dir, "web.jsonl")}
	if err := f.append(lines(t, entry(1))); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for block := bytes.Repeat([]byte("x"), 4096); err == nil; {
		_, err = fill.Write(block)
	}
	// The page that the file has is filled, and the rest of the write is not.
	var many []Entry
	for n := 2; n < 100; n++ {
		many = append(many, entry(n))
	}
	was, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.append(lines(t, many...)); err == nil {
		t.Fatal("the test is wrong: it fits")
	}
	if is, err := os.ReadFile(f.path); err != nil || !bytes.Equal(is, was) {
		t.Errorf("a write that failed left %q (%v)", is[len(was):], err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := fill.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.append(lines(t, many...)); err != nil {
		t.Fatal(err)
	}
	if good, damaged := ids(mustRead(t, f)); len(good) != 99 || damaged != 0 {
		t.Errorf("%d entries, %d damaged", len(good), damaged)
	}
}

// Of any bytes only lines with a right checksum are read, damage is told unless there is none, and an entry that follows on
// a line of its own is always found.
func FuzzRead(f *testing.F) {
	whole := lines(f, entry(1), entry(2), entry(3))
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(strings.ToUpper(string(whole))))
	f.Add([]byte("\x00\x00\x00\x00\n"))
	f.Add([]byte(`{"id":1,"type":"started","crc":"00000000"}` + "\n"))
	read := func(data []byte) []Entry {
		s := search{limit: MaxEntries, name: "web.jsonl", written: time.UnixMilli(1)}
		s.lines(data)
		slices.Reverse(s.found)
		return s.found
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := read(data)
		for i, e := range before {
			if e.Type == "" || e.ID < 0 || i > 0 && e.Type == TypeDamaged && before[i-1].Type == TypeDamaged {
				t.Errorf("read %+v", e)
			}
		}
		if len(bytes.Trim(data, "\n")) > 0 && len(before) == 0 {
			t.Error("there is something, and nothing is told of it")
		}
		after := read(slices.Concat(data, []byte("\n"), lines(t, entry(77))))
		if len(after) == 0 || after[len(after)-1].ID != 77 {
			t.Errorf("what was added to %q is not read", data)
		}
	})
}
