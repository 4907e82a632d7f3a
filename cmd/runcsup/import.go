package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/importer"
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

type importUnitOptions struct {
	name string
}

func newImportUnitCommand(p *program) *cobra.Command {
	var o importUnitOptions
	c := &cobra.Command{
		Use:   "unit UNIT|FILE",
		Short: "Make a definition of a systemd unit around an OCI runtime",
		Long: "Make a definition of a systemd unit that runs a container with an OCI runtime (ExecStart=runc run -d … NAME), given\n" +
			"as the path of its file or by the name that systemd knows it by; its drop-ins are read as well. The definition is\n" +
			"printed. It does what the unit did; what has no counterpart is in comments that say what to do about it." +
			exitStatus(exitFailed),
		Args:              wantOne,
		ValidArgsFunction: completeUnits,
		RunE:              func(c *cobra.Command, args []string) error { return runImportUnit(c.Context(), p, o, args[0]) },
	}
	c.Flags().StringVar(&o.name, "name", "", "`name` of the container, in place of the one that the runtime knows it by")
	return c
}

func completeUnits(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"service"}, cobra.ShellCompDirectiveFilterFileExt
}

func runImportUnit(_ context.Context, p *program, o importUnitOptions, file string) error {
	u, err := readUnit(o, file)
	if err != nil {
		return err
	}
	return p.print(u.Definition)
}

// readUnit reads a unit by its file, if there is one of that name, else by the name that systemd knows it by.
func readUnit(o importUnitOptions, file string) (*importer.Unit, error) {
	if _, err := os.Stat(file); err == nil || strings.Contains(file, "/") {
		absolute, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("cannot find %s: %w", file, err)
		}
		file = absolute
	}
	u, err := importer.FromUnit(os.DirFS("/"), file, o.name)
	if err != nil {
		return nil, fmt.Errorf("cannot import: %w", err)
	}
	return u, nil
}
