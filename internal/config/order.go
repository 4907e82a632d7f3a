package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/supervisor"
)

// Naming is a place where a definition names another container.
type Naming struct {
	Name         string // of the other one
	Path         string // `after[0]`
	Line, Column int
}

func (p *problems) serviceType(n *node, d *Definition) {
	if s, ok := p.word(n, "simple", "oneshot"); ok {
		d.Oneshot = s == "oneshot"
	}
}

// otherContainers reads a list of other containers' names.
func otherContainers(into func(*Definition) *[]string) func(*problems, *node, *Definition) {
	return func(p *problems, n *node, d *Definition) {
		list := into(d)
		for _, item := range p.items(n, "") {
			other, ok := p.container(item)
			switch {
			case !ok:
			case other == d.Name:
				p.fail(item, "", "%s: a container cannot depend on itself", quotePath(item))
			case slices.Contains(*list, other):
				p.fail(item, "remove one of them", "%s: %s is there twice", quotePath(item), other)
			default:
				*list = append(*list, other)
				d.Namings = append(d.Namings, Naming{other, item.path, item.line, item.column})
			}
		}
	}
}

var readyOn = []string{string(supervisor.ReadyStarted), string(supervisor.ReadyNotify), string(supervisor.ReadyProbe)}

var readyKeys = []key[supervisor.ReadyPolicy]{
	{"on", func(p *problems, n *node, r *supervisor.ReadyPolicy) {
		if s, ok := p.word(n, readyOn...); ok {
			r.On = supervisor.ReadyOn(s)
		}
	}},
	{"timeout", func(p *problems, n *node, r *supervisor.ReadyPolicy) { set(&r.Timeout)(p.positive(n)) }},
}

func (p *problems) ready(n *node, d *Definition) {
	if n.kind == kindString {
		if s, ok := p.word(n, readyOn...); ok {
			d.Ready.On = supervisor.ReadyOn(s)
		}
		return
	}
	if readMapping(p, n, readyKeys, &d.Ready) && len(n.fields) == 0 {
		p.fail(n, "give it as "+oneOf(readyOn), "%s has no \"on\"", quotePath(n))
	}
}

// checkReadiness settles what the container is ready on, for which it takes to know all of the definition.
func (p *problems) checkReadiness(root *node, d *Definition) {
	n := root.get("ready")
	on := n
	if n != nil && n.kind == kindMap {
		on = n.get("on")
	}
	if d.Oneshot {
		if on != nil {
			p.fail(on, "remove it", "%s: a one-shot container is ready when it has ended with success", quotePath(on))
		}
		return
	}
	if on == nil && d.Health != nil && d.Health.Readiness != nil {
		d.Ready.On = supervisor.ReadyProbe
	}
	switch d.Ready.On {
	case supervisor.ReadyProbe:
		if d.Health == nil || d.Health.Readiness == nil && d.Health.Startup == nil {
			p.fail(on, "add health: {readiness: …}", "%s: there is no probe that could tell", quotePath(on))
		}
	case supervisor.ReadyNotify:
		if d.Bundle.Notify == nil {
			d.Bundle.Notify = &bundle.Notify{}
		}
	default:
		d.Ready.On = supervisor.ReadyStarted
		if n != nil && n.kind == kindMap {
			p.meaningless(n, "a container that is ready when it is started cannot be late", "timeout")
		}
		return
	}
	if d.Ready.Timeout == 0 {
		d.Ready.Timeout = supervisor.DefaultReadyTimeout
	}
}

// checkOneshot settles when a one-shot container is restarted: systemd refuses the same policies.
func (p *problems) checkOneshot(root *node, d *Definition) {
	if !d.Oneshot {
		return
	}
	at := root.get("restart")
	if at != nil && at.kind == kindMap {
		at = at.get("policy")
	}
	switch {
	case at == nil:
		d.Restart.Mode = supervisor.RestartOnFailure
	case d.Restart.Mode == supervisor.RestartAlways || d.Restart.Mode == supervisor.RestartOnSuccess:
		p.fail(at, "write on-failure or no", "%s cannot be %s with type: oneshot, which is done when it has ended with success", quotePath(at), d.Restart.Mode)
	}
}

