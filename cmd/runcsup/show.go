package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
)

type showOptions struct{ effective bool }

func newShowCommand(p *program) *cobra.Command {
	var o showOptions
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show the definition that is in effect",
		GroupID: groupLook,
		Long: "Show the text of a container's definition as it is in effect, which is the last good one if its file has errors\n" +
			"now. With -o json it prints both the text and the definition with all defaults." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantOne,
		ValidArgsFunction: p.completeNames(1, anyContainer),
		RunE:              func(c *cobra.Command, args []string) error { return runShow(c.Context(), p, o, args[0]) },
	}
	c.Flags().BoolVar(&o.effective, "effective", false, "show it as JSON with all defaults filled in")
	return c
}

func runShow(ctx context.Context, p *program, o showOptions, name string) error {
	c := p.client()
	defer c.Close()
	shown, err := c.Show(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case o.effective:
		return p.printJSON(shown.Effective)
	case p.format == formatJSON:
		return p.printJSON(shown)
	}
	return p.print(shownText(shown))
}

// shownText is the definition with its file, and its error if there is one, in comments: it stays YAML.
func shownText(shown control.Shown) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n", printable(shown.File))
	if shown.Error != "" {
		fmt.Fprintf(&b, "# The file has changed, but is refused; this is the last good one:\n# %s\n",
			indented(printable(shown.Error), "# "))
	}
	b.WriteString(strings.TrimRight(printable(shown.Definition), "\n") + "\n")
	return b.String()
}
