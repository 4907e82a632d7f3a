package config

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/health"
)

// minPeriod keeps a typing error from keeping a machine busy.
const minPeriod = 100 * time.Millisecond

var healthKeys = []key[health.Probes]{
	{"startup", func(p *problems, n *node, h *health.Probes) { h.Startup = p.probe(n, health.RoleStartup) }},
	{"liveness", func(p *problems, n *node, h *health.Probes) { h.Liveness = p.probe(n, health.RoleLiveness) }},
	{"readiness", func(p *problems, n *node, h *health.Probes) { h.Readiness = p.probe(n, health.RoleReadiness) }},
}

var probeKeys = []key[health.Probe]{
	{"exec", func(p *problems, n *node, b *health.Probe) {
		var d Definition
		p.command(n, &d)
		b.Exec = d.Bundle.Command
	}},
	{"http", func(p *problems, n *node, b *health.Probe) {
		b.HTTP = &health.HTTP{}
		if readMapping(p, n, httpKeys, b.HTTP) {
			p.require(n, "port")
		}
	}},
	{"tcp", func(p *problems, n *node, b *health.Probe) {
		b.TCP = &health.TCP{}
		if readMapping(p, n, tcpKeys, b.TCP) {
			p.require(n, "port")
		}
	}},
	{"grpc", func(p *problems, n *node, b *health.Probe) {
		b.GRPC = &health.GRPC{}
		if readMapping(p, n, grpcKeys, b.GRPC) {
			p.require(n, "port")
		}
	}},
	{"notify", func(p *problems, n *node, b *health.Probe) {
		if v, ok := p.boolean(n); ok && !v {
			p.fail(n, "remove it", "%s can only be true", quotePath(n))
		}
		b.Notify = true
	}},
	{"initialDelay", func(p *problems, n *node, b *health.Probe) { set(&b.InitialDelay)(p.duration(n)) }},
	{"period", func(p *problems, n *node, b *health.Probe) { set(&b.Period)(p.period(n)) }},
	{"timeout", func(p *problems, n *node, b *health.Probe) { set(&b.Timeout)(p.positive(n)) }},
	{"failures", func(p *problems, n *node, b *health.Probe) { p.count(n, &b.Failures) }},
	{"successes", func(p *problems, n *node, b *health.Probe) { p.count(n, &b.Successes) }},
	{"onFailure", func(p *problems, n *node, b *health.Probe) {
		if s, ok := p.word(n, onFailures...); ok {
			b.OnFailure = health.Action(s)
		}
	}},
}

var onFailures = []string{string(health.ActionRestart), string(health.ActionNone), string(health.ActionStop)}

var (
	probeKinds = []string{
		string(health.KindExec), string(health.KindHTTP), string(health.KindTCP), string(health.KindGRPC), string(health.KindNotify),
	}
	httpKeys = []key[health.HTTP]{
		{"port", func(p *problems, n *node, h *health.HTTP) { p.port(n, &h.Port) }},
		{"path", func(p *problems, n *node, h *health.HTTP) { set(&h.Path)(p.requestPath(n)) }},
		{"host", func(p *problems, n *node, h *health.HTTP) { set(&h.Host)(p.probeHost(n)) }},
		{"scheme", func(p *problems, n *node, h *health.HTTP) { set(&h.Scheme)(p.word(n, "http", "https")) }},
		{"method", func(p *problems, n *node, h *health.HTTP) { set(&h.Method)(p.word(n, methods...)) }},
		{"headers", func(p *problems, n *node, h *health.HTTP) { h.Headers = p.headers(n) }},
		{"status", func(p *problems, n *node, h *health.HTTP) { p.statusRange(n, h) }},
	}
	tcpKeys = []key[health.TCP]{
		{"port", func(p *problems, n *node, t *health.TCP) { p.port(n, &t.Port) }},
		{"host", func(p *problems, n *node, t *health.TCP) { set(&t.Host)(p.probeHost(n)) }},
	}
	grpcKeys = []key[health.GRPC]{
		{"port", func(p *problems, n *node, g *health.GRPC) { p.port(n, &g.Port) }},
		{"host", func(p *problems, n *node, g *health.GRPC) { set(&g.Host)(p.probeHost(n)) }},
		{"service", func(p *problems, n *node, g *health.GRPC) { set(&g.Service)(p.text(n, "the name of a gRPC service")) }},
	}
	methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodOptions}
)

func (p *problems) health(n *node, d *Definition) {
	d.Health = &health.Probes{}
	readMapping(p, n, healthKeys, d.Health)
	switch {
	case d.Health.Empty():
		d.Health = nil
	case d.Health.Notified():
		d.Bundle.Notify = &bundle.Notify{Watchdog: d.Health.Watchdog()}
	}
}

// probe reads a probe of a role. What the role or the kind makes meaningless is refused.
func (p *problems) probe(n *node, role health.Role) *health.Probe {
	b := health.NewProbe(role)
	if !readMapping(p, n, probeKeys, b) {
		return b
	}
	kinds := 0
	for _, kind := range probeKinds {
		if n.get(kind) != nil {
			kinds++
		}
	}
	if kinds != 1 {
		p.fail(n, "", "%s needs one of %s", quotePath(n), strings.Replace(oneOf(probeKinds), " or ", " and ", 1))
		return b
	}
	if role == health.RoleReadiness {
		p.meaningless(n, "a readiness probe reports, and has no other consequence", "onFailure")
	} else if s := n.get("successes"); s != nil && b.Successes != 1 {
		p.fail(s, "remove it", "%s must be 1: the first success counts, as for Kubernetes", quotePath(s))
	}
	if b.Notify {
		p.notifyProbe(n, role, b)
	}
	return b
}

