package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
)

const (
	defaultEvents   = 50
	defaultFollowed = 10 // as journalctl -f has it
	// reconnectEvery is how often a daemon that went away is looked for.
	reconnectEvery = 500 * time.Millisecond
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

// followEvents prints events until it is interrupted. A daemon that goes away is waited for.
func followEvents(ctx context.Context, p *program, q history.Query) error {
	c := p.client()
	defer c.Close()
	if q.Limit < 0 && q.Since.IsZero() { // should the daemon go away before the first event
		q.Since, q.Limit = p.now(), 0
	}
	connected, complained := false, false
	for {
		var failed error
		before := q.After
		err := c.Events(ctx, q, true, func(e history.Entry) error {
			complained, q.After, q.Limit = false, e.ID, 0
			failed = p.printEvent(e)
			return failed
		})
		var code control.Code
		if answer, ok := errors.AsType[*control.Error](err); ok {
			code = answer.Code
		}
		switch {
		case ctx.Err() != nil:
			return exitError(exitInterrupted)
		case failed != nil:
			return failed
		case code == control.CodeTooSlow && q.After != before:
			continue // what was missed is in the files
		case err == nil, code == control.CodeUnavailable, code == control.CodeTooSlow:
			connected = true
		case code == control.CodeNoDaemon && connected:
		default:
			return err
		}
		if !complained {
			_, _ = fmt.Fprintln(p.stderr, "the daemon went away; waiting for it")
			complained = true
		}
		if !pause(ctx, reconnectEvery) {
			return exitError(exitInterrupted)
		}
	}
}

// pause tells whether the time went by without the context ending.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
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
