package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/words"
)

// defaultRows fits on a screen.
const defaultRows = 20

func newHistoryCommand(p *program) *cobra.Command {
	var o pastOptions
	c := &cobra.Command{
		Use:     "history NAME",
		Short:   "Show what happened to a container, and why",
		GroupID: groupLook,
		Long: "Show what happened to a container, newest last: starts and ends, how long it ran and the most memory it used, why\n" +
			"it was started again or was not, and when; who stopped it; definitions that were applied or refused; and boots of\n" +
			"the machine. When the daemon is not there its files are read.\n" +
			"With -o json it prints an array, see docs/api.md." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantOne,
		ValidArgsFunction: p.completeNames(1, anyContainer),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := o.query(p, c, defaultRows)
			if err != nil {
				return err
			}
			return runHistory(c.Context(), p, o, q, args[0])
		},
	}
	o.addFlags(c, fmt.Sprintf("show so many of the newest `lines` (default %d; all that is kept with --since)", defaultRows))
	return c
}

func runHistory(ctx context.Context, p *program, o pastOptions, q history.Query, name string) error {
	rows := q.Limit
	if p.format != formatJSON && rows > 0 {
		q.Limit *= 2 // an end and what follows from it are one row
	}
	c := p.client()
	defer c.Close()
	entries, err := c.History(ctx, name, q)
	if noDaemon(err) {
		q.Containers = []string{name}
		entries, err = p.readHistory(o, q, err)
		if err == nil && !concerns(entries, name) {
			err = &control.Error{Code: control.CodeNoSuchContainer, Message: fmt.Sprintf("nothing is known of a container %q", name)}
		}
	}
	if err != nil {
		return err
	}
	if p.format == formatJSON {
		return p.printJSON(entries)
	}
	if len(entries) == 0 {
		_, _ = fmt.Fprintf(p.stderr, "nothing has happened to %s\n", name)
		return nil
	}
	return p.print(historyText(entries, rows, p.now().Location()))
}

// concerns tells whether any entry is the container's own.
func concerns(entries []history.Entry, name string) bool {
	for _, e := range entries {
		if e.Container == name {
			return true
		}
	}
	return false
}

// historyText is a container's history as a table of so many rows (0: all), with times in loc.
func historyText(entries []history.Entry, rows int, loc *time.Location) string {
	var t table
	t.add("TIME", "WHAT", "RAN", "MEMORY PEAK", "NEXT START", "WHY")
	all := joinEnds(entries)
	if rows > 0 && len(all) > rows {
		all = all[len(all)-rows:]
	}
	for _, r := range all {
		ran, peak, next := none, none, none
		if r.RanSeconds > 0 {
			ran = spent(r.RanSeconds)
		}
		if r.MemoryPeakBytes > 0 {
			peak = words.Size(float64(r.MemoryPeakBytes))
		}
		if r.NextStartAt != nil {
			next = r.NextStartAt.In(loc).Format(time.TimeOnly) + " (+" + spent(r.NextStartAt.Sub(r.At).Seconds()) + ")"
		}
		t.add(r.At.In(loc).Format(time.DateTime), what(r), ran, peak, next, whyText(r))
	}
	for _, column := range []string{"RAN", "MEMORY PEAK", "NEXT START"} {
		t.dropEmpty(column)
	}
	return t.String()
}
