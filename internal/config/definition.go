package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/health"
	"github.com/runcsup/runcsup/supervisor"
)

// Extension is how the names of definition files end.
const Extension = ".yaml"

// Definition is one container as its file describes it, checked and with all defaults filled in.
type Definition struct {
	Name    string // the file's name without Extension
	File    string // as it was given to Parse
	Enabled bool
	Bundle  bundle.Options
	Restart supervisor.RestartPolicy
	Stop    supervisor.StopPolicy
	Oneshot bool
	Ready   supervisor.ReadyPolicy
	Order   supervisor.Order
	Namings []Naming       // where Order comes from
	Health  *health.Probes // nil: none
	Log     LogOptions
	Source  []byte // what was parsed, unchanged
}

// Parse reads one definition. The container's name comes from the file's; the file itself is not opened. An error is of
// type Errors and has everything that is wrong.
func Parse(file string, src []byte) (*Definition, error) {
	p := &problems{file: file}
	name := nameOf(file)
	switch ext := filepath.Ext(file); {
	case strings.EqualFold(ext, ".yml") || ext != Extension && strings.EqualFold(ext, Extension):
		p.at(0, 0, "rename it to "+name+Extension, "the name of a definition must end in "+Extension)
	case ext != Extension:
		p.at(0, 0, "rename it to NAME"+Extension, "the name of a definition must end in "+Extension)
	case !ValidName(name):
		p.at(0, 0, "rename it: "+nameRule, fmt.Sprintf("the file's name gives no name for a container: %s", quote(name)))
	}
	root := p.parseSource(src)
	if root == nil && len(p.list) == 0 {
		p.at(0, 0, "a definition needs at least a source and, unless that is a ready bundle, a command", "the file is empty")
	}
	if root == nil {
		return nil, p.err()
	}
	def := &Definition{
		Name: name, File: file, Enabled: true,
		Bundle:  bundle.Options{Name: name},
		Restart: supervisor.DefaultRestartPolicy(),
		Stop:    supervisor.DefaultStopPolicy(),
		Log:     DefaultLogOptions(),
		Source:  append([]byte(nil), src...),
	}
	if root.kind != kindMap {
		p.fail(root, "write keys and values, like rootfs: /srv/app", "a definition must be a mapping, not %s", root.kind)
		return nil, p.err()
	}
	readMapping(p, root, definitionKeys, def)
	p.checkSource(root)
	p.checkNetwork(root, def)
	p.checkTargets(root, def)
	p.checkReadiness(root, def)
	p.checkOneshot(root, def)
	p.checkOrder(root, def)
	if err := p.err(); err != nil {
		return nil, err
	}
	return def, nil
}

// nameOf is the name that a file gives its container.
func nameOf(file string) string {
	base := filepath.Base(file)
	if ext := filepath.Ext(base); isYAML(ext) {
		return strings.TrimSuffix(base, ext)
	}
	return base
}

func isYAML(ext string) bool {
	return strings.EqualFold(ext, ".yaml") || strings.EqualFold(ext, ".yml")
}

// definitionKeys is every key of a definition, in the order of the documentation.
var definitionKeys = []key[Definition]{
	{"rootfs", func(p *problems, n *node, d *Definition) { set(&d.Bundle.Rootfs)(p.hostPath(n)) }},
	{"rootfs-archive", func(p *problems, n *node, d *Definition) { set(&d.Bundle.RootfsArchive)(p.hostPath(n)) }},
	{"bundle", func(p *problems, n *node, d *Definition) { set(&d.Bundle.Bundle)(p.hostPath(n)) }},
	{"image", (*problems).image},
	{"command", (*problems).command},
	{"env", (*problems).env},
	{"envFile", (*problems).envFile},
	{"user", (*problems).user},
	{"workdir", func(p *problems, n *node, d *Definition) { set(&d.Bundle.Workdir)(p.innerPath(n)) }},
	{"readOnly", func(p *problems, n *node, d *Definition) { set(&d.Bundle.ReadOnly)(p.boolean(n)) }},
	{"hostname", (*problems).hostname},
	{"mounts", (*problems).mounts},
	{"secrets", (*problems).secrets},
	{"capabilities", (*problems).capabilities},
	{"network", (*problems).network},
	{"resources", func(p *problems, n *node, d *Definition) { readMapping(p, n, resourceKeys, &d.Bundle.Resources) }},
	{"rlimits", (*problems).rlimits},
	{"oci", (*problems).oci},
	{"type", (*problems).serviceType},
	{"after", otherContainers(func(d *Definition) *[]string { return &d.Order.After })},
	{"requires", otherContainers(func(d *Definition) *[]string { return &d.Order.Requires })},
	{"bindsTo", otherContainers(func(d *Definition) *[]string { return &d.Order.BindsTo })},
	{"ready", (*problems).ready},
	{"restart", (*problems).restart},
	{"stop", func(p *problems, n *node, d *Definition) { readMapping(p, n, stopKeys, &d.Stop) }},
	{"health", (*problems).health},
	{"log", (*problems).log},
	{"enabled", func(p *problems, n *node, d *Definition) { set(&d.Enabled)(p.boolean(n)) }},
}

// set returns a function that stores a value that was read well.
func set[T any](into *T) func(T, bool) {
	return func(value T, ok bool) {
		if ok {
			*into = value
		}
	}
}

// sourceKeys are the keys of which a definition has exactly one.
var sourceKeys = []string{"rootfs", "rootfs-archive", "bundle", "image"}

// generatingKeys describe what goes into a generated config.json, and mean nothing with a ready bundle.
var generatingKeys = []string{
	"command", "env", "envFile", "user", "workdir", "readOnly", "hostname", "mounts", "secrets", "capabilities",
	"network", "resources", "rlimits", "oci",
}

// checkSource sees to it that there is one source, and a command unless the source has one.
func (p *problems) checkSource(root *node) {
	first, misspelled := "", false
	for _, f := range root.fields {
		misspelled = misspelled || lookup(definitionKeys, f.name) == nil
		if !contains(sourceKeys, f.name) {
			continue
		}
		if first == "" {
			first = f.name
			continue
		}
		p.at(f.line, f.column, "remove one of them", fmt.Sprintf("%q and %q exclude each other: a container has one source", f.name, first))
	}
	if first == "bundle" {
		p.checkReady(root)
		return
	}
	if misspelled {
		return // what seems to be missing may be there under another name, and that was reported
	}
	if first == "" {
		p.at(root.line, root.column, "add one of rootfs: DIR, rootfs-archive: FILE or bundle: DIR", "the definition has no source")
	}
	if root.get("command") == nil {
		p.at(root.line, root.column, `add command: [/path/of/program, argument]`, `the definition has no "command"`)
	}
}

// checkReady refuses, next to a ready bundle, what only a generated config.json can take.
func (p *problems) checkReady(root *node) {
	for _, f := range root.fields {
		if contains(generatingKeys, f.name) {
			p.at(f.line, f.column, `change the bundle's config.json, or use rootfs: instead of bundle:`,
				fmt.Sprintf("%q does not go with \"bundle\": a ready bundle is used as it is", f.name))
		}
	}
}
