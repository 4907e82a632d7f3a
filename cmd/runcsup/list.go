package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/supervisor"
)

func newListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list [NAME…]",
		Aliases: []string{"ls", "ps"},
		Short:   "List containers with their states",
		GroupID: groupLook,
		Long: "List all containers, or those named, one per line, and below the table what is wrong with those marked !.\n" +
			"UP/NEXT is how long the container runs, when it is started next, or for whom it waits. RESTARTS counts automatic ones.\n" +
			"With -o json it prints an array, see docs/api.md." + exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE:              func(c *cobra.Command, args []string) error { return runList(c.Context(), p, args) },
	}
}

func runList(ctx context.Context, p *program, names []string) error {
	c := p.client()
	defer c.Close()
	list, err := c.List(ctx, unique(names)...)
	if err != nil {
		return err
	}
	if p.format == formatJSON {
		return p.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(p.stderr, "no containers are defined")
		return nil
	}
	return p.print(listText(list, p.now()))
}

// listText is the table of containers. The column for health is there when it says something.
func listText(list []supervisor.Snapshot, now time.Time) string {
	var t table
	var wrong strings.Builder
	t.add("NAME", "ENABLED", "STATE", "HEALTH", "PID", "UP/NEXT", "RESTARTS", "LAST EXIT")
	for _, s := range list {
		name := s.Name
		if s.Error != "" {
			name += " !"
			fmt.Fprintf(&wrong, "\n! %s: %s\n", s.Name, indented(printable(s.Error), "    "))
		}
		enabled, health, pid, upNext, last := "yes", none, none, none, none
		if !s.Enabled {
			enabled = "no"
		}
		if s.Pid != 0 {
			health = healthText(s)
		}
		if s.Pid != 0 {
			pid = strconv.Itoa(s.Pid)
			if s.StartedAt != nil {
				upNext = short(now.Sub(*s.StartedAt))
			}
		}
		if s.LastExit != nil {
			last = exitBrief(s.LastExit) + " · " + short(now.Sub(s.LastExit.At)) + " ago"
		}
		if len(s.WaitingFor) > 0 {
			upNext = "for " + strings.Join(s.WaitingFor, ", ")
		}
		if s.NextStartAt != nil {
			upNext = until(*s.NextStartAt, now)
		}
		t.add(name, enabled, string(s.State), health, pid, upNext, strconv.Itoa(s.Restarts), last)
	}
	t.dropEmpty("HEALTH")
	return t.String() + wrong.String()
}

// healthText is what probes say of a running container. That one is not to be used goes before that it is healthy.
func healthText(s supervisor.Snapshot) string {
	switch {
	case s.Health == supervisor.HealthUnhealthy, s.Health == supervisor.HealthStarting:
		return string(s.Health)
	case s.State == supervisor.StateRunning && !s.Ready:
		return "not ready"
	case s.Health == supervisor.HealthHealthy:
		return string(s.Health)
	}
	return none
}
