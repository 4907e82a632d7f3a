package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/runcsup/runcsup/internal/words"
	"github.com/runcsup/runcsup/supervisor"
)

// short is a duration in at most two units.
func short(d time.Duration) string { return words.Duration(d) }

// moment is a point in time and how far away it is.
func moment(t, now time.Time) string { return words.Moment(t, now) }

// until is how long it takes until t.
func until(t, now time.Time) string { return words.Until(t, now) }

// exitBrief is how an instance ended, for a table.
func exitBrief(e *supervisor.Exit) string { return words.Exit(e) }

// printable keeps text that came from elsewhere from commanding the terminal.
func printable(s string) string { return words.Printable(s) }

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

// indented puts prefix before every line but the first, without a newline at the end.
func indented(s, prefix string) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+prefix)
}
