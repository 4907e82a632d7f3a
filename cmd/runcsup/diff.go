package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newDiffCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "diff [NAME…]",
		Short:   "Show what reload would do, and why",
		GroupID: groupDefine,
		Long: "Show what reload would do with all containers or with those named, and why. Nothing is changed." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon) +
			"\n\n1 is also for a definition that would be refused.",
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE:              func(c *cobra.Command, args []string) error { return runDiff(c.Context(), p, args) },
	}
}

func runDiff(ctx context.Context, p *program, names []string) error {
	c := p.client()
	defer c.Close()
	changes, err := c.Diff(ctx, unique(names)...)
	if err != nil {
		return err
	}
	return p.printChanges(changes, wouldText)
}
