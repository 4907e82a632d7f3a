package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/runcsup/runcsup/bundle"
)

const (
	mountBind  = "bind"
	mountTmpfs = "tmpfs"
)

var mountKeys = []key[bundle.Mount]{
	{"type", func(p *problems, n *node, m *bundle.Mount) { set(&m.Type)(p.word(n, mountBind, mountTmpfs)) }},
	{"source", func(p *problems, n *node, m *bundle.Mount) { set(&m.Source)(p.hostPath(n)) }},
	{"target", func(p *problems, n *node, m *bundle.Mount) { set(&m.Target)(p.targetPath(n)) }},
	{"readOnly", func(p *problems, n *node, m *bundle.Mount) { set(&m.ReadOnly)(p.boolean(n)) }},
	{"size", func(p *problems, n *node, m *bundle.Mount) { set(&m.Size)(p.size(n, 1)) }},
	{"mode", func(p *problems, n *node, m *bundle.Mount) {
		if _, ok := p.mode(n, 0o7777); ok {
			m.Mode = n.text
		}
	}},
	{"options", (*problems).mountOptions},
}

func (p *problems) mounts(n *node, d *Definition) {
	for _, item := range p.items(n, "{source: /path, target: /path}") {
		d.Bundle.Mounts = append(d.Bundle.Mounts, p.mount(item))
	}
}

func (p *problems) mount(n *node) bundle.Mount {
	m := bundle.Mount{Type: mountBind}
	if n.kind == kindString {
		p.fail(n, shortMountHint(n.text), "%s must be a mapping, not %s", quotePath(n), n.kind)
		return m
	}
	if !readMapping(p, n, mountKeys, &m) {
		return m
	}
	p.require(n, "target")
	if m.Type == mountTmpfs {
		if f := n.get("source"); f != nil {
			p.fail(f, "remove it, or the type", "%s: a tmpfs has no source", quotePath(f))
		}
		return m
	}
	p.require(n, "source")
	for _, name := range []string{"size", "mode"} {
		if f := n.get(name); f != nil {
			p.fail(f, "remove it, or write type: tmpfs", "%s is for a tmpfs only", quotePath(f))
		}
	}
	return m
}

// require adds a problem when a mapping lacks a key.
func (p *problems) require(n *node, name string) {
	if n.get(name) == nil {
		p.fail(n, "", "%s has no %q", quotePath(n), name)
	}
}

// shortMountHint translates docker's SOURCE:TARGET[:ro].
func shortMountHint(short string) string {
	parts := strings.Split(short, ":")
	if len(parts) < 2 || len(parts) > 3 || len(short) > 200 || !strings.HasPrefix(parts[0], "/") {
		return "write {source: /path, target: /path}"
	}
	hint := "write {source: " + parts[0] + ", target: " + parts[1]
	if len(parts) == 3 && strings.Contains(","+parts[2]+",", ",ro,") {
		hint += ", readOnly: true"
	}
	return hint + "}"
}

var (
	mountOptionPattern = regexp.MustCompile(`^[^,\s[:cntrl:]]+$`)
	keyedMountOption   = regexp.MustCompile(`^(ro|rw|size=.*|mode=.*)$`)
)

func (p *problems) mountOptions(n *node, m *bundle.Mount) {
	for _, item := range p.items(n, "") {
		s, ok := p.text(item, "a mount option like noexec")
		switch {
		case !ok:
		case !mountOptionPattern.MatchString(s):
			p.fail(item, "write each option as an item of its own", "%s is not one mount option: %s", quotePath(item), quote(s))
		case keyedMountOption.MatchString(s):
			name, _, _ := strings.Cut(s, "=")
			name = strings.NewReplacer("ro", "readOnly", "rw", "readOnly").Replace(name)
			p.fail(item, "use "+name+": instead", "%s: %s has a key of its own", quotePath(item), quote(s))
		default:
			m.Options = append(m.Options, s)
		}
	}
}

var secretKeys = []key[bundle.Secret]{
	{"source", func(p *problems, n *node, s *bundle.Secret) { set(&s.Source)(p.hostPath(n)) }},
	{"target", func(p *problems, n *node, s *bundle.Secret) { set(&s.Target)(p.targetPath(n)) }},
	{"mode", func(p *problems, n *node, s *bundle.Secret) {
		if v, ok := p.mode(n, 0o777); ok {
			s.Mode = os.FileMode(v)
		}
	}},
}

func (p *problems) secrets(n *node, d *Definition) {
	for _, item := range p.items(n, "{source: /path, target: /path}") {
		s := bundle.Secret{Mode: 0o400}
		if readMapping(p, item, secretKeys, &s) {
			p.require(item, "source")
			p.require(item, "target")
		}
		d.Bundle.Secrets = append(d.Bundle.Secrets, s)
	}
}

// placed is something that a definition puts at a path in the container.
type placed struct {
	target string
	secret bool
	at     *node
}

// checkTargets refuses mounts and secrets that hide each other. Mounts come in their order, secrets after them.
func (p *problems) checkTargets(root *node, d *Definition) {
	var all []placed
	for i, m := range d.Bundle.Mounts {
		all = append(all, placed{target: m.Target, at: root.get("mounts").items[i].get("target")})
	}
	for i, s := range d.Bundle.Secrets {
		all = append(all, placed{s.Target, true, root.get("secrets").items[i].get("target")})
	}
	byTarget := make(map[string]placed, len(all))
	above := make(map[string]placed, len(all)) // a directory → the first thing that was put into it
	for _, one := range all {
		if one.target == "" {
			continue // was reported
		}
		if other, ok := byTarget[one.target]; ok {
			p.fail(one.at, "remove one of them", "%s: %s is the target of %s already", quotePath(one.at), quote(one.target), describe(other))
			continue
		}
		if inside, ok := above[one.target]; ok {
			hint := "list it before " + describe(inside)
			if one.secret {
				hint = "choose another target"
			}
			p.fail(one.at, hint, "%s: %s would hide %s at %s", quotePath(one.at), quote(one.target), describe(inside), quote(inside.target))
		}
		for dir := parent(one.target); dir != "/"; dir = parent(dir) {
			if holder, ok := byTarget[dir]; ok && holder.secret {
				p.fail(one.at, "choose another target", "%s: %s is inside %s, which is a file", quotePath(one.at), quote(one.target), describe(holder))
			}
			if _, ok := above[dir]; !ok {
				above[dir] = one
			}
		}
		byTarget[one.target] = one
	}
}

func describe(x placed) string {
	holder := strings.TrimSuffix(x.at.path, ".target")
	return fmt.Sprintf("%q", holder)
}

// parent is the directory of a clean absolute path.
func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i > 0 {
		return p[:i]
	}
	return "/"
}
