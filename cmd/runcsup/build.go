package main

import (
	"context"

	"github.com/spf13/cobra"
)

type buildOptions struct{ output string }

// built is what build prints as JSON.
type built struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

func newBuildCommand(p *program) *cobra.Command {
	var o buildOptions
	c := &cobra.Command{
		Use:     "build NAME | FILE --output DIR",
		Short:   "Build a container's bundle without starting it",
		GroupID: groupDefine,
		Long: "Build the bundle of a container of the daemon, so that its next start finds it ready; or, without a daemon, that\n" +
			"of the definition in a file (a path, or a name that ends in .yaml) as DIR/NAME, for a look at it or for use with\n" +
			"runc run. Copies of secrets are then in DIR/.run. The bundle's directory is printed." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args: wantOne,
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			names, _ := p.completeNames(1, anyContainer)(c, args, word)
			return names, cobra.ShellCompDirectiveDefault // and files
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch file := isFile(args[0]); {
			case file && o.output == "":
				return wrongUsage(c, "building from a file needs --output")
			case !file && o.output != "":
				return wrongUsage(c, "--output is for a file; "+args[0]+" is the name of a container")
			}
			return runBuild(c.Context(), p, o, args[0])
		},
	}
	c.Flags().StringVar(&o.output, "output", "", "build in this `directory`, from a file")
	_ = c.MarkFlagDirname("output")
	return c
}

func runBuild(ctx context.Context, p *program, o buildOptions, arg string) error {
	name, path, err := arg, "", error(nil)
	if o.output != "" {
		name, path, err = buildOffline(ctx, arg, o.output)
	} else {
		c := p.client()
		defer c.Close()
		path, err = c.Build(ctx, name)
	}
	if err != nil {
		return err
	}
	if p.format == formatJSON {
		return p.printJSON(built{Name: name, Path: path})
	}
	return p.print(printable(path) + "\n")
}
