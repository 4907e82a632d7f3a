package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/history"
)

const (
	defaultEvents   = 50
	defaultFollowed = 10 // as journalctl -f has it
)

func newEventsCommand(p *program) *cobra.Command {
	var o pastOptions
	var follow bool
	c := &cobra.Command{
		Use:     "events [NAME…]",
		Short:   "Show what happened to all containers, and what happens",
		GroupID: groupLook,
		Long: "Show what happened to all containers and the daemon, or to those named, newest last. With --follow it goes on with\n" +
			"what happens until it is interrupted, over restarts of the daemon too: nothing is missed, and nothing shown twice.\n" +
			"Without --follow, when the daemon is not there, its files are read.\n" +
			"With -o json it prints an object per line, see docs/api.md." +
			exitStatus(exitFailed, exitNoDaemon),
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE: func(c *cobra.Command, args []string) error {
			lines := defaultEvents
			if follow {
				lines = defaultFollowed
			}
			q, err := o.query(p, c, lines)
			if err != nil {
				return err
			}
			q.Containers = unique(args)
			if follow {
				return followEvents(c.Context(), p, q)
			}
			return runEvents(c.Context(), p, o, q)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	o.addFlags(c, fmt.Sprintf("show so many of the newest `lines` (default %d, with --follow %d; all that is kept with --since)", defaultEvents, defaultFollowed))
	return c
}

func runEvents(ctx context.Context, p *program, o pastOptions, q history.Query) error {
	c := p.client()
	defer c.Close()
	var entries []history.Entry
	err := c.Events(ctx, q, false, func(e history.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if noDaemon(err) {
		entries, err = p.readHistory(o, q, err)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := p.printEvent(e); err != nil {
			return err
		}
	}
	return nil
}

// printEvent prints one event on one line.
func (p *program) printEvent(e history.Entry) error {
	if p.format == formatJSON {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("cannot encode the output: %w", err)
		}
		return p.print(string(line) + "\n")
	}
	return p.print(eventText(e, p.now().Location()) + "\n")
}
