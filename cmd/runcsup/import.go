package main

import (
	"github.com/spf13/cobra"
)

func newImportCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:     "import",
		Short:   "Make definitions of what kept containers running before",
		GroupID: groupDefine,
		Long: "Make definitions of what kept containers running before. What has no counterpart is said in comments." +
			exitStatus(exitFailed),
		Args: wantNone,
		RunE: func(c *cobra.Command, _ []string) error { return wrongUsage(c, "import needs to know what: unit") },
	}
	c.AddCommand(newImportUnitCommand(p))
	return c
}
