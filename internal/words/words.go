// Package words writes durations, moments, sizes, usage and ends of containers as people read them, the same way everywhere.
//
// It promises one line of printable text for each. The command line and internal/top call it.
package words

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/runcsup/runcsup/supervisor"
)

// layout is how moments are printed.
const layout = "2006-01-02 15:04:05 MST"

// Duration is in at most two units: "45s", "4m", "3h12m", "12d3h". A negative one is "0s": clocks jump.
func Duration(d time.Duration) string {
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

// Moment is a point in time and how far away it is: "2026-11-23 05:05:00 UTC, 4m ago" or "…, in 12s".
func Moment(t, now time.Time) string {
	text := t.In(now.Location()).Format(layout) + ", "
	if t.After(now) {
		return text + Until(t, now)
	}
	return text + Duration(now.Sub(t)) + " ago"
}

// Until is how long it takes until t: "in 12s", or "now".
func Until(t, now time.Time) string {
	d := t.Sub(now)
	if d <= 0 {
		return "now"
	}
	// Rounded up: what is due in half a second is not due in none.
	return "in " + Duration((d + time.Second - 1).Truncate(time.Second))
}

// Printable keeps text that came from elsewhere from commanding the terminal. Newlines and tabs stay.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// Exit is how an instance ended, for a table: "exited 3", "SIGSEGV", "OOM".
func Exit(e *supervisor.Exit) string {
	switch e.Reason {
	case supervisor.ReasonExited:
		return fmt.Sprintf("exited %d", e.Code)
	case supervisor.ReasonSignaled:
		return "SIG" + Printable(e.Signal)
	case supervisor.ReasonOOM:
		return "OOM"
	case supervisor.ReasonStartFailed:
		return "start failed"
	default:
		return Printable(string(e.Reason))
	}
}

// Size is bytes in at most four digits and a binary unit: "512B", "1.5K", "24.0M", "128M", "2.0G".
func Size(bytes float64) string {
	if bytes < 1024 {
		return strconv.FormatFloat(max(bytes, 0), 'f', 0, 64) + "B"
	}
	unit := -1
	for bytes >= 1023.5 && unit < len("KMGTPE")-1 {
		bytes /= 1024
		unit++
	}
	digits := 1
	if bytes >= 99.95 {
		digits = 0
	}
	return strconv.FormatFloat(bytes, 'f', digits, 64) + "KMGTPE"[unit:unit+1]
}

// Percent is a share with one digit, none from 100 on: "0.3", "99.9", "200".
func Percent(p float64) string {
	if p >= 99.95 {
		return strconv.FormatFloat(p, 'f', 0, 64)
	}
	return strconv.FormatFloat(max(p, 0), 'f', 1, 64)
}
