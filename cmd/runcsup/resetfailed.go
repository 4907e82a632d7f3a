package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type resetFailedOptions struct{ all bool }

func newResetFailedCommand(p *program) *cobra.Command {
	var o resetFailedOptions
	c := &cobra.Command{
		Use:     "reset-failed NAME… | --all",
		Short:   "Forget counted starts and grown delays",
		GroupID: groupAct,
		Long: "Forget counted starts and grown delays of containers. One that has failed becomes stopped, and can be started\n" +
			"again." + exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNamesOrAll(&o.all),
		ValidArgsFunction: p.completeNames(0, func(s supervisor.Snapshot) bool { return s.State == supervisor.StateFailed }),
		RunE:              func(c *cobra.Command, args []string) error { return runResetFailed(c.Context(), p, o, args) },
	}
	c.Flags().BoolVar(&o.all, "all", false, "all containers")
	return c
}

func runResetFailed(ctx context.Context, p *program, o resetFailedOptions, names []string) error {
	names, err := p.namesOrAll(ctx, names, o.all, anyContainer)
	if err != nil {
		return err
	}
	return p.act(ctx, names, func(c *control.Client, name string) (supervisor.Snapshot, error) {
		return c.ResetFailed(ctx, name)
	})
}
