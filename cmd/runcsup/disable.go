package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type disableOptions struct{ now bool }

func newDisableCommand(p *program) *cobra.Command {
	var o disableOptions
	c := &cobra.Command{
		Use:     "disable NAME…",
		Short:   "Keep containers from starting with the service",
		GroupID: groupAct,
		Long: "Keep containers from starting with the service, whatever their definition says. Lasts until enable. What runs\n" +
			"and what does not stays as it is, unless --now is given." + exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNames,
		ValidArgsFunction: p.completeNames(0, func(s supervisor.Snapshot) bool { return s.Enabled }),
		RunE:              func(c *cobra.Command, args []string) error { return runDisable(c.Context(), p, o, args) },
	}
	c.Flags().BoolVar(&o.now, "now", false, "also stop them")
	return c
}

func runDisable(ctx context.Context, p *program, o disableOptions, names []string) error {
	return p.act(ctx, unique(names), func(c *control.Client, name string) (supervisor.Snapshot, error) {
		return c.Disable(ctx, name, o.now)
	})
}
