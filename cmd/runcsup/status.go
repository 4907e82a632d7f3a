package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

func newStatusCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "status NAME…",
		Short:   "Show how containers are, and what happened to them",
		GroupID: groupLook,
		Long: "Show how containers are: the definition, state, process, restarts, how the last instance ended, when the next one\n" +
			"starts, probes, what it uses, what is wrong, and what happened and was printed last.\n" +
			"With -o json it prints one element of what list prints; of several containers an array." +
			exitStatus(exitFailed, exitNotRunning, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNames,
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE:              func(c *cobra.Command, args []string) error { return runStatus(c.Context(), p, args) },
	}
}

func runStatus(ctx context.Context, p *program, names []string) error {
	c := p.client()
	defer c.Close()
	var errs []error
	found := []supervisor.Snapshot{}
	names = unique(names)
	for _, name := range names {
		s, err := c.Get(ctx, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, s)
		if s.State != supervisor.StateRunning && !s.Ready { // a one-shot task that is done is up
			errs = append(errs, exitError(exitNotRunning))
		}
	}
	if err := p.printStatus(ctx, c, found, len(names) == 1); err != nil {
		return err
	}
	return p.failed(errs)
}

func (p *program) printStatus(ctx context.Context, c *control.Client, found []supervisor.Snapshot, single bool) error {
	switch {
	case p.format == formatJSON && !single:
		return p.printJSON(found)
	case len(found) == 0:
		return nil
	case p.format == formatJSON:
		return p.printJSON(found[0])
	}
	var screens []string
	for _, s := range found {
		screens = append(screens, statusText(p.look(ctx, c, s), p.now()))
	}
	return p.print(strings.Join(screens, "\n"))
}

// statusEvents and statusLines are how much of what happened and was printed is shown.
const (
	statusEvents = 5
	statusLines  = 10
)

// look asks for what else is known of a container. What cannot be had is left out: the container may be gone meanwhile.
func (p *program) look(ctx context.Context, c *control.Client, s supervisor.Snapshot) screen {
	all := screen{Snapshot: s}
	if shown, err := c.Show(ctx, s.Name); err == nil {
		all.shown = &shown
	}
	if stats, err := c.Stats(ctx, s.Name); err == nil && len(stats) == 1 {
		all.usage = &stats[0].Usage
	}
	all.events, _ = lastEvents(ctx, c, s.Name, statusEvents, p.now())
	all.output, _ = lastOutput(ctx, c, s.Name, statusLines, p.now())
	return all
}
