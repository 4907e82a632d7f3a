package control

import (
	"context"
	"net/http"
	"slices"

	"github.com/runcsup/runcsup/supervisor"
)

// GraphNode is one container in the order of all.
type GraphNode struct {
	Name string `json:"name"`
	// Level is 0 for a container that names no other, else one more than the highest of those it names.
	Level      int              `json:"level"`
	State      supervisor.State `json:"state"` // empty when it comes from files alone
	Ready      bool             `json:"ready"`
	Oneshot    bool             `json:"oneshot"`
	After      []string         `json:"after"`
	Requires   []string         `json:"requires"`
	BindsTo    []string         `json:"bindsTo"`
	WaitingFor []string         `json:"waitingFor"`
}

// NewGraph puts containers into their order, sorted by level, then by name. describe fills in what is no part of the order.
func NewGraph(g supervisor.Graph, describe func(*GraphNode)) []GraphNode {
	nodes := []GraphNode{}
	for level, names := range g.Levels() {
		for _, name := range names {
			o := g[name]
			n := GraphNode{Name: name, Level: level, After: o.After, Requires: o.Requires, BindsTo: o.BindsTo}
			describe(&n)
			for _, list := range []*[]string{&n.After, &n.Requires, &n.BindsTo, &n.WaitingFor} {
				*list = append([]string{}, *list...)
				slices.Sort(*list)
			}
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Graph returns the order of all containers.
func (c *Client) Graph(ctx context.Context) ([]GraphNode, error) {
	var nodes []GraphNode
	return nodes, c.do(ctx, http.MethodGet, "/v1/graph", nil, &nodes)
}

func (s *Server) graph(request) (answer, error) {
	return answer{value: append([]GraphNode{}, s.backend.Graph()...)}, nil
}
