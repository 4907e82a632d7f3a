package main

import (
	"context"
	"slices"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

// order says, of some containers, which of them something is to be done with first: for a start those that a container
// comes after, for a stop those that come after it.
type order struct {
	graph supervisor.Graph
	names []string
	stops bool
}

// orderOf asks the daemon. Of a single container there is nothing to ask.
func orderOf(ctx context.Context, c *control.Client, names []string, stops bool) (order, error) {
	o := order{graph: supervisor.Graph{}, names: names, stops: stops}
	if len(names) < 2 {
		return o, nil
	}
	nodes, err := c.Graph(ctx)
	for _, n := range nodes {
		o.graph[n.Name] = supervisor.Order{After: n.After, Requires: n.Requires, BindsTo: n.BindsTo}
	}
	return o, err
}

// first are those that come before one of the names.
func (o order) first(name string) []string {
	related := o.graph[name].Names()
	if o.stops {
		related = o.graph.After(name)
	}
	return slices.DeleteFunc(slices.Clone(related), func(other string) bool { return !slices.Contains(o.names, other) })
}

// follows tells whether a container is restarted with another one of the names, because it requires that.
func (o order) follows(name string) bool {
	return slices.ContainsFunc(o.graph.Needed(name), func(other string) bool { return slices.Contains(o.names, other) })
}
