package health

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Result is one probe that was carried out, or could not be.
type Result struct {
	At       time.Time     // when it began
	Duration time.Duration // until its outcome was there
	Outcome  Outcome
	// Output is what the probe said, as printable text of at most MaxOutput bytes.
	Output string
}

// Report is what is known of one probe of an instance.
type Report struct {
	Role Role
	Kind Kind
	// Streak is how many of the last outcome there were in a row, not counting unknown ones; negative for failures.
	Streak int
	// Results are the last ones, oldest first, MaxResults at most. Repeated pings of a watchdog are one result.
	Results []Result
	// Due is when the next one begins, zero if none is set.
	Due time.Time
}

// Bounds of what is kept of results.
const (
	MaxResults = 5
	MaxOutput  = 1024
)

// results are the last ones of a probe.
type results struct {
	list []Result
}

func (r *results) add(one Result) {
	if len(r.list) == MaxResults {
		copy(r.list, r.list[1:])
		r.list = r.list[:MaxResults-1]
	}
	r.list = append(r.list, one)
}

// last returns the newest result, nil if there is none.
func (r *results) last() *Result {
	if len(r.list) == 0 {
		return nil
	}
	return &r.list[len(r.list)-1]
}

// maxWhy is how much of a probe's output tells why an instance is unhealthy.
const maxWhy = 256

// oneLine puts clean text on one line.
func oneLine(text string, most int) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	return clean(strings.Join(lines, "; "), most)
}

// clean makes printable text of what a container says, of at most most bytes: what is neither printable nor a newline or
// tab becomes U+FFFD, since it may be meant for the terminal of whoever reads it.
func clean(text string, most int) string {
	cut := false
	if len(text) > most+utf8.UTFMax {
		text, cut = text[:most+utf8.UTFMax], true
	}
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		if r == '\r' {
			return -1
		}
		return utf8.RuneError
	}, text))
	if cut || len(text) > most {
		end := max(min(len(text), most)-len("…"), 0)
		for end > 0 && end < len(text) && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return text
}
