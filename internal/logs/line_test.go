package logs

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestParseCRI(t *testing.T) {
	at := time.Date(2026, 11, 25, 10, 0, 0, 123456789, time.UTC)
	for text, want := range map[string]Line{
		"2026-11-25T10:00:00.123456789Z stdout F hello world":          {Time: at, Stream: Stdout, Text: []byte("hello world")},
		"2026-11-25T10:00:00.123456789Z stderr P part":                 {Time: at, Stream: Stderr, Partial: true, Text: []byte("part")},
		"2026-11-25T10:00:00.123456789Z stdout F ":                     {Time: at, Stream: Stdout},
		"2026-11-25T10:00:00.123456789Z stdout F":                      {Time: at, Stream: Stdout},
		"2026-11-25T10:00:00.123456789Z stdout P:x  two spaces":        {Time: at, Stream: Stdout, Partial: true, Text: []byte(" two spaces")},
		"2026-11-25T12:00:00.123456789+02:00 stdout F of containerd":   {Time: at, Stream: Stdout, Text: []byte("of containerd")},
		"2026-11-25T10:00:00.123456789Z stdout F bad \xff\x00\r bytes": {Time: at, Stream: Stdout, Text: []byte("bad \xff\x00\r bytes")},
	} {
		l, err := ParseCRI([]byte(text))
		if err != nil || !l.Time.Equal(want.Time) || l.Stream != want.Stream || l.Partial != want.Partial || !bytes.Equal(l.Text, want.Text) {
			t.Errorf("%q: got %+v, %v", text, l, err)
		}
	}
	for _, text := range []string{"", "hello", "2026-11-25T10:00:00Z", "2026-11-25T10:00:00Z stdout", "2026-11-25T10:00:00Z stdin F x",
		"2026-11-25T10:00:00Z stdout X x", "2026-13-25T10:00:00Z stdout F x", "yesterday at ten o'clock stdout F x"} {
		if l, err := ParseCRI([]byte(text)); err == nil {
			t.Errorf("%q: got %+v", text, l)
		}
	}
}

// What a batch is written as is read as what it was, whatever bytes it is of, and what it is shortened to is what its
// beginning says.
func FuzzCRI(f *testing.F) {
	f.Add([]byte("one\ntwo\n\n"), 20)
	f.Add([]byte("half"), 3)
	f.Add([]byte("bad \xff\x00 bytes\r\n"), 70)
	f.Add([]byte(strings.Repeat("x", MaxLine+1)+"\n"+strings.Repeat("\n", 100)), 17000)
	f.Add([]byte(strings.Repeat("x", 2*MaxLine)), 0)
	f.Fuzz(func(t *testing.T, data []byte, keep int) {
		b := batch{stream: 1, time: 1764064799_999999990} // the second ends within it
		b.cut(data)
		if !bytes.HasPrefix(data, b.data) || len(data) > 0 && len(b.data) == 0 {
			t.Fatalf("%d of %d bytes", len(b.data), len(data))
		}
		framed := b.appendCRI(nil)
		var joined []byte
		pieces, last := 0, int64(0)
		for line := range bytes.Lines(framed) {
			l, err := ParseCRI(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil || l.Stream != Stderr || l.Time.UnixNano() <= last || len(l.Text) > MaxLine {
				t.Fatalf("%q: %+v, %v", line, l, err)
			}
			last = l.Time.UnixNano()
			pieces++
			joined = append(joined, l.Text...)
			if !l.Partial {
				joined = append(joined, '\n')
			}
		}
		if !bytes.Equal(joined, b.data) || pieces != b.pieces || bytes.Count(b.data, []byte("\n")) != b.lines {
			t.Fatalf("%q became %q in %d pieces (%d), %d lines", b.data, joined, pieces, b.pieces, b.lines)
		}
		if len(framed) > 0 {
			keep = int(uint(keep) % uint(len(framed)))
			whole := bytes.LastIndexByte(framed[:keep], '\n') + 1
			short := b
			short.shorten(whole)
			if got := short.appendCRI(nil); !bytes.Equal(got, framed[:whole]) {
				t.Fatalf("shortened to %d it is %q", whole, got)
			}
		}
	})
}

// Whatever is in a log file is a line, and goes to programs and back unchanged.
func FuzzParseCRI(f *testing.F) {
	for _, text := range []string{"2026-11-25T10:00:00.123456789Z stdout F hello", "2026-11-25T10:00:00Z stderr P:a:b \xff", "x", "", "2026-11-25T10:00:00Z stdout F"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if l, err := ParseCRI(text); err == nil && !bytes.HasSuffix(text, l.Text) {
			t.Fatalf("%q: text %q", text, l.Text)
		}
		l := parseLine(text, time.Unix(0, 0).UTC())
		if l.Time.Year() > 9999 || l.Time.Year() < 0 {
			return // JSON has no such times
		}
		b, err := json.Marshal(l)
		var back Line
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || !back.Time.Equal(l.Time) || back.Stream != l.Stream || back.Partial != l.Partial || !bytes.Equal(back.Text, l.Text) || back.Cursor != l.Cursor {
			t.Fatalf("%q: %+v became %+v by %s, %v", text, l, back, b, err)
		}
	})
}
