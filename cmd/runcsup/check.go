package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/config"
)

type checkOptions struct{ containers string }

// checked is what check found in one file, in JSON.
type checked struct {
	Name  string `json:"name"`
	File  string `json:"file"`
	Error string `json:"error"` // of one or more lines; empty when all is well
}

func newCheckCommand(p *program) *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:     "check [FILE…]",
		Short:   "Look for errors in definitions, without the daemon",
		GroupID: groupDefine,
		Long: "Look for errors in definitions, and in what they name: ready bundles, root file systems, archives, env files, and\n" +
			"other containers, whose definitions lie beside. Without a file it looks at all in the directory of definitions.\n" +
			"Nothing is changed, no daemon is needed." +
			exitStatus(exitFailed) + "\n\n1 is for errors in at least one file.",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{strings.TrimPrefix(config.Extension, ".")}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(c *cobra.Command, args []string) error { return runCheck(c.Context(), p, o, args) },
	}
	c.Flags().StringVar(&o.containers, "containers", config.DefaultSettings().Containers, "`directory` of the definitions")
	_ = c.MarkFlagDirname("containers")
	return c
}

func runCheck(ctx context.Context, p *program, o checkOptions, files []string) (err error) {
	loaded, err := load(o.containers, files)
	if err != nil {
		return err
	}
	if loaded, err = checkOrder(loaded); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "runcsup-check-")
	if err != nil {
		return fmt.Errorf("cannot make a directory to check in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	running := func(string) (string, error) { return "", errors.New("check starts nothing") }
	builder, err := offlineBuilder(filepath.Join(scratch, "bundles"), filepath.Join(scratch, "run"), running)
	if err != nil {
		return err
	}
	results := make([]checked, len(loaded))
	for i, one := range loaded {
		results[i] = check(ctx, builder, one)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return p.printChecked(results)
}

func (p *program) printChecked(results []checked) error {
	var text strings.Builder
	var failed error
	for _, r := range results {
		if r.Error == "" {
			fmt.Fprintf(&text, "%s: ok\n", printable(r.File))
			continue
		}
		failed = exitError(exitFailed)
		fmt.Fprintf(&text, "%s\n", strings.TrimRight(printable(r.Error), "\n"))
	}
	if p.format == formatJSON {
		if err := p.printJSON(results); err != nil {
			return err
		}
		return failed
	}
	if err := p.print(text.String()); err != nil {
		return err
	}
	return failed
}
