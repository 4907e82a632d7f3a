package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// tuneCompletionCommand makes cobra's completion verb one of ours: in its group, with exit codes, and without success for a
// shell it does not know.
func tuneCompletionCommand(root *cobra.Command) {
	root.SetCompletionCommandGroupID(groupService)
	root.InitDefaultCompletionCmd()
	c, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	c.Use = "completion bash|zsh|fish|powershell"
	c.Short = "Print a script that completes commands in a shell"
	c.Long = "Print a script that completes verbs, flags and the names of containers, which it asks the daemon for. Each shell's\n" +
		"own help says where the script goes: runcsup completion bash --help." + exitStatus(exitFailed)
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return wrongUsage(c, "completion needs the name of a shell")
		}
		return wrongUsage(c, fmt.Sprintf("there is no completion for shell %q", args[0]))
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() } // to be asked for its Args
}