// checkOrder adds what follows from other keys. Who uses another container's network is of no use when that is gone, and
// the one that comes next has a network of its own.
func (p *problems) checkOrder(root *node, d *Definition) {
	other, n := d.Bundle.Network.Container, root.get("network")
	if other == "" || n == nil || slices.Contains(d.Order.BindsTo, other) {
		return
	}
	d.Order.BindsTo = append(d.Order.BindsTo, other)
	d.Namings = append(d.Namings, Naming{other, n.path, n.line, n.column})
}

// OrderCheck is a set of definitions that are to be in effect together.
type OrderCheck struct {
	// Definitions are those that are good by themselves, by name.
	Definitions map[string]*Definition
	// Known are the names that may be named: those of all files, the broken ones too.
	Known []string
	// InEffect gives the order with which a container is supervised now, if it is.
	InEffect func(name string) (supervisor.Order, bool)
}

// Errors says which of the definitions cannot be taken: those that name a container that there is not, and, for each cycle,
// the one that closes it. That is the last by name of those that are new or changed.
func (c OrderCheck) Errors() map[string]Errors {
	refused := map[string]Errors{}
	graph := supervisor.Graph{}
	inEffect := func(name string) (supervisor.Order, bool) {
		if c.InEffect == nil {
			return supervisor.Order{}, false
		}
		return c.InEffect(name)
	}
	refuse := func(name string, errs ...*Error) {
		refused[name] = append(refused[name], errs...)
		delete(graph, name)
		if o, ok := inEffect(name); ok {
			graph[name] = o
		}
	}
	for _, name := range c.Known {
		if o, ok := inEffect(name); ok {
			graph[name] = o
		}
	}
	for name, d := range c.Definitions {
		graph[name] = d.Order
		if errs := d.unknown(c.Known); len(errs) > 0 {
			refuse(name, errs...)
		}
	}
	for {
		way := c.cycle(graph)
		if way == nil {
			return refused
		}
		culprit := c.culprit(way, refused, inEffect)
		if culprit == "" {
			return refused // of what is in effect: no definition is at fault
		}
		refuse(culprit, c.Definitions[culprit].CycleError(graph.Cycle(culprit)))
	}
}

func (c OrderCheck) cycle(g supervisor.Graph) []string {
	for _, level := range g.Levels() {
		for _, name := range level {
			if way := g.Cycle(name); way != nil {
				return way
			}
		}
	}
	return nil
}

// culprit is the last by name of those on a cycle that can be refused.
func (c OrderCheck) culprit(way []string, refused map[string]Errors, inEffect func(string) (supervisor.Order, bool)) string {
	culprit := ""
	for _, name := range way {
		d := c.Definitions[name]
		if d == nil || refused[name] != nil {
			continue
		}
		if o, there := inEffect(name); there && slices.Equal(o.Names(), d.Order.Names()) {
			continue
		}
		culprit = max(culprit, name)
	}
	return culprit
}

// unknown are the places where a container is named that there is not.
func (d *Definition) unknown(known []string) []*Error {
	var errs []*Error
	for _, n := range d.Namings {
		if slices.Contains(known, n.Name) {
			continue
		}
		errs = append(errs, d.errorAt(n, "define it, or remove it here",
			strconv.Quote(n.Path)+": there is no container "+strconv.Quote(n.Name)+didYouMean(n.Name, known)))
	}
	return errs
}

// CycleError says that a definition closes a cycle, of which path is the way from it back to it.
func (d *Definition) CycleError(path []string) *Error {
	for _, n := range d.Namings {
		if len(path) > 1 && n.Name == path[1] {
			return d.errorAt(n, "remove one of these dependencies", strconv.Quote(n.Path)+": each would wait for the next: "+strings.Join(path, " -> "))
		}
	}
	return &Error{File: d.File, Msg: (&supervisor.CycleError{Path: path}).Error()}
}

func (d *Definition) errorAt(n Naming, hint, msg string) *Error {
	p := problems{file: d.File, lines: strings.Split(string(d.Source), "\n")}
	return &Error{File: d.File, Line: n.Line, Column: n.Column, Msg: msg, Hint: hint, Excerpt: p.excerpt(n.Line, n.Column)}
}
