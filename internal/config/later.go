package config

import (
	"regexp"
	"strings"
)

// This file has the keys that belong to the format, but whose function this version does not have. Their form is checked,
// so that what people write today is right tomorrow, and then they are refused: a key that does nothing would be a lie.

// later refuses what is in good form, where its key stands.
func (p *problems) later(n *node, what string) {
	p.at(n.key.line, n.key.column, "remove it; a later version of runcsup will know it", what+" is not supported yet")
}

// shape runs a check and tells whether that found no problem.
func (p *problems) shape(check func()) bool {
	before := len(p.list)
	check()
	return len(p.list) == before
}

// imageSchemes are the sources of image:, and the form of what follows the colon.
var imageSchemes = map[string]*regexp.Regexp{
	"rootfs-archive": regexp.MustCompile(`^/`),
	"docker-archive": regexp.MustCompile(`^/`),
	"oci-archive":    regexp.MustCompile(`^/`),
	"oci":            regexp.MustCompile(`^/`),
	"docker":         regexp.MustCompile(`^//[^/]+/[^/].*@sha256:[0-9a-f]{64}$`),
}

var imageSchemeNames = []string{"rootfs-archive", "docker-archive", "oci", "oci-archive", "docker"}

func (p *problems) image(n *node, d *Definition) {
	s, ok := p.text(n, "SCHEME:REFERENCE, like rootfs-archive:/path")
	if !ok {
		return
	}
	scheme, rest, found := strings.Cut(s, ":")
	form := imageSchemes[scheme]
	switch {
	case !found || form == nil:
		guess := ""
		if found {
			guess = didYouMean(scheme, imageSchemeNames)
		}
		p.fail(n, "known schemes: "+strings.Join(imageSchemeNames, ", "), "%s must be SCHEME:REFERENCE, not %s%s", quotePath(n), quote(s), guess)
	case !form.MatchString(rest) && scheme == "docker":
		p.fail(n, "write docker://registry/name@sha256:…", "%s must name registry, image and digest: %s", quotePath(n), quote(s))
	case !form.MatchString(rest):
		p.fail(n, "", "%s must have an absolute path after %q, not %s", quotePath(n), scheme+":", quote(rest))
	case scheme == "rootfs-archive":
		d.Bundle.RootfsArchive = rest
	default:
		p.later(n, quote("image: "+scheme+":"))
	}
}

func (p *problems) serviceType(n *node, _ *Definition) {
	if s, ok := p.word(n, "simple", "oneshot"); ok && s == "oneshot" {
		p.later(n, `"type: oneshot"`)
	}
}

// laterNames reads a list of other containers' names.
func laterNames(name string) func(*problems, *node, *Definition) {
	return func(p *problems, n *node, d *Definition) {
		good := p.shape(func() {
			seen := map[string]bool{}
			for _, item := range p.items(n, "") {
				other, ok := p.container(item)
				switch {
				case !ok:
				case other == d.Name:
					p.fail(item, "", "%s: a container cannot depend on itself", quotePath(item))
				case seen[other]:
					p.fail(item, "remove one of them", "%s: %s is there twice", quotePath(item), other)
				}
				seen[other] = true
			}
		})
		if good {
			p.later(n, quote(name))
		}
	}
}

type readyOptions struct{ on string }

var readyOn = []string{"started", "notify", "probe"}

var readyKeys = []key[readyOptions]{
	{"on", func(p *problems, n *node, r *readyOptions) { set(&r.on)(p.word(n, readyOn...)) }},
}

func (p *problems) ready(n *node, _ *Definition) {
	var r readyOptions
	at := n
	switch {
	case n.kind == kindString:
		set(&r.on)(p.word(n, readyOn...))
	case readMapping(p, n, readyKeys, &r):
		if at = n.get("on"); at == nil {
			p.require(n, "on")
			return
		}
	}
	if r.on == "notify" || r.on == "probe" {
		p.later(at, quote("ready: "+r.on))
	}
}
