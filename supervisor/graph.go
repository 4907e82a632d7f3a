package supervisor

import (
	"maps"
	"slices"
	"strings"
)

// Order is what a container needs of others, in systemd's words (systemd.unit(5)). Requires and BindsTo imply After: a
// container that needs another is of no use before that is up.
type Order struct {
	// After: where both are started, this one waits until the start of the other has come to an end; where both are
	// stopped, this one is stopped first.
	After []string
	// Requires: the other is started with this one, which waits until it is up. It is stopped and restarted with the other
	// when somebody says so, and runs on when the other ends by itself.
	Requires []string
	// BindsTo is Requires, and this one ends whenever the other does. It is started again when that is up.
	BindsTo []string
}

// Empty tells that nothing is needed.
func (o Order) Empty() bool { return len(o.After)+len(o.Requires)+len(o.BindsTo) == 0 }

// Names are all that are named, each once, sorted.
func (o Order) Names() []string {
	return uniqueNames(o.After, o.Requires, o.BindsTo)
}

// Needs are those of them that are required, each once, sorted.
func (o Order) Needs() []string { return uniqueNames(o.Requires, o.BindsTo) }

func uniqueNames(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// Graph is the order of a set of containers, by name. Names that are not in it are of no importance to its methods.
type Graph map[string]Order

// Cycle returns a way from a name over what it names back to itself, the name at both ends; nil when there is none.
func (g Graph) Cycle(name string) []string {
	seen := map[string]bool{}
	var way []string
	var walk func(at string) bool
	walk = func(at string) bool {
		way = append(way, at)
		for _, next := range g[at].Names() {
			if next == name {
				way = append(way, next)
				return true
			}
			if !seen[next] {
				seen[next] = true
				if walk(next) {
					return true
				}
			}
		}
		way = way[:len(way)-1]
		return false
	}
	if walk(name) {
		return way
	}
	return nil
}

// Levels sorts the names so that each is in a later level than all it names; within a level they are sorted by name. What
// is on a cycle or behind one comes last, in one level.
func (g Graph) Levels() [][]string {
	left := slices.Sorted(maps.Keys(g))
	placed := map[string]bool{}
	var levels [][]string
	for len(left) > 0 {
		var level, rest []string
		for _, name := range left {
			waits := slices.ContainsFunc(g[name].Names(), func(other string) bool {
				_, there := g[other]
				return there && !placed[other]
			})
			if waits {
				rest = append(rest, name)
			} else {
				level = append(level, name)
			}
		}
		if level == nil {
			return append(levels, rest)
		}
		for _, name := range level {
			placed[name] = true
		}
		levels, left = append(levels, level), rest
	}
	return levels
}

// Needed are all that a name requires, over any number of others, sorted. The name itself is not among them.
func (g Graph) Needed(name string) []string {
	return g.reach(name, func(at string) []string { return g[at].Needs() })
}

// Dependents are all that require a name, over any number of others, sorted. The name itself is not among them.
func (g Graph) Dependents(name string) []string {
	by := map[string][]string{}
	for other, o := range g {
		for _, needed := range o.Needs() {
			by[needed] = append(by[needed], other)
		}
	}
	return g.reach(name, func(at string) []string { return by[at] })
}

func (g Graph) reach(from string, next func(string) []string) []string {
	seen := map[string]bool{from: true}
	open := []string{from}
	for len(open) > 0 {
		at := open[0]
		open = open[1:]
		for _, n := range next(at) {
			if !seen[n] {
				seen[n] = true
				open = append(open, n)
			}
		}
	}
	delete(seen, from)
	return slices.Sorted(maps.Keys(seen))
}

// After are those that name this one, sorted: they are stopped before it.
func (g Graph) After(name string) []string {
	var out []string
	for other, o := range g {
		if slices.Contains(o.Names(), name) {
			out = append(out, other)
		}
	}
	slices.Sort(out)
	return out
}

// CycleError is the answer to a definition that would have containers wait for each other.
type CycleError struct {
	Path []string // "a", "b", "a": a waits for b, and b for a
}

func (e *CycleError) Error() string {
	return "each would wait for the next: " + strings.Join(e.Path, " -> ")
}
