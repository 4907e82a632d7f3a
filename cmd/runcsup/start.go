package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type startOptions struct {
	all    bool
	noWait bool
}

func newStartCommand(p *program) *cobra.Command {
	var o startOptions
	c := &cobra.Command{
		Use:     "start NAME… | --all",
		Short:   "Start containers",
		GroupID: groupAct,
		Long: "Start containers and what they require, and wait until each is up or has failed to. One that runs already stays\n" +
			"as it is; one that waits for its next start is started at once; one that was stopped by hand is kept running\n" +
			"again. Up is what the definition's ready and type say: a one-shot container is when its task is done." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args: wantNamesOrAll(&o.all),
		ValidArgsFunction: p.completeNames(0, func(s supervisor.Snapshot) bool {
			return s.State != supervisor.StateRunning
		}),
		RunE: func(c *cobra.Command, args []string) error { return runStart(c.Context(), p, o, args) },
	}
	c.Flags().BoolVar(&o.all, "all", false, "all enabled containers")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "return at once; errors are in the daemon's log and in status")
	return c
}

func runStart(ctx context.Context, p *program, o startOptions, names []string) error {
	names, err := p.namesOrAll(ctx, names, o.all, func(s supervisor.Snapshot) bool { return s.Enabled })
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
		return c.Start(ctx, name, !o.noWait)
	})
}
