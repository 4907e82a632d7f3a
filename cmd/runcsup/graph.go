package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

// formatDot is for Graphviz.
const formatDot = "dot"

func newGraphCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "graph [FILE…]",
		Short:   "Show the order of containers",
		GroupID: groupLook,
		Long: "Show which containers come after which others, and need them: first those that name nobody, then, level by level,\n" +
			"those that come after them. With -o dot it is a drawing for Graphviz: runcsup graph -o dot | dot -Tsvg. With files\n" +
			"it shows what they say, without the daemon." + exitStatus(exitFailed, exitNoDaemon),
		Annotations: map[string]string{formatDot: ""},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return []cobra.Completion{strings.TrimPrefix(config.Extension, ".")}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(c *cobra.Command, args []string) error { return runGraph(c.Context(), p, args) },
	}
}

func runGraph(ctx context.Context, p *program, files []string) error {
	nodes, err := p.graph(ctx, files)
	if err != nil {
		return err
	}
	switch p.format {
	case formatJSON:
		return p.printJSON(nodes)
	case formatDot:
		return p.print(graphDot(nodes))
	}
	if len(nodes) == 0 {
		_, _ = fmt.Fprintln(p.stderr, "no containers are defined")
		return nil
	}
	return p.print(graphText(nodes))
}

// graph asks the daemon or, if there are files, reads them.
func (p *program) graph(ctx context.Context, files []string) ([]control.GraphNode, error) {
	if len(files) == 0 {
		c := p.client()
		defer c.Close()
		return c.Graph(ctx)
	}
	loaded, err := load("", files)
	if err != nil {
		return nil, err
	}
	g, oneshot := supervisor.Graph{}, map[string]bool{}
	for _, one := range loaded {
		if one.Err != nil {
			return nil, one.Err
		}
		g[one.Name], oneshot[one.Name] = one.Definition.Order, one.Definition.Oneshot
	}
	return control.NewGraph(g, func(n *control.GraphNode) { n.Oneshot = oneshot[n.Name] }), nil
}

// graphText is a table with a row for each container.
func graphText(nodes []control.GraphNode) string {
	var t table
	t.add("LEVEL", "NAME", "STATE", "READY", "COMES AFTER")
	for _, n := range nodes {
		state, ready, words := none, none, none
		if n.State != "" {
			state, ready = string(n.State), "no"
		}
		if n.Ready {
			ready = "yes"
		}
		if parts := orderWords(n); len(parts) > 0 {
			words = strings.Join(parts, "; ")
		}
		name := n.Name
		if n.Oneshot {
			name += " (oneshot)"
		}
		t.add(strconv.Itoa(n.Level), name, state, ready, words)
	}
	t.dropEmpty("STATE")
	t.dropEmpty("READY")
	return t.String()
}

// orderWords says what a container needs of others. What is required or bound to is not said again.
func orderWords(n control.GraphNode) (parts []string) {
	requires, after := without(n.Requires, n.BindsTo), without(without(n.After, n.Requires), n.BindsTo)
	for _, one := range []struct {
		word  string
		names []string
	}{{"bound to", n.BindsTo}, {"requires", requires}, {"after", after}} {
		if len(one.names) > 0 {
			parts = append(parts, one.word+" "+strings.Join(one.names, ", "))
		}
	}
	return parts
}

func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

// graphDot is the graph in Graphviz's language: an arrow leads from a container to what comes before it.
func graphDot(nodes []control.GraphNode) string {
	var b strings.Builder
	b.WriteString("digraph runcsup {\n  rankdir=BT;\n  node [shape=box];\n")
	for _, n := range nodes {
		label, style := n.Name, ""
		if n.State != "" {
			label += "\n" + string(n.State)
		}
		if n.Oneshot {
			style = ", style=rounded"
		}
		fmt.Fprintf(&b, "  %s [label=%s%s];\n", strconv.Quote(n.Name), strconv.Quote(label), style)
	}
	for _, n := range nodes {
		for _, one := range []struct {
			names []string
			style string
		}{
			{n.BindsTo, " [style=bold, label=bindsTo]"}, {without(n.Requires, n.BindsTo), ""},
			{without(without(n.After, n.Requires), n.BindsTo), " [style=dashed, label=after]"},
		} {
			for _, other := range one.names {
				fmt.Fprintf(&b, "  %s -> %s%s;\n", strconv.Quote(n.Name), strconv.Quote(other), one.style)
			}
		}
	}
	b.WriteString("}\n")
	return b.String()
}
