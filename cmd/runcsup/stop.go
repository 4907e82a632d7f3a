package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type stopOptions struct {
	all    bool
	noWait bool
}

func newStopCommand(p *program) *cobra.Command {
	var o stopOptions
	c := &cobra.Command{
		Use:     "stop NAME… | --all",
		Short:   "Stop containers until they are started again, or until the next boot",
		GroupID: groupAct,
		Long: "Stop containers and wait until nothing of them is left: the stop signal, and after the stop timeout SIGKILL to\n" +
			"every process. A stopped container stays so when the daemon is restarted, and starts again with the next boot\n" +
			"if it is enabled." + exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNamesOrAll(&o.all),
		ValidArgsFunction: p.completeNames(0, wanted),
		RunE:              func(c *cobra.Command, args []string) error { return runStop(c.Context(), p, o, args) },
	}
	c.Flags().BoolVar(&o.all, "all", false, "all containers")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "return at once; errors are in the daemon's log and in status")
	return c
}

// wanted is a container that runs, is about to, or was given up.
func wanted(s supervisor.Snapshot) bool { return s.State != supervisor.StateStopped }

func runStop(ctx context.Context, p *program, o stopOptions, names []string) error {
	names, err := p.namesOrAll(ctx, names, o.all, anyContainer)
	if err != nil {
		return err
	}
	c := p.client()
	defer c.Close()
	related, err := orderOf(ctx, c, names, true)
	if err != nil {
		return err
	}
	return p.actInOrder(ctx, c, related, func(c *control.Client, name string) (supervisor.Snapshot, error) {
		return c.Stop(ctx, name, !o.noWait)
	})
}
