package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// shownOutput is how many characters of what a probe said are shown; -o json has all that is kept.
const shownOutput = 60

// probesText is what the probes of a container found: a line for each, and below it one for each of its last results.
func probesText(probes []supervisor.ProbeStatus, now time.Time) string {
	var b strings.Builder
	for _, p := range probes {
		fmt.Fprintf(&b, "%s (%s): %s\n", printable(p.Probe), printable(p.Kind), streakText(p, now))
		var t table
		for _, r := range p.Results {
			t.add("  "+short(now.Sub(r.At))+" ago", printable(r.Outcome), tookText(r.Seconds), briefOutput(r.Output))
		}
		if len(p.Results) > 0 {
			b.WriteString(t.String())
		}
	}
	return b.String()
}

func streakText(p supervisor.ProbeStatus, now time.Time) string {
	text := "nothing yet"
	switch n := p.Streak; {
	case n == 1:
		text = "succeeded"
	case n > 1:
		text = fmt.Sprintf("succeeded %d times in a row", n)
	case n == -1:
		text = "failed"
	case n < -1:
		text = fmt.Sprintf("failed %d times in a row", -n)
	}
	if p.NextAt != nil {
		text += ", next " + until(*p.NextAt, now)
	}
	return text
}

// tookText is a duration to three digits: 4ms, 61ms, 1.01s, 23s.
func tookText(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return short(d)
}

// briefOutput is the beginning of what a probe said.
func briefOutput(output string) string {
	line, rest, _ := strings.Cut(printable(strings.TrimSpace(output)), "\n")
	if text := []rune(line); len(text) > shownOutput {
		return string(text[:shownOutput]) + "…"
	}
	if rest != "" {
		return line + " …"
	}
	return line
}
