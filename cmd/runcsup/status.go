package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/supervisor"
)

func newStatusCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "status NAME…",
		Short:   "Show how containers are, and what happened to them",
		GroupID: groupLook,
		Long: "Show how containers are: state, process, restarts, how the last instance ended, when the next one starts, and\n" +
			"what is wrong. With -o json it prints one element of what list prints; of several containers an array." +
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
		if s.State != supervisor.StateRunning {
			errs = append(errs, exitError(exitNotRunning))
		}
	}
	if err := p.printStatus(found, len(names) == 1); err != nil {
		return err
	}
	return p.failed(errs)
}

func (p *program) printStatus(found []supervisor.Snapshot, single bool) error {
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
		screens = append(screens, statusText(s, p.now()))
	}
	return p.print(strings.Join(screens, "\n"))
}