// notifyProbe settles a probe that asks nothing.
func (p *problems) notifyProbe(n *node, role health.Role, b *health.Probe) {
	p.meaningless(n, "the container tells by itself, nobody asks it", "period", "failures", "successes")
	b.Period, b.Failures, b.Successes = 0, 1, 1
	switch given := n.get("timeout") != nil; {
	case role == health.RoleReadiness:
		p.meaningless(n, "READY=1 may come at any time", "timeout", "initialDelay")
		b.Timeout = 0
	case given:
	case role == health.RoleStartup:
		b.Timeout = health.DefaultReadyTimeout
	default:
		b.Timeout = health.DefaultWatchdogTimeout
	}
}

// meaningless refuses keys of a probe.
func (p *problems) meaningless(n *node, why string, names ...string) {
	for _, name := range names {
		if f := n.get(name); f != nil {
			p.at(f.key.line, f.key.column, "remove it", quotePath(f)+" means nothing here: "+why)
		}
	}
}

func (p *problems) period(n *node) (time.Duration, bool) {
	d, ok := p.positive(n)
	if ok && d < minPeriod {
		p.fail(n, "", "%s must be at least %s", quotePath(n), minPeriod)
		return 0, false
	}
	return d, ok
}

func (p *problems) count(n *node, into *int) {
	if v, ok := p.integer(n, 1, 1000); ok {
		*into = int(v)
	}
}

func (p *problems) port(n *node, into *int) {
	if v, ok := p.integer(n, 1, 65535); ok {
		*into = int(v)
	}
}

// probeHost reads where the container listens, as it sees it. There are no names: which resolver would be asked for them?
func (p *problems) probeHost(n *node) (string, bool) {
	s, ok := p.text(n, "an IP address or localhost")
	if !ok || s == "localhost" {
		return s, ok
	}
	if addr, err := netip.ParseAddr(s); err != nil || addr.Zone() != "" {
		p.fail(n, "a name for the server goes into headers: {Host: …}", "%s must be an IP address or localhost, not %s", quotePath(n), quote(s))
		return "", false
	}
	return s, true
}

func (p *problems) requestPath(n *node) (string, bool) {
	s, ok := p.text(n, "a path like /healthz")
	if !ok {
		return "", false
	}
	if !strings.HasPrefix(s, "/") {
		p.fail(n, "", "%s must begin with /, not %s", quotePath(n), quote(s))
		return "", false
	}
	if _, err := url.ParseRequestURI(s); err != nil || strings.ContainsAny(s, " #") {
		p.fail(n, "spaces and the like are written %20", "%s is not the path of a request: %s", quotePath(n), quote(s))
		return "", false
	}
	return s, true
}

var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// ownHeaders are set by whoever sends the request.
var ownHeaders = []string{"Connection", "Content-Length", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// headers reads the headers of a request. Values are never shown: they may be secrets.
func (p *problems) headers(n *node) http.Header {
	if n.kind != kindMap {
		p.fail(n, "write {Name: value}", "%s must be a mapping, not %s", quotePath(n), n.kind)
		return nil
	}
	all := http.Header{}
	for _, f := range n.fields {
		name := http.CanonicalHeaderKey(f.name)
		switch _, twice := all[name]; {
		case !headerName.MatchString(f.name):
			p.at(f.line, f.column, "", quotePath(n)+": "+quote(f.name)+" is not the name of a header")
			continue
		case contains(ownHeaders, name):
			p.at(f.line, f.column, "remove it", quotePath(n)+": "+name+" is not for you to set")
			continue
		case twice:
			p.at(f.line, f.column, "remove one of them", quotePath(n)+": "+name+" is there twice")
			continue
		}
		if value, ok := p.written(f.value, ""); ok {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				p.fail(f.value, "", "%s contains a newline or another control character", quotePath(f.value))
				continue
			}
			all[name] = []string{value}
		}
	}
	return all
}

var statusRangePattern = regexp.MustCompile(`^([1-5][0-9][0-9])-([1-5][0-9][0-9])$`)

// statusRange reads 200 or 200-399.
func (p *problems) statusRange(n *node, h *health.HTTP) {
	if n.kind == kindInt {
		if v, ok := p.integer(n, 100, 599); ok {
			h.MinStatus, h.MaxStatus = int(v), int(v)
		}
		return
	}
	m := statusRangePattern.FindStringSubmatch(n.text)
	if n.kind != kindString || m == nil {
		p.fail(n, "", "%s must be an HTTP status like 200 or a range like 200-399, not %s", quotePath(n), shown(n))
		return
	}
	h.MinStatus, _ = strconv.Atoi(m[1]) // three digits
	h.MaxStatus, _ = strconv.Atoi(m[2])
	if h.MinStatus > h.MaxStatus {
		p.fail(n, "the lower one goes first", "%s: no status is in the range %s", quotePath(n), n.text)
	}
}
