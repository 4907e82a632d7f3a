package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/runcsup/runcsup/internal/words"
)

// drawDetail is the second view: all that is known of the selected container.
func (v *view) drawDetail(c *canvas) {
	v.drawContainer(c, 0)
	v.drawKeys(c, "esc back", "↑↓ other container", "q quit")
}

// drawContainer is the selected container, from a line to the one before the last.
func (v *view) drawContainer(c *canvas, y int) {
	row := v.row(v.selected)
	if row == nil {
		c.text(0, y, words.Printable(v.selected)+" is gone", styles[bad])
		return
	}
	y = v.drawFacts(c, y, row)
	d := v.details
	room := c.height - 1 - y // the last line has the keys
	// Probes are few. Events may take half of what is left, output gets the rest.
	most := max(2, room/4)
	room -= v.section(c, &y, "Probes", fewerResults(d.Probes, most), d.ProbesErr, most)
	room -= v.section(c, &y, "Events", d.Events, d.EventsErr, max(3, room/2-2))
	v.section(c, &y, "Output", d.Output, d.OutputErr, max(1, room-2))
}

// fewerResults leaves out the oldest results of probes until all fits. The lines are the probes, each followed by its results,
// which are indented.
func fewerResults(lines []string, most int) []string {
	var probes [][]string
	for _, line := range lines {
		if n := len(probes); n > 0 && strings.HasPrefix(line, " ") {
			probes[n-1] = append(probes[n-1], line)
		} else {
			probes = append(probes, []string{line})
		}
	}
	for left := len(lines); left > most; left-- {
		longest := 0
		for i := range probes {
			if len(probes[i]) > len(probes[longest]) {
				longest = i
			}
		}
		if len(probes) == 0 || len(probes[longest]) == 1 {
			break
		}
		probes[longest] = slices.Delete(probes[longest], 1, 2)
	}
	return slices.Concat(probes...)
}

// section is a heading and the last lines that fit. It returns how many lines it took.
func (v *view) section(c *canvas, y *int, title string, lines []string, err error, most int) int {
	if len(lines) == 0 && err == nil {
		return 0
	}
	begin := *y
	*y++
	c.text(0, *y, title, styles[strong])
	*y++
	last := c.height - 2
	if err != nil {
		if *y <= last {
			c.cell(2, *y, c.width-2, words.Printable(err.Error()), false, styles[faint])
		}
		*y++
		return *y - begin
	}
	most = max(0, min(most, last-*y+1))
	for _, line := range lines[max(0, len(lines)-most):] {
		c.cell(2, *y, c.width-2, words.Printable(strings.ReplaceAll(line, "\t", "  ")), false, styles[plain])
		*y++
	}
	return *y - begin
}

// drawFacts is the container and what it uses, and returns the line behind.
func (v *view) drawFacts(c *canvas, y int, row *Row) int {
	x := c.text(0, y, words.Printable(row.Name), styles[strong])
	x = c.text(x+2, y, string(row.State), styles[stateTone(row)])
	if text, t := healthCell(row, v.clock()); text != none {
		x = c.text(x+2, y, text, styles[t])
	}
	now := v.clock()
	switch {
	case row.StartedAt != nil:
		c.text(x+2, y, "since "+words.Moment(*row.StartedAt, now), styles[plain])
	case row.NextStartAt != nil:
		c.text(x+2, y, "starts "+words.Until(*row.NextStartAt, now), styles[plain])
	case row.Ready:
		c.text(x+2, y, "its task is done", styles[plain])
	}
	y++
	fact := func(key, value string, t tone) {
		c.text(2, y, key, styles[faint])
		c.cell(12, y, c.width-12, value, false, styles[t])
		y++
	}
	if v.err != nil {
		fact("Daemon", strings.ReplaceAll(words.Printable(v.err.Error()), "\n", " "), bad)
	}
	if row.Error != "" {
		for line := range strings.SplitSeq(strings.TrimSpace(words.Printable(row.Error)), "\n") {
			fact("Error", line, bad)
		}
	}
	if u := row.Usage; u != nil {
		for _, f := range words.Usage(u, words.Rates{
			CPUPercent: row.CPUPercent, ThrottledPercent: row.ThrottledPercent, Read: row.ReadPerSecond, Write: row.WritePerSecond,
		}) {
			fact(f.Name, f.Text, plain)
		}
	}
	life := fmt.Sprintf("%d restarts", row.Restarts)
	if row.Pid != 0 {
		life = fmt.Sprintf("pid %d, %s", row.Pid, life)
	}
	if row.Adopted {
		life += ", adopted from an earlier daemon"
	}
	if !row.Enabled {
		life += ", disabled"
	}
	fact("Life", life, plain)
	if row.LastExit != nil {
		text, t := lastExitCell(row, now)
		fact("Last exit", text, t)
	}
	return y
}

// row is the one of a name, nil if there is none any more.
func (v *view) row(name string) *Row {
	for i := range v.rows {
		if v.rows[i].Name == name {
			return &v.rows[i]
		}
	}
	return nil
}
