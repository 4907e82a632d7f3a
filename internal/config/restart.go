package config

import (
	"slices"
	"strconv"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// defaultInterval is the start limit's when only its burst is given.
const defaultInterval = 10 * time.Minute

var restartModes = []string{
	string(supervisor.RestartAlways), string(supervisor.RestartOnFailure), string(supervisor.RestartOnSuccess),
	string(supervisor.RestartOnAbnormal), string(supervisor.RestartOnAbort), string(supervisor.RestartNo),
}

var restartKeys = []key[supervisor.RestartPolicy]{
	{"policy", (*problems).restartMode},
	{"delay", func(p *problems, n *node, r *supervisor.RestartPolicy) { set(&r.Delay)(p.duration(n)) }},
	{"maxDelay", func(p *problems, n *node, r *supervisor.RestartPolicy) { set(&r.MaxDelay)(p.duration(n)) }},
	{"steps", func(p *problems, n *node, r *supervisor.RestartPolicy) {
		if v, ok := p.integer(n, 0, 1000); ok {
			r.Steps = int(v)
		}
	}},
	{"jitter", func(p *problems, n *node, r *supervisor.RestartPolicy) { set(&r.Jitter)(p.fraction(n)) }},
	{"resetAfter", func(p *problems, n *node, r *supervisor.RestartPolicy) { set(&r.ResetAfter)(p.duration(n)) }},
	{"limit", (*problems).startLimit},
	{"preventExitStatus", func(p *problems, n *node, r *supervisor.RestartPolicy) { r.PreventStatuses = p.statuses(n) }},
	{"forceExitStatus", func(p *problems, n *node, r *supervisor.RestartPolicy) { r.ForceStatuses = p.statuses(n) }},
	{"successExitStatus", func(p *problems, n *node, r *supervisor.RestartPolicy) { r.SuccessStatuses = p.statuses(n) }},
}

var limitKeys = []key[supervisor.StartLimit]{
	{"burst", func(p *problems, n *node, l *supervisor.StartLimit) {
		if v, ok := p.integer(n, 1, 10000); ok {
			l.Burst = int(v)
		}
	}},
	{"interval", func(p *problems, n *node, l *supervisor.StartLimit) { set(&l.Interval)(p.positive(n)) }},
}

var stopKeys = []key[supervisor.StopPolicy]{
	{"signal", func(p *problems, n *node, s *supervisor.StopPolicy) { set(&s.Signal)(p.signal(n)) }},
	{"timeout", func(p *problems, n *node, s *supervisor.StopPolicy) { set(&s.Timeout)(p.duration(n)) }},
}

func (p *problems) restart(n *node, d *Definition) {
	if n.kind != kindMap {
		p.restartMode(n, &d.Restart)
		return
	}
	if readMapping(p, n, restartKeys, &d.Restart) {
		p.checkGrowth(n, &d.Restart)
		p.checkStatuses(n)
	}
}

func (p *problems) restartMode(n *node, r *supervisor.RestartPolicy) {
	switch {
	case n.kind == kindBool && n.text == "false":
		p.fail(n, "write no", "%s must be %s, not false", quotePath(n), oneOf(restartModes))
		return
	case n.text == "unless-stopped":
		p.fail(n, "write always: what was stopped by hand stays stopped until the next boot anyway",
			"%s must be %s, not %s", quotePath(n), oneOf(restartModes), shown(n))
		return
	}
	if s, ok := p.word(n, restartModes...); ok {
		r.Mode = supervisor.RestartMode(s)
	}
}

// checkGrowth settles delay, maxDelay and steps, each given or not, into a policy that either grows or does not: then
// steps is 0 and maxDelay is the delay.
func (p *problems) checkGrowth(n *node, r *supervisor.RestartPolicy) {
	steps, maxDelay := n.get("steps"), n.get("maxDelay")
	if maxDelay == nil {
		r.MaxDelay = max(r.MaxDelay, r.Delay)
	}
	switch {
	case r.MaxDelay < r.Delay:
		p.fail(maxDelay, "", "%s is shorter than the delay of %s", quotePath(maxDelay), r.Delay)
	case steps != nil && r.Steps == 0 && maxDelay != nil && r.MaxDelay > r.Delay:
		p.fail(maxDelay, "remove it, or give more steps", "%s is never reached with steps: 0", quotePath(maxDelay))
	case r.Delay == 0 && steps != nil && r.Steps > 0:
		p.fail(steps, "remove it, or give a delay", "%s: a delay of 0s cannot grow", quotePath(steps))
	case r.Delay == 0 && maxDelay != nil && r.MaxDelay > 0:
		p.fail(maxDelay, "remove it, or give a delay", "%s: a delay of 0s cannot grow", quotePath(maxDelay))
	case steps != nil && r.Steps > 0 && r.MaxDelay == r.Delay:
		p.fail(steps, "give a longer maxDelay, or remove steps", "%s: the delay cannot grow, since it is %s at most", quotePath(steps), r.MaxDelay)
	}
	if r.Steps == 0 || r.Delay == 0 || r.MaxDelay <= r.Delay {
		r.Steps, r.MaxDelay = 0, r.Delay
	}
}

func (p *problems) startLimit(n *node, r *supervisor.RestartPolicy) {
	r.Limit.Interval = defaultInterval
	if !readMapping(p, n, limitKeys, &r.Limit) {
		return
	}
	if n.get("burst") == nil {
		p.fail(n, "give it as how many starts are too many", "%s has no \"burst\"", quotePath(n))
	}
}

// statuses reads a list of exit codes and signals.
func (p *problems) statuses(n *node) supervisor.StatusSet {
	var set supervisor.StatusSet
	for _, item := range p.items(n, "1, TERM") {
		switch item.kind {
		case kindInt:
			if v, ok := p.integer(item, 0, 255); ok {
				if slices.Contains(set.Codes, int(v)) {
					p.fail(item, "remove one of them", "%s: %d is there twice", quotePath(item), v)
					continue
				}
				set.Codes = append(set.Codes, int(v))
			}
		case kindString:
			if plainInt.MatchString(item.text) {
				p.fail(item, "remove the quotes", "%s must be an exit code or a signal like TERM, not text", quotePath(item))
				continue
			}
			if sig, ok := p.signal(item); ok {
				if slices.Contains(set.Signals, sig) {
					p.fail(item, "remove one of them", "%s: %s is there twice", quotePath(item), item.text)
					continue
				}
				set.Signals = append(set.Signals, sig)
			}
		default:
			p.fail(item, "", "%s must be an exit code or a signal like TERM, not %s", quotePath(item), shown(item))
		}
	}
	return set
}

// checkStatuses refuses statuses that shall both prevent and force a restart.
func (p *problems) checkStatuses(n *node) {
	prevent, force := n.get("preventExitStatus"), n.get("forceExitStatus")
	if prevent == nil || force == nil {
		return
	}
	never := make(map[any]bool, len(prevent.items))
	for _, item := range prevent.items {
		never[status(item)] = true
	}
	for _, item := range force.items {
		if never[status(item)] {
			p.fail(item, "remove one of them", "%s: %s is in \"restart.preventExitStatus\" too", quotePath(item), item.text)
		}
	}
}

// status is an item that was read well before, as a code (int) or signal.
func status(item *node) any {
	if code, err := strconv.Atoi(item.text); err == nil {
		return code
	}
	sig, _ := signalByName(item.text)
	return sig
}
