package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type killOptions struct {
	signal string
	all    bool
}

func newKillCommand(p *program) *cobra.Command {
	var o killOptions
	c := &cobra.Command{
		Use:     "kill NAME…",
		Short:   "Send a signal to containers",
		GroupID: groupAct,
		Long: "Send a signal to the init process of containers, or to all of their processes. A container that ends of it is\n" +
			"restarted as its policy says; use stop for one that is to stay down." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNames,
		ValidArgsFunction: p.completeNames(0, func(s supervisor.Snapshot) bool { return s.Pid != 0 }),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := control.ParseSignal(o.signal); err != nil {
				return wrongUsage(c, fmt.Sprintf("wrong --signal: %v", err))
			}
			return runKill(c.Context(), p, o, args)
		},
	}
	c.Flags().StringVarP(&o.signal, "signal", "s", "TERM", "name or number of the `signal`")
	c.Flags().BoolVar(&o.all, "all-processes", false, "send it to every process of the container")
	_ = c.RegisterFlagCompletionFunc("signal", cobra.FixedCompletions(
		[]string{"TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2", "STOP", "CONT"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func runKill(ctx context.Context, p *program, o killOptions, names []string) error {
	return p.act(ctx, unique(names), func(c *control.Client, name string) (supervisor.Snapshot, error) {
		return c.Kill(ctx, name, o.signal, o.all)
	})
}
