package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type enableOptions struct{ now bool }

func newEnableCommand(p *program) *cobra.Command {
	var o enableOptions
	c := &cobra.Command{
		Use:     "enable NAME…",
		Short:   "Let containers start with the service",
		GroupID: groupAct,
		Long: "Let containers start with the service, whatever their definition says. Lasts until disable. What runs and what\n" +
			"does not stays as it is, unless --now is given." + exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNames,
		ValidArgsFunction: p.completeNames(0, func(s supervisor.Snapshot) bool { return !s.Enabled }),
		RunE:              func(c *cobra.Command, args []string) error { return runEnable(c.Context(), p, o, args) },
	}
	c.Flags().BoolVar(&o.now, "now", false, "also start them")
	return c
}

func runEnable(ctx context.Context, p *program, o enableOptions, names []string) error {
	return p.act(ctx, unique(names), func(c *control.Client, name string) (supervisor.Snapshot, error) {
		return c.Enable(ctx, name, o.now)
	})
}
