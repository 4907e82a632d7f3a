package top

import (
	"strings"

	"github.com/gdamore/tcell/v2"
	"github.com/rivo/uniseg"
)

// canvas draws on a screen, line by line. What does not fit is cut.
type canvas struct {
	screen        tcell.Screen
	width, height int
	// mono is for a terminal without colors, or a user with NO_COLOR: tcell would show the darker ones in reverse.
	mono bool
}

var styles = map[tone]tcell.Style{
	plain: tcell.StyleDefault,
	faint: tcell.StyleDefault.Dim(true),
	good:  tcell.StyleDefault.Foreground(tcell.ColorGreen),
	warn:  tcell.StyleDefault.Foreground(tcell.ColorYellow),
	bad:   tcell.StyleDefault.Foreground(tcell.ColorRed).Bold(true),
	// strong is for headings.
	strong: tcell.StyleDefault.Bold(true),
}

// text draws at a place and returns the column behind it.
func (c *canvas) text(x, y int, text string, style tcell.Style) int {
	if y < 0 || y >= c.height {
		return x
	}
	if c.mono {
		style = style.Foreground(tcell.ColorDefault)
	}
	g := uniseg.NewGraphemes(strings.ReplaceAll(text, "\t", "  "))
	for g.Next() {
		w := g.Width()
		if w == 0 { // a combining mark alone, a control character
			continue
		}
		if x+w > c.width {
			break
		}
		runes := g.Runes()
		c.screen.SetContent(x, y, runes[0], runes[1:], style)
		x += w
	}
	return x
}

// cell draws text in a column of a width: to its right end, or cut with an ellipsis.
func (c *canvas) cell(x, y, width int, text string, right bool, style tcell.Style) {
	text = cut(text, width)
	if right {
		x += width - uniseg.StringWidth(text)
	}
	c.text(x, y, text, style)
}

// fill gives the rest of a line a style.
func (c *canvas) fill(x, y int, style tcell.Style) {
	for ; x < c.width && y >= 0 && y < c.height; x++ {
		c.screen.SetContent(x, y, ' ', nil, style)
	}
}

// cut shortens text to a width.
func cut(text string, width int) string {
	if uniseg.StringWidth(text) <= width {
		return text
	}
	if width <= 0 {
		return ""
	}
	var b strings.Builder
	used := 0
	g := uniseg.NewGraphemes(text)
	for g.Next() && used+g.Width() < width {
		b.WriteString(g.Str())
		used += g.Width()
	}
	return b.String() + "…"
}
