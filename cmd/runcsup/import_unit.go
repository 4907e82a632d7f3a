package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/handover"
	"github.com/runcsup/runcsup/internal/importer"
	"github.com/runcsup/runcsup/supervisor"
)

type importUnitOptions struct {
	name         string
	adopt, force bool
}

func newImportUnitCommand(p *program) *cobra.Command {
	var o importUnitOptions
	c := &cobra.Command{
		Use:   "unit UNIT|FILE",
		Short: "Make a definition of a systemd unit around an OCI runtime",
		Long: "Make a definition of a systemd unit that runs a container with an OCI runtime (ExecStart=runc run -d … NAME), given\n" +
			"as the path of its file or by the name that systemd knows it by; its drop-ins are read as well. The definition is\n" +
			"printed. It does what the unit did; what has no counterpart is in comments that say what to do about it.\n" +
			"\n" +
			"With --adopt the daemon takes over the container that the unit runs now, without restarting it, and writes the\n" +
			"definition into its directory. The unit keeps its hands off the container until the next boot (by a drop-in in\n" +
			"/run/systemd/system); so it has to be disabled before, and the command to do so is printed. The container's output\n" +
			"goes where it went until it is restarted. When something fails, the unit has the container as before." +
			exitStatus(exitFailed, exitNotRunning, exitNoDaemon),
		Args:              wantOne,
		ValidArgsFunction: completeUnits,
		RunE: func(c *cobra.Command, args []string) error {
			if o.force && !o.adopt {
				return wrongUsage(c, "--force goes with --adopt")
			}
			return runImportUnit(c.Context(), p, o, args[0])
		},
	}
	c.Flags().StringVar(&o.name, "name", "", "`name` of the container, in place of the one that the runtime knows it by")
	c.Flags().BoolVar(&o.adopt, "adopt", false, "take over the container that the unit runs now")
	c.Flags().BoolVar(&o.force, "force", false, "replace a definition that is there already")
	return c
}

func completeUnits(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"service"}, cobra.ShellCompDirectiveFilterFileExt
}

func runImportUnit(ctx context.Context, p *program, o importUnitOptions, file string) error {
	u, err := readUnit(o, file)
	if err != nil {
		return err
	}
	if !o.adopt {
		return p.print(u.Definition)
	}
	return adoptUnit(ctx, p, o, u)
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

func adoptUnit(ctx context.Context, p *program, o importUnitOptions, u *importer.Unit) error {
	c := p.client()
	defer c.Close()
	if _, err := c.Version(ctx); err != nil { // before anything is touched
		return err
	}
	released, err := handover.Release(ctx, u.Name)
	if err != nil {
		return fmt.Errorf("cannot adopt: %w", err)
	}
	s, err := c.TakeOver(ctx, u.Container, control.TakeOverOptions{Definition: u.Definition, Root: u.Root, ID: u.ID, Replace: o.force})
	if err != nil {
		return notAdopted(ctx, p, released, err)
	}
	return p.printAdopted(ctx, c, u, released, s)
}

// notAdopted gives the container back to its unit, unless the daemon may have it.
func notAdopted(ctx context.Context, p *program, released *handover.Released, err error) error {
	answer, ok := errors.AsType[*control.Error](err)
	if !ok || answer.Code == control.CodeFailed && strings.Contains(answer.Message, "went away") {
		_, _ = fmt.Fprintf(p.stderr, "runcsup: whether the container was adopted is not known; if runcsup list does not show it: rm %s && systemctl daemon-reload\n",
			released.File)
		return err
	}
	if uerr := released.Undo(context.WithoutCancel(ctx)); uerr != nil {
		return errors.Join(err, uerr)
	}
	if answer.Code == control.CodeConflict && strings.Contains(answer.Message, supervisor.ErrNotFound.Error()) {
		p.complain(err)
		return exitError(exitNotRunning)
	}
	return err
}

func (p *program) printAdopted(ctx context.Context, c *control.Client, u *importer.Unit, released *handover.Released, s supervisor.Snapshot) error {
	if p.format == formatJSON {
		return p.printJSON(s)
	}
	shown, err := c.Show(ctx, s.Name)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s runs on as process %d, and is runcsup's now. Its definition: %s\n", s.Name, s.Pid, shown.File)
	if released.File != "" {
		text += fmt.Sprintf("%s does not touch it any more until the next boot. Before that:\n\n    systemctl disable --now %s\n\n"+
			"That does not end the container. Until the container is restarted its output goes where the unit sent it: journalctl -u %s\n",
			u.Name, u.Name, u.Name)
	} else {
		text += fmt.Sprintf("%s is not active. So that it does not start at the next boot:\n\n    systemctl disable %s\n", u.Name, u.Name)
	}
	return p.print(text)
}
