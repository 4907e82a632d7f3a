package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/words"
	"github.com/runcsup/runcsup/supervisor"
)

// row is an entry as it is shown, and what was decided after it.
type row struct {
	history.Entry
	decision *history.Entry // restart, no-restart or failed
}

// joinEnds makes one row of an end and of what follows from it, which are told one right after the other.
func joinEnds(entries []history.Entry) []row {
	var rows []row
	for _, e := range entries {
		if n := len(rows) - 1; n >= 0 && rows[n].Container == e.Container && rows[n].Exit != nil && rows[n].decision == nil {
			switch supervisor.EventType(e.Type) {
			case supervisor.EventRestart, supervisor.EventNoRestart, supervisor.EventFailed:
				rows[n].decision, rows[n].NextStartAt = &e, e.NextStartAt
				continue
			}
		}
		rows = append(rows, row{Entry: e})
	}
	return rows
}

// what is what happened, in a word or two.
func what(r row) string {
	if r.Exit != nil {
		brief := exitBrief(&supervisor.Exit{Reason: supervisor.Reason(r.Exit.Reason), Code: r.Exit.Code, Signal: r.Exit.Signal})
		switch r.Exit.Reason {
		case string(supervisor.ReasonUnknown):
			return "ended unseen"
		case string(supervisor.ReasonUnhealthy):
			return "ended unhealthy" // not to be taken for the verdict of its probes, which comes before
		}
		return brief
	}
	switch r.Type {
	case string(supervisor.EventError):
		return "trouble"
	case string(supervisor.EventUpdated):
		return "limits updated"
	case string(supervisor.EventRestart):
		return "will restart"
	case string(supervisor.EventNoRestart):
		return "stays down"
	case history.TypeApplied:
		if r.Action == control.ActionUnchanged {
			return "definition good again" // after it was refused
		}
		return "definition " + printable(r.Action)
	case history.TypeRefused:
		return "definition refused"
	case history.TypeGap, history.TypeDamaged:
		return "history " + r.Type
	}
	return printable(strings.ReplaceAll(r.Type, "-", " "))
}

// causeText are words for the causes, as the reason of a start or of an end.
var causeText = map[string]string{
	string(supervisor.CauseHand):       "by hand",
	string(supervisor.CauseDaemon):     "with the daemon",
	string(supervisor.CauseShutdown):   "the daemon was stopped",
	string(supervisor.CausePolicy):     "by its restart policy",
	string(supervisor.CauseDefinition): "new definition",
	string(supervisor.CauseDependency): "because of another container",
	string(supervisor.CauseRemoval):    "definition removed",
}

// whyText is the reason, with what followed from it.
func whyText(r row) string {
	var parts []string
	say := func(text string) {
		if text = firstLine(text); text != "" && !strings.Contains(strings.Join(parts, "; "), text) {
			parts = append(parts, text)
		}
	}
	cause, known := causeText[r.Cause]
	if !known {
		cause = r.Cause
	}
	switch {
	case r.By == "":
	case r.Cause == string(supervisor.CauseDependency):
		cause = "because of " + r.By
	default:
		cause += " (" + r.By + ")"
	}
	say(cause)
	if r.Type == string(supervisor.EventAdopted) {
		say("taken over from an earlier daemon")
	}
	say(r.Why)
	if r.Version != "" {
		say("version " + r.Version)
	}
	if r.Type == history.TypeBoot {
		say("boot id " + r.BootID)
	}
	say(r.Error)
	if r.Attempt > 1 {
		say(fmt.Sprintf("%d in a row", r.Attempt))
	}
	if d := r.decision; d != nil {
		ground := *d
		if ground.Error == r.Error {
			ground.Error = ""
		}
		decided := map[supervisor.EventType]string{
			supervisor.EventRestart: "restart", supervisor.EventNoRestart: "no restart", supervisor.EventFailed: "given up",
		}[supervisor.EventType(d.Type)]
		say(decided + ": " + whyText(row{Entry: ground}))
	}
	if len(parts) == 0 {
		return none
	}
	return printable(strings.Join(parts, "; "))
}

// firstLine is all of a text that a row has room for.
func firstLine(text string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if rest != "" {
		line += " …"
	}
	return line
}

// eventText is an event on one line: when, to whom, what, why.
func eventText(e history.Entry, loc *time.Location) string {
	r := row{Entry: e}
	var facts []string
	if e.Pid != 0 {
		facts = append(facts, fmt.Sprintf("pid %d", e.Pid))
	}
	if e.RanSeconds > 0 {
		facts = append(facts, "ran "+spent(e.RanSeconds))
	}
	if e.MemoryPeakBytes > 0 {
		facts = append(facts, "memory peak "+words.Size(float64(e.MemoryPeakBytes)))
	}
	if e.NextStartAt != nil {
		facts = append(facts, "at "+e.NextStartAt.In(loc).Format(time.TimeOnly)+", in "+spent(e.NextStartAt.Sub(e.At).Seconds()))
	}
	if why := whyText(r); why != none {
		facts = append(facts, why)
	}
	name := e.Container
	if name == "" {
		name = none
	}
	return strings.TrimRight(fmt.Sprintf("%s  %-16s  %-20s  %s", e.At.In(loc).Format(time.DateTime), printable(name), what(r), strings.Join(facts, "; ")), " ")
}

// spent is a duration in seconds as a person wants it: exact where it is short.
func spent(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return short(d)
}
