package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Streams are the names of a container's streams.
var Streams = [2]string{Stdout, Stderr}

// The streams.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// timeLayout is how CRI logs have a time: always UTC, always nine digits.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// Line is a line of a container's output, or a part of a long one.
type Line struct {
	Time    time.Time // when the daemon read it
	Stream  string    // Stdout or Stderr
	Partial bool      // its line goes on in the stream's next one
	Text    []byte    // without its end; any bytes
	// Cursor names the line, for Query.After.
	Cursor string
}

// jsonLine is a Line for programs. Bytes that are no UTF-8 cannot be in JSON: then data has all of them.
type jsonLine struct {
	Time    string `json:"time"` // RFC 3339 with all nine digits, as the cursor of the driver file is
	Stream  string `json:"stream"`
	Line    string `json:"line"`
	Data    []byte `json:"data,omitempty"`
	Partial bool   `json:"partial,omitempty"`
	Cursor  string `json:"cursor,omitempty"`
}

// MarshalJSON writes {"time":…,"stream":…,"line":…}, and where they say something "data", the exact bytes of a line that is
// no UTF-8, in base64, "partial" and "cursor".
func (l Line) MarshalJSON() ([]byte, error) {
	j := jsonLine{Time: l.Time.UTC().Format(timeLayout), Stream: l.Stream, Line: string(l.Text), Partial: l.Partial, Cursor: l.Cursor}
	if !utf8.Valid(l.Text) {
		j.Line, j.Data = string(bytes.ToValidUTF8(l.Text, []byte("\uFFFD"))), l.Text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(j); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Line) UnmarshalJSON(b []byte) error {
	var j jsonLine
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("log line: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, j.Time)
	if err != nil {
		return fmt.Errorf("log line: %w", err)
	}
	*l = Line{Time: at, Stream: j.Stream, Partial: j.Partial, Text: j.Data, Cursor: j.Cursor}
	if j.Data == nil {
		l.Text = []byte(j.Line)
	}
	return nil
}

var errNotCRI = errors.New("not a CRI log line")

// ParseCRI reads a line of a CRI log file, without its end: "TIME STREAM TAG TEXT", TAG being F or P, perhaps with more
// tags behind a colon. Text is part of b.
func ParseCRI(b []byte) (Line, error) {
	stamp, rest, ok := bytes.Cut(b, []byte(" "))
	if !ok || len(stamp) < len("2006-01-02T15:04:05Z") || len(stamp) > len("2006-01-02T15:04:05.000000000+00:00") {
		return Line{}, errNotCRI
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, errNotCRI
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	l := Line{Time: t.UTC()}
	switch {
	case !ok:
		return Line{}, errNotCRI
	case string(stream) == Stdout:
		l.Stream = Stdout
	case string(stream) == Stderr:
		l.Stream = Stderr
	default:
		return Line{}, errNotCRI
	}
	tags, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok { // an empty text may lack its space
		tags, text = rest, nil
	}
	switch tag, _, _ := bytes.Cut(tags, []byte(":")); string(tag) {
	case "F":
	case "P":
		l.Partial = true
	default:
		return Line{}, errNotCRI
	}
	l.Text = text
	l.Cursor = string(stamp)
	return l, nil
}

// parseLine is ParseCRI for what may be in our own files: lines of before this format count as said on stdout at t.
func parseLine(b []byte, t time.Time) Line {
	l, err := ParseCRI(b)
	if err != nil {
		l = Line{Time: t, Stream: Stdout, Text: b}
	}
	return l
}
