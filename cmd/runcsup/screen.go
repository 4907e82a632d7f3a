package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// statusText is one container on one screen.
func statusText(s supervisor.Snapshot, now time.Time) string {
	const margin = "              " // below the values
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%12s: %s\n", key, indented(value, margin)) }
	fmt.Fprintf(&b, "%s\n", s.Name)
	line("State", stateText(s, now))
	enabled := "yes"
	if !s.Enabled {
		enabled = "no"
	}
	line("Enabled", enabled)
	if s.Pid != 0 {
		line("Pid", strconv.Itoa(s.Pid))
	}
	line("Restarts", strconv.Itoa(s.Restarts))
	if s.LastExit != nil {
		line("Last exit", exitInWords(s.LastExit)+" at "+moment(s.LastExit.At, now))
	}
	if s.NextStartAt != nil {
		line("Next start", moment(*s.NextStartAt, now))
	}
	if s.StatusText != "" {
		line("Status", printable(s.StatusText))
	}
	if len(s.Probes) > 0 {
		line("Probes", probesText(s.Probes, now))
	}
	if s.Bundle != "" {
		line("Bundle", printable(s.Bundle))
	}
	if s.Error != "" {
		line("Error", printable(s.Error))
	}
	return b.String()
}

// stateText is "running (ready, healthy) since …".
func stateText(s supervisor.Snapshot, now time.Time) string {
	text := string(s.State)
	if s.Pid == 0 {
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
