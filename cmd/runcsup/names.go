package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/supervisor"
)

// completionTimeout is for asking the daemon for names while somebody waits for the TAB key.
const completionTimeout = time.Second

// wantNames is the Args of verbs that take one or more containers.
func wantNames(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return wrongUsage(c, c.Name()+" needs the name of a container")
	}
	return nil
}

// wantOne is the Args of verbs that take one argument.
func wantOne(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return wrongUsage(c, c.Name()+" takes one argument")
	}
	return nil
}

func wantNone(c *cobra.Command, args []string) error {
	if len(args) != 0 {
		return wrongUsage(c, c.Name()+" takes no arguments")
	}
	return nil
}

// wantNamesOrAll is the Args of verbs that have a flag for all containers.
func wantNamesOrAll(all *bool) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if *all && len(args) > 0 {
			return wrongUsage(c, "names and --all exclude each other")
		}
		if *all {
			return nil
		}
		return wantNames(c, args)
	}
}

// namesOrAll returns names without duplicates, or those of all containers that fit.
func (p *program) namesOrAll(ctx context.Context, names []string, all bool, fits func(supervisor.Snapshot) bool) ([]string, error) {
	if !all {
		return unique(names), nil
	}
	c := p.client()
	defer c.Close()
	list, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if fits(s) {
			names = append(names, s.Name)
		}
	}
	return names, nil
}

// unique returns names without duplicates, in the order given.
func unique(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// anyContainer fits every container.
func anyContainer(supervisor.Snapshot) bool { return true }

// completeNames offers the containers that fit and were not yet named, at most limit of them (0: any number).
func (p *program) completeNames(limit int, fits func(supervisor.Snapshot) bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
		defer cancel()
		client := p.client()
		defer client.Close()
		list, err := client.List(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, s := range list {
			if fits(s) && strings.HasPrefix(s.Name, word) && !slices.Contains(args, s.Name) {
				names = append(names, cobra.CompletionWithDesc(s.Name, string(s.State)))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
