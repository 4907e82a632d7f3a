package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newReloadCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "reload [NAME…]",
		Short:   "Apply what changed on disk",
		GroupID: groupDefine,
		Long: "Apply what changed in definitions, bundles and env files, to all containers or to those named, and print a line\n" +
			"for each. Only what changed is touched: limits are applied to what runs, everything else by a restart. A\n" +
			"definition with errors is refused, and its container stays as it is." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon) +
			"\n\n1 is also for a definition that was refused, after all others were applied.",
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE:              func(c *cobra.Command, args []string) error { return runReload(c.Context(), p, args) },
	}
}

func runReload(ctx context.Context, p *program, names []string) error {
	c := p.client()
	defer c.Close()
	changes, err := c.Reload(ctx, unique(names)...)
	if err != nil {
		return err
	}
	return p.printChanges(changes, didText)
}
