package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/internal/words"
	"github.com/runcsup/runcsup/supervisor"
)

// screen is all that is shown of one container. What could not be asked for is missing.
type screen struct {
	supervisor.Snapshot
	shown  *control.Shown
	usage  *usage.Usage
	events []string
	output []string
}

// statusText is one container on one screen, in systemctl's words.
func statusText(s screen, now time.Time) string {
	const margin = "             " // below the values
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%11s: %s\n", key, indented(value, margin)) }
	fmt.Fprintf(&b, "%s %s\n", dot(s.Snapshot), printable(s.Name))
	line("Loaded", loadedText(s))
	line("Active", stateText(s.Snapshot, now))
	if s.Pid != 0 {
		line("Main PID", strconv.Itoa(s.Pid))
	}
	if s.StatusText != "" {
		line("Status", printable(s.StatusText))
	}
	if len(s.WaitingFor) > 0 {
		line("Waits for", printable(strings.Join(s.WaitingFor, ", ")))
	}
	if s.NextStartAt != nil {
		line("Next start", moment(*s.NextStartAt, now))
	}
	line("Restarts", strconv.Itoa(s.Restarts))
	if s.LastExit != nil {
		line("Last exit", exitInWords(s.LastExit)+" at "+moment(s.LastExit.At, now))
	}
	if len(s.Probes) > 0 {
		line("Probes", probesText(s.Probes, now))
	}
	if s.usage != nil {
		for _, f := range words.Usage(s.usage, words.Rates{}) {
			line(f.Name, f.Text)
		}
		line("CGroup", printable(s.usage.Cgroup))
	}
	if s.Bundle != "" {
		line("Bundle", printable(s.Bundle))
	}
	if s.Error != "" {
		line("Error", printable(s.Error))
	}
	for _, part := range []struct {
		title string
		lines []string
	}{{"Events", s.events}, {"Output", s.output}} {
		if len(part.lines) > 0 {
			fmt.Fprintf(&b, "\n%s:\n", part.title)
		}
		for _, l := range part.lines {
			b.WriteString("  " + printable(l) + "\n")
		}
	}
	return b.String()
}

// dot is systemctl's: full for what is as it should be, a cross for what has failed, empty for what is down.
func dot(s supervisor.Snapshot) string {
	switch {
	case s.State == supervisor.StateFailed:
		return "×"
	case s.Pid != 0, s.Ready: // a one-shot task that is done is up
		return "●"
	}
	return "○"
}

// loadedText is which definition is in effect.
func loadedText(s screen) string {
	enabled := "enabled"
	if !s.Enabled {
		enabled = "disabled"
	}
	if s.shown == nil || s.shown.File == "" {
		return enabled
	}
	text := printable(s.shown.File)
	if s.shown.Error != "" {
		enabled += "; the file has errors"
		if s.shown.Definition != "" {
			enabled += ", what was good last is in effect"
		}
	}
	return text + " (" + enabled + ")"
}

// stateText is "running (ready, healthy) since …".
func stateText(s supervisor.Snapshot, now time.Time) string {
	text := string(s.State)
	switch {
	case s.Pid != 0:
	case s.Ready:
		return text + " (its task is done)"
	default:
		return text
	}
	facts := []string{"not ready"}
	if s.Ready {
		facts[0] = "ready"
	}
	if s.Health != supervisor.HealthNone && s.Health != "" {
		facts = append(facts, "health: "+string(s.Health))
	}
	if s.Adopted {
		facts = append(facts, "adopted from an earlier daemon")
	}
	text += " (" + strings.Join(facts, ", ") + ")"
	if s.StartedAt != nil {
		text += " since " + moment(*s.StartedAt, now)
	}
	return text
}
