package main

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// columnGap is between two columns of a table.
const columnGap = 2

// none stands in a cell that has nothing to say.
const none = "-"

// table is text in columns, with the header as its first row.
type table struct{ rows [][]string }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// dropEmpty leaves out a column if no row says anything in it.
func (t *table) dropEmpty(header string) {
	i := slices.Index(t.rows[0], header)
	if slices.ContainsFunc(t.rows[1:], func(row []string) bool { return row[i] != none }) {
		return
	}
	for r, row := range t.rows {
		t.rows[r] = slices.Delete(row, i, i+1)
	}
}

func (t *table) String() string {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
