package config

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/runcsup/runcsup/bundle"
)

// minMemory is the least memory limit: runc alone needs up to 2.6 MiB inside it to start a container.
const minMemory = 3 << 20

var resourceKeys = []key[bundle.Resources]{
	{"memory", func(p *problems, n *node, r *bundle.Resources) { set(&r.Memory)(p.size(n, minMemory)) }},
	// The kernel takes no quota below 1 ms in a period of 100 ms.
	{"cpus", func(p *problems, n *node, r *bundle.Resources) { set(&r.CPUs)(p.number(n, 0.01, 8192)) }},
	{"pids", func(p *problems, n *node, r *bundle.Resources) { set(&r.Pids)(p.integer(n, 1, 4194304)) }},
}

// rlimitNames are the kernel's limits, without RLIMIT_ and in lower case.
var rlimitNames = []string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack",
}

func (p *problems) rlimits(n *node, d *Definition) {
	keys := make([]key[[]bundle.Rlimit], len(rlimitNames))
	for i, name := range rlimitNames {
		keys[i] = key[[]bundle.Rlimit]{name, func(p *problems, n *node, all *[]bundle.Rlimit) {
			if limit, ok := p.rlimit(n); ok {
				limit.Type = "RLIMIT_" + strings.ToUpper(name)
				*all = append(*all, limit)
			}
		}}
	}
	readMapping(p, n, keys, &d.Bundle.Rlimits)
	slices.SortFunc(d.Bundle.Rlimits, func(a, b bundle.Rlimit) int { return strings.Compare(a.Type, b.Type) })
}

var rlimitKeys = []key[bundle.Rlimit]{
	{"soft", func(p *problems, n *node, r *bundle.Rlimit) { set(&r.Soft)(p.rlimitValue(n)) }},
	{"hard", func(p *problems, n *node, r *bundle.Rlimit) { set(&r.Hard)(p.rlimitValue(n)) }},
}

func (p *problems) rlimit(n *node) (bundle.Rlimit, bool) {
	if n.kind != kindMap {
		v, ok := p.rlimitValue(n)
		return bundle.Rlimit{Soft: v, Hard: v}, ok
	}
	var limit bundle.Rlimit
	if !readMapping(p, n, rlimitKeys, &limit) {
		return limit, false
	}
	for _, part := range keyNames(rlimitKeys) {
		if n.get(part) == nil {
			p.fail(n, "give both, or one number for both", "%s has no %q", quotePath(n), part)
			return limit, false
		}
	}
	if limit.Soft > limit.Hard {
		p.fail(n.get("soft"), "", "%s is above the hard limit", quotePath(n.get("soft")))
		return limit, false
	}
	return limit, true
}

func (p *problems) rlimitValue(n *node) (uint64, bool) {
	if n.kind == kindString && n.text == "unlimited" {
		return math.MaxUint64, true
	}
	if n.kind == kindInt {
		if v, err := strconv.ParseUint(strings.TrimPrefix(n.text, "+"), 10, 64); err == nil {
			return v, true
		}
	}
	p.fail(n, "", "%s must be a whole number or unlimited, not %s", quotePath(n), shown(n))
	return 0, false
}

// capabilityNames are all of Linux 6.x, without CAP_.
var capabilityNames = []string{
	"AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE",
	"DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN",
	"MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID",
	"SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT",
	"SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
}

// allCapabilities is the word for every capability.
const allCapabilities = "ALL"

var capabilityKeys = []key[bundle.Capabilities]{
	{"add", func(p *problems, n *node, c *bundle.Capabilities) { c.Add = p.capabilityList(n) }},
	{"drop", func(p *problems, n *node, c *bundle.Capabilities) { c.Drop = p.capabilityList(n) }},
}

func (p *problems) capabilities(n *node, d *Definition) {
	c := &d.Bundle.Capabilities
	if !readMapping(p, n, capabilityKeys, c) {
		return
	}
	for i, name := range c.Add {
		if slices.Contains(c.Drop, name) {
			p.fail(n.get("add").items[i], "remove one of them", "%s is both added and dropped", name)
		}
	}
}

// capabilityList reads names, which it returns in full: SYSLOG as CAP_SYSLOG.
func (p *problems) capabilityList(n *node) []string {
	var names []string
	for _, item := range p.items(n, "") {
		s, ok := p.text(item, "the name of a capability")
		if !ok {
			continue
		}
		short := strings.TrimPrefix(s, "CAP_")
		switch {
		case s == allCapabilities:
		case slices.Contains(capabilityNames, short):
			s = "CAP_" + short
		default:
			p.unknownCapability(item, s)
			continue
		}
		if slices.Contains(names, s) {
			p.fail(item, "remove one of them", "%s is there twice", s)
			continue
		}
		names = append(names, s)
	}
	return names
}

func (p *problems) unknownCapability(n *node, name string) {
	upper := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	guess := suggest(upper, append([]string{allCapabilities}, capabilityNames...))
	switch guess {
	case "":
	case allCapabilities:
		guess = `, did you mean "ALL"?`
	default:
		guess = `, did you mean "CAP_` + guess + `"?`
	}
	p.fail(n, "", "%s: unknown capability %s%s", quotePath(n), quote(name), guess)
}
