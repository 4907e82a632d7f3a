package config

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/runcsup/runcsup/bundle"
)

func (p *problems) command(n *node, d *Definition) {
	if n.kind != kindList {
		hint := `write a list, e.g. [/bin/sh, -c, "…"]`
		if words := strings.Fields(n.text); n.kind == kindString && len(words) == 1 && len(words[0]) < 80 {
			hint = "write a list: [" + words[0] + "]"
		}
		p.fail(n, hint, "%s must be a list, not %s", quotePath(n), n.kind)
		return
	}
	if len(n.items) == 0 {
		p.fail(n, "name the program to run, e.g. [/bin/app, --flag]", "%s is an empty list", quotePath(n))
		return
	}
	for i, item := range n.items {
		arg, ok := p.written(item, `text with ": " or one of []{} in it needs quotes`)
		if ok && i == 0 && strings.TrimSpace(arg) == "" {
			p.fail(item, "", "%s is empty, but must be the program to run", quotePath(item))
		}
		d.Bundle.Command = append(d.Bundle.Command, arg)
	}
}

var envNamePattern = regexp.MustCompile(`^[A-Za-z_.-][A-Za-z0-9_.-]*$`)

func (p *problems) env(n *node, d *Definition) {
	if n.kind != kindMap {
		p.fail(n, "write {NAME: value}", "%s must be a mapping, not %s", quotePath(n), n.kind)
		return
	}
	d.Bundle.Env = make(map[string]string, len(n.fields))
	for _, f := range n.fields {
		if !envNamePattern.MatchString(f.name) {
			name, _, _ := strings.Cut(f.name, "=") // what follows may be the value
			p.at(f.line, f.column, `a name has letters, digits, "_", "." and "-", and does not begin with a digit`,
				quote(name)+" is not the name of an environment variable")
			continue
		}
		if f.value.kind == kindNull {
			p.at(f.line, f.column, `write "" for an empty value; nothing is taken over from the daemon's environment`,
				quotePath(f.value)+" has no value")
			continue
		}
		if value, ok := p.written(f.value, "only text, numbers, true and false are possible"); ok {
			d.Bundle.Env[f.name] = value
		}
	}
}

func (p *problems) envFile(n *node, d *Definition) {
	for _, item := range p.items(n, "") {
		if file, ok := p.hostPath(item); ok {
			d.Bundle.EnvFiles = append(d.Bundle.EnvFiles, file)
		}
	}
}

var (
	userPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?(:[A-Za-z0-9_][A-Za-z0-9_.-]*\$?)?$`)
	onlyDigits  = regexp.MustCompile(`^[0-9]+$`)
)

// maxUser is how long user and group may be together; useradd(8) takes 32 characters for each.
const maxUser = 256

// maxID is the largest user or group id; the one above means "none" to the kernel.
const maxID = math.MaxUint32 - 1

func (p *problems) user(n *node, d *Definition) {
	const what = `a user like app, app:group, 1000 or "1000:1000"`
	if n.kind == kindInt {
		if id, ok := p.integer(n, 0, maxID); ok {
			d.Bundle.User = strconv.FormatInt(id, 10)
		}
		return
	}
	s, ok := p.text(n, what)
	if !ok {
		return
	}
	if len(s) > maxUser || !userPattern.MatchString(s) {
		p.fail(n, "", "%s must be %s, not %s", quotePath(n), what, quote(s))
		return
	}
	for part := range strings.SplitSeq(s, ":") {
		if !onlyDigits.MatchString(part) {
			continue
		}
		if id, err := strconv.ParseUint(part, 10, 32); err != nil || id > maxID {
			p.fail(n, "", "%s: there is no id %s", quotePath(n), quote(part))
			return
		}
	}
	d.Bundle.User = s
}

var hostnamePattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?$`)

func (p *problems) hostname(n *node, d *Definition) {
	s, ok := p.text(n, "a host name")
	if ok && !hostnamePattern.MatchString(s) {
		p.fail(n, `up to 64 letters, digits, "." and "-"`, "%s is not a host name: %s", quotePath(n), quote(s))
		return
	}
	d.Bundle.Hostname = s
}

func (p *problems) network(n *node, d *Definition) {
	s, ok := p.text(n, networkForms)
	if !ok {
		return
	}
	mode, rest, _ := strings.Cut(s, ":")
	switch bundle.NetworkMode(mode) {
	case bundle.NetworkNone, bundle.NetworkHost:
		if mode == s {
			d.Bundle.Network = bundle.Network{Mode: bundle.NetworkMode(mode)}
			return
		}
	case bundle.NetworkPath:
		if strings.HasPrefix(rest, "/") {
			d.Bundle.Network = bundle.Network{Mode: bundle.NetworkPath, Path: rest}
			return
		}
	case bundle.NetworkContainer:
		switch {
		case !ValidName(rest):
			p.fail(n, nameRule, "%s is not the name of a container: %s", quotePath(n), quote(rest))
		case rest == d.Name:
			p.fail(n, "", "%s: a container cannot join its own network", quotePath(n))
		default:
			d.Bundle.Network = bundle.Network{Mode: bundle.NetworkContainer, Container: rest}
		}
		return
	}
	hint := ""
	if g := suggest(mode, []string{"none", "host", "netns", "container"}); g != "" && g != mode {
		hint = "did you mean " + g + "?"
	}
	p.fail(n, hint, "%s must be %s, not %s", quotePath(n), networkForms, quote(s))
}

const networkForms = "none, host, netns:/path or container:NAME"

// checkNetwork fills in the default, which a ready bundle does not have.
func (p *problems) checkNetwork(root *node, d *Definition) {
	if root.get("network") == nil && root.get("bundle") == nil {
		d.Bundle.Network.Mode = bundle.NetworkNone
	}
}

func (p *problems) oci(n *node, d *Definition) {
	if n.kind != kindMap {
		p.fail(n, "write part of a config.json, e.g. {linux: {sysctl: {net.core.somaxconn: \"1024\"}}}",
			"%s must be a mapping, not %s", quotePath(n), n.kind)
		return
	}
	if patch, ok := p.json(n).(map[string]any); ok && len(patch) > 0 {
		d.Bundle.OCI = patch
	}
}

// json converts a node to what encoding/json has for it, with int64 and uint64 for whole numbers.
func (p *problems) json(n *node) any {
	switch n.kind {
	case kindNull:
		return nil
	case kindBool:
		return strings.EqualFold(n.text, "true")
	case kindInt:
		if v, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			return v
		}
		if v, err := strconv.ParseUint(strings.TrimPrefix(n.text, "+"), 10, 64); err == nil {
			return v
		}
		p.fail(n, "", "%s does not fit into 64 bits: %s", quotePath(n), quote(n.text))
	case kindFloat:
		if v, err := strconv.ParseFloat(n.text, 64); err == nil {
			return v
		}
		p.fail(n, "", "%s is not a possible number: %s", quotePath(n), quote(n.text))
	case kindOdd:
		p.fail(n, "write it as a plain decimal number, or as text in quotes", "%s: programs disagree about the number %s", quotePath(n), quote(n.text))
	case kindList:
		list := make([]any, 0, len(n.items))
		for _, item := range n.items {
			list = append(list, p.json(item))
		}
		return list
	case kindMap:
		object := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			object[f.name] = p.json(f.value)
		}
		return object
	default:
		return n.text
	}
	return nil
}
