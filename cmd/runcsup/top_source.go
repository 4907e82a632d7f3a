package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/logs"
	"github.com/runcsup/runcsup/internal/top"
)

// topSource is the daemon as top asks it.
type topSource struct {
	*control.Client
	now func() time.Time
}

// detailEvents and detailLines are more than a terminal has lines for.
const (
	detailEvents = 100
	detailLines  = 100
)

// Details implements top.Source.
func (s *topSource) Details(ctx context.Context, name string) (d top.Details) {
	one, err := s.Get(ctx, name)
	d.ProbesErr = err
	if len(one.Probes) > 0 {
		d.Probes = strings.Split(strings.TrimSuffix(probesText(one.Probes, s.now()), "\n"), "\n")
	}
	d.Events, d.EventsErr = lastEvents(ctx, s.Client, name, detailEvents, s.now())
	d.Output, d.OutputErr = lastOutput(ctx, s.Client, name, detailLines, s.now())
	return d
}

// lastEvents are the newest rows of a container's history, the newest last. Those of today have no date.
func lastEvents(ctx context.Context, c *control.Client, name string, most int, now time.Time) ([]string, error) {
	entries, err := c.History(ctx, name, history.Query{Limit: 2 * most}) // an end and what follows from it are one row
	if err != nil {
		return nil, err
	}
	rows := joinEnds(entries)
	var lines []string
	for _, r := range rows[max(0, len(rows)-most):] {
		at := r.At.In(now.Location())
		layout := time.DateTime
		if now.Sub(at) < 24*time.Hour && at.Day() == now.Day() {
			layout = time.TimeOnly
		}
		line := fmt.Sprintf("%s  %-15s", at.Format(layout), what(r))
		if r.RanSeconds > 0 {
			line += "  ran " + spent(r.RanSeconds)
		}
		if why := whyText(r); why != none {
			line += "  " + why
		}
		if r.NextStartAt != nil {
			line += ", in " + spent(r.NextStartAt.Sub(r.At).Seconds())
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines, nil
}

// lastOutput are the last lines that a container wrote, with their times.
func lastOutput(ctx context.Context, c *control.Client, name string, most int, now time.Time) ([]string, error) {
	var lines []string
	err := c.Logs(ctx, name, logs.Query{Tail: most}, func(l logs.Line) error {
		lines = append(lines, l.Time.In(now.Location()).Format(time.TimeOnly)+"  "+string(l.Text))
		return nil
	})
	return lines, err
}
