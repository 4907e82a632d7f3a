package top

import (
	"context"
	"strings"
	"time"

	"github.com/rivo/uniseg"
)

// Once looks twice, so that there are rates, and returns the containers in their order.
func Once(ctx context.Context, src Source, o Options) ([]Row, time.Time, error) {
	before, err := take(ctx, src, o.Names, o.Now)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(before.stats) > 0 {
		select {
		case <-time.After(min(o.Delay, time.Second)):
		case <-ctx.Done():
			return nil, time.Time{}, context.Cause(ctx)
		}
	}
	now, err := take(ctx, src, o.Names, o.Now)
	if err != nil {
		return nil, time.Time{}, err
	}
	all := rows(before, now)
	arrange(all, o.Order, o.Reverse, now.at)
	return all, now.at, nil
}

// Text is the table for a terminal of that width, or for a file if it is 0: then with all columns.
func Text(all []Row, now time.Time, width int) string {
	if width <= 0 {
		width = 1 << 16
	}
	fit := fitting(width, all)
	var b strings.Builder
	line := func(cell func(column) string) {
		var l strings.Builder
		for _, col := range fit {
			text := cut(cell(col), col.width)
			space := strings.Repeat(" ", col.width-uniseg.StringWidth(text))
			if col.right {
				text = space + text
			} else {
				text += space
			}
			l.WriteString(text + strings.Repeat(" ", gap))
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(func(c column) string { return c.title })
	for i := range all {
		line(func(c column) string {
			text, _ := c.cell(&all[i], now)
			return text
		})
	}
	return b.String()
}
