package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/uniseg"

	"github.com/runcsup/runcsup/internal/words"
	"github.com/runcsup/runcsup/supervisor"
)

// drawTable is the first view: a summary, the table, and the keys.
func (v *view) drawTable(c *canvas) {
	v.drawSummary(c)
	const head = 3
	fit := fitting(c.width, v.rows)
	heading := tcell.StyleDefault.Reverse(true)
	c.fill(0, head-1, heading)
	x := 0
	for _, col := range fit {
		style := heading
		title := col.title
		if col.sort == v.order {
			style = heading.Bold(true)
			title += arrow(v.reverse)
		}
		at, width := x, col.width
		if col.right { // the arrow may stand in the gap
			at, width = x-gap, col.width+gap
		}
		c.cell(at, head-1, width, title, col.right, style)
		x += col.width + gap
	}
	visible := max(0, c.height-head-1)
	pane := c.height - 1 - max(head+len(v.rows)+1, c.height/2)
	if pane < minPane || v.row(v.selected) == nil {
		pane = 0
	}
	v.pane = pane > 0
	visible -= pane
	v.scroll(visible)
	for i := 0; i < visible && v.first+i < len(v.rows); i++ {
		row := &v.rows[v.first+i]
		v.drawRow(c, fit, row, head+i, row.Name == v.selected)
	}
	if len(v.rows) == 0 && v.now != nil {
		c.text(0, head, "No containers are defined.", styles[faint])
	}
	if pane > 0 {
		y := c.height - 1 - pane
		c.text(0, y, strings.Repeat("─", c.width), styles[faint])
		v.drawContainer(c, y+1)
	}
	v.drawKeys(c, "enter details", "sort: n name s state c cpu m mem r restarts u uptime", "q quit", "R reverse", "↑↓ select")
}

// minPane is how many lines have to be free for the selected container to be shown below the table.
const minPane = 12

func arrow(reverse bool) string {
	if reverse {
		return "▲"
	}
	return "▼"
}

func (v *view) drawRow(c *canvas, fit []column, row *Row, y int, selected bool) {
	if selected {
		c.fill(0, y, selectedStyle(tcell.StyleDefault))
	}
	x := 0
	for _, col := range fit {
		text, t := col.cell(row, v.clock())
		style := styles[t]
		if row.Pid == 0 && t == plain {
			style = styles[faint]
		}
		if selected {
			style = selectedStyle(style)
		}
		c.cell(x, y, col.width, text, col.right, style)
		x += col.width + gap
	}
}

// selectedStyle is seen without colours, too.
func selectedStyle(s tcell.Style) tcell.Style {
	return s.Dim(false).Foreground(tcell.ColorDefault).Reverse(true)
}

// scroll brings the selected row into the part of the table that is seen.
func (v *view) scroll(visible int) {
	i := v.index()
	if i < v.first {
		v.first = i
	}
	if visible > 0 && i >= v.first+visible {
		v.first = i - visible + 1
	}
	v.first = max(0, min(v.first, len(v.rows)-visible))
}

// drawSummary is what the containers are and use together.
func (v *view) drawSummary(c *canvas) {
	count := map[supervisor.State]int{}
	var cpu float64
	var memory uint64
	unhealthy, known := 0, false
	for i := range v.rows {
		r := &v.rows[i]
		count[r.State]++
		if r.CPUPercent != nil {
			cpu, known = cpu+*r.CPUPercent, true
		}
		used, _, _ := r.memory()
		memory += used
		if r.Pid != 0 && r.Health == supervisor.HealthUnhealthy {
			unhealthy++
		}
	}
	x := c.text(0, 0, "runcsup", styles[strong])
	x = c.text(x, 0, fmt.Sprintf("  %d containers:", len(v.rows)), styles[plain])
	separator := " "
	say := func(n int, word string, t tone) {
		if n > 0 {
			x = c.text(x, 0, separator, styles[plain])
			x = c.text(x, 0, fmt.Sprintf("%d %s", n, word), styles[t])
			separator = ", "
		}
	}
	say(count[supervisor.StateRunning], "running", good)
	say(unhealthy, "unhealthy", bad)
	say(count[supervisor.StateFailed], "failed", bad)
	say(count[supervisor.StateBackoff], "backoff", warn)
	for _, s := range []supervisor.State{supervisor.StateStarting, supervisor.StateStopping, supervisor.StateWaiting} {
		say(count[s], string(s), warn)
	}
	say(count[supervisor.StateExited], "exited", faint)
	say(count[supervisor.StateStopped], "stopped", faint)
	if v.now != nil {
		clock := v.now.at.Format("15:04:05")
		if x+2+len(clock) <= c.width {
			c.cell(c.width-len(clock), 0, len(clock), clock, true, styles[faint])
		}
	}
	if v.err != nil {
		c.cell(0, 1, c.width, "! "+strings.ReplaceAll(words.Printable(v.err.Error()), "\n", " "), false, styles[bad])
		return
	}
	text := "CPU " + none
	if known {
		text = "CPU " + words.Percent(cpu) + "%"
	}
	c.text(0, 1, fmt.Sprintf("%s of %d00%%   memory %s", text, v.cpus, words.Size(float64(memory))), styles[plain])
}

// drawKeys is the last line: as many hints as fit.
func (v *view) drawKeys(c *canvas, hints ...string) {
	c.fill(0, c.height-1, styles[plain]) // in a terminal of two lines something else is there
	x := 0
	for _, hint := range hints {
		if x+uniseg.StringWidth(hint) > c.width {
			continue
		}
		x = c.text(x, c.height-1, hint, styles[faint]) + 3
	}
}

// clock is when what is shown was true.
func (v *view) clock() time.Time {
	if v.now == nil {
		return time.Time{}
	}
	return v.now.at
}
