package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/runcsup/runcsup/supervisor"
)

// demoScreen shows the table of containers: over the last one on a terminal, else one below the other whenever a
// container's state changes.
type demoScreen struct {
	p     *program
	live  bool
	lines int // of the table on the terminal
	last  string
}

func (s *demoScreen) draw(list []supervisor.Snapshot) error {
	now := s.p.now()
	text := listText(list, now)
	if !s.live {
		states := demoStates(list)
		if states == s.last {
			return nil
		}
		s.last = states
		return s.p.print(now.Format("15:04:05") + "\n" + text + "\n")
	}
	text = clipped(text, terminalWidth())
	var up string
	if s.lines > 0 {
		up = fmt.Sprintf("\x1b[%dA\x1b[J", s.lines)
	}
	s.lines = strings.Count(text, "\n")
	return s.p.print(up + text)
}

// demoStates is what of a list is worth a new table where nothing can be overwritten.
func demoStates(list []supervisor.Snapshot) string {
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintln(&b, c.Name, c.State, c.Pid, c.Restarts)
	}
	return b.String()
}

// clipped cuts lines, so that none wraps and the table can be overwritten.
func clipped(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if runes := []rune(strings.TrimSuffix(line, "\n")); len(runes) > width {
			line = string(runes[:width]) + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

func terminalWidth() int {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return width
}
