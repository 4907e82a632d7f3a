package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type restartOptions struct {
	all    bool
	noWait bool
}

func newRestartCommand(p *program) *cobra.Command {
	var o restartOptions
	c := &cobra.Command{
		Use:     "restart NAME… | --all",
		Short:   "Stop containers and start them anew",
		GroupID: groupAct,
		Long: "Stop containers and start them anew; one that does not run is started. Waits until each runs or has failed to." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNamesOrAll(&o.all),
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE:              func(c *cobra.Command, args []string) error { return runRestart(c.Context(), p, o, args) },
	}
	c.Flags().BoolVar(&o.all, "all", false, "all containers that are not stopped")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "return at once; errors are in the daemon's log and in status")
	return c
}

func runRestart(ctx context.Context, p *program, o restartOptions, names []string) error {
	names, err := p.namesOrAll(ctx, names, o.all, wanted)
	if err != nil {
		return err
	}
	c := p.client()
	defer c.Close()
	related, err := orderOf(ctx, c, names, false)
	if err != nil {
		return err
	}
	return p.actInOrder(ctx, c, related, func(c *control.Client, name string) (supervisor.Snapshot, error) {
		if related.follows(name) { // it was restarted with the one that it requires, if it ran
			return c.Start(ctx, name, !o.noWait)
		}
		return c.Restart(ctx, name, !o.noWait)
	})
}
