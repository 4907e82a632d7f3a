package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
)

// reexecTimeout is for the daemon to be replaced, with runtime calls that are under way and adoption.
const reexecTimeout = 2 * time.Minute

// reexecuted is what reexec prints as JSON.
type reexecuted struct {
	Replaced bool                `json:"replaced"` // false: --if-changed, and nothing has
	Daemon   control.VersionInfo `json:"daemon"`   // that answers now
}

func newReexecCommand(p *program) *cobra.Command {
	var ifChanged bool
	c := &cobra.Command{
		Use:     "reexec",
		Short:   "Replace the daemon by the program on disk",
		GroupID: groupService,
		Long: "Have the daemon replace itself by the program on disk, after an upgrade for example. It keeps its pid, its control\n" +
			"socket and its children, so that containers run on and none of their exit statuses is lost, on any kernel. Before,\n" +
			"the new program is asked whether it can read the settings and the state: if not, nothing is done." +
			exitStatus(exitFailed, exitNoDaemon),
		Args:              wantNone,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(c *cobra.Command, _ []string) error { return runReexec(c.Context(), p, ifChanged) },
	}
	c.Flags().BoolVar(&ifChanged, "if-changed", false, "do nothing when the program on disk is the one that runs")
	return c
}

func runReexec(ctx context.Context, p *program, ifChanged bool) error {
	c := p.client()
	defer c.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, reexecTimeout, fmt.Errorf("it took longer than %s", reexecTimeout))
	defer cancel()
	before, err := c.Version(ctx)
	if err != nil {
		return err
	}
	done, after, err := c.Reexec(ctx, ifChanged)
	if err != nil {
		return err
	}
	if !done.Replacing {
		after = before
	}
	if p.format == formatJSON {
		return p.printJSON(reexecuted{Replaced: done.Replacing, Daemon: after})
	}
	if !done.Replacing {
		return p.print(fmt.Sprintf("the daemon (pid %d) is %s, as is the program on disk\n", after.Pid, printable(after.Version)))
	}
	return p.print(fmt.Sprintf("the daemon (pid %d) was %s and is %s\n", after.Pid, printable(before.Version), printable(after.Version)))
}
