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
