package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/runcsup/runcsup/supervisor"
)

// timeLayout is how moments are printed for people.
const timeLayout = "2006-01-02 15:04:05 MST"

// short is a duration in at most two units: "45s", "4m", "3h12m", "12d3h". A negative one is "0s": clocks jump.
func short(d time.Duration) string {
	d = max(d, 0)
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
}

// moment is a point in time and how far away it is: "2026-11-23 05:05:00 UTC, 4m ago" or "…, in 12s".
func moment(t, now time.Time) string {
	text := t.In(now.Location()).Format(timeLayout) + ", "
	if t.After(now) {
		return text + until(t, now)
	}
	return text + short(now.Sub(t)) + " ago"
}

// until is how long it takes until t: "in 12s", or "now".
func until(t, now time.Time) string {
	d := t.Sub(now)
	if d <= 0 {
		return "now"
	}
	// Rounded up: what is due in half a second is not due in none.
	return "in " + short((d + time.Second - 1).Truncate(time.Second))
}

// exitBrief is how an instance ended, for a table.
func exitBrief(e *supervisor.Exit) string {
	switch e.Reason {
	case supervisor.ReasonExited:
		return fmt.Sprintf("exited %d", e.Code)
	case supervisor.ReasonSignaled:
		return "SIG" + printable(e.Signal)
	case supervisor.ReasonOOM:
		return "OOM"
	case supervisor.ReasonStartFailed:
		return "start failed"
	default:
		return printable(string(e.Reason))
	}
}

// exitInWords is how an instance ended, in a sentence.
func exitInWords(e *supervisor.Exit) string {
	switch e.Reason {
	case supervisor.ReasonExited:
		return fmt.Sprintf("exited with code %d", e.Code)
	case supervisor.ReasonSignaled:
		return "ended by signal " + printable(e.Signal)
	case supervisor.ReasonOOM:
		return "killed by the kernel at its memory limit"
	case supervisor.ReasonUnhealthy:
		return "ended because it was unhealthy" + exitDetail(e)
	case supervisor.ReasonStartFailed:
		return "could not be started"
	case supervisor.ReasonStopped:
		return "stopped as told" + exitDetail(e)
	case supervisor.ReasonUnknown:
		return "ended while nobody could see how"
	default:
		return printable(string(e.Reason)) + exitDetail(e)
	}
}

// exitDetail is the code or signal behind another reason.
func exitDetail(e *supervisor.Exit) string {
	switch {
	case e.Signal != "":
		return " (signal " + printable(e.Signal) + ")"
	case e.Code >= 0:
		return fmt.Sprintf(" (exit code %d)", e.Code)
	default:
		return ""
	}
}

// printable keeps text that came from elsewhere from commanding the terminal. Newlines and tabs stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// indented puts prefix before every line but the first, without a newline at the end.
func indented(s, prefix string) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+prefix)
}
