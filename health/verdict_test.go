package health

import (
	"strings"
	"testing"
	"time"
)

// Steps are outcomes of probes in order: "L+" is a success of liveness, "S-" a failure of startup, "R?" an unknown one of
// readiness. The second text is health, ready and what is to be done after each.
func TestVerdict(t *testing.T) {
	three := func(role Role) *Probe {
		p := NewProbe(role)
		p.TCP = &TCP{Port: 1}
		return p
	}
	with := func(p *Probe, change func(*Probe)) *Probe { change(p); return p }
	for _, tt := range []struct {
		name   string
		probes Probes
		steps  string
		want   string
	}{
		{"none", Probes{}, "", "none ready"},
		{"liveness", Probes{Liveness: three(RoleLiveness)}, "L+ L- L- L+ L- L- L-",
			"starting ready, healthy ready, healthy ready, healthy ready, healthy ready, healthy ready, healthy ready, unhealthy restart"},
		{"a failure counts only in a row", Probes{Liveness: three(RoleLiveness)}, "L- L- L+ L- L-",
			"starting ready, starting ready, starting ready, healthy ready, healthy ready, healthy ready"},
		{"unknown counts neither way", Probes{Liveness: three(RoleLiveness)}, "L- L? L- L? L? L-",
			"starting ready, starting ready, starting ready, starting ready, starting ready, starting ready, unhealthy restart"},
		{"never healthy", Probes{Liveness: three(RoleLiveness)}, "L- L- L-",
			"starting ready, starting ready, starting ready, unhealthy restart"},
		{"after the verdict nothing counts", Probes{Liveness: with(three(RoleLiveness), func(p *Probe) { p.Failures = 1 })}, "L- L+ L+",
			"starting ready, unhealthy restart, unhealthy restart, unhealthy restart"},
		{"without a consequence it goes on", Probes{Liveness: with(three(RoleLiveness), func(p *Probe) { p.OnFailure, p.Failures = ActionNone, 2 })},
			"L+ L- L- L- L+ L-",
			"starting ready, healthy ready, healthy ready, unhealthy ready none, unhealthy ready none, healthy ready, healthy ready"},
		{"stop", Probes{Liveness: with(three(RoleLiveness), func(p *Probe) { p.OnFailure, p.Failures = ActionStop, 1 })}, "L-",
			"starting ready, unhealthy stop"},
		{"startup alone", Probes{Startup: three(RoleStartup)}, "S- S- S+", "starting, starting, starting, healthy ready"},
		{"startup fails", Probes{Startup: three(RoleStartup)}, "S- S- S-", "starting, starting, starting, unhealthy restart"},
		{"startup holds the others back", Probes{Startup: three(RoleStartup), Liveness: three(RoleLiveness), Readiness: three(RoleReadiness)},
			"L- L- L- R+ S+ R+ L- L- L-",
			"starting, starting, starting, starting, starting, starting, starting ready, starting ready, starting ready, unhealthy restart"},
		{"startup is over after its first success", Probes{Startup: three(RoleStartup)}, "S+ S- S- S-",
			"starting, healthy ready, healthy ready, healthy ready, healthy ready"},
		{"readiness", Probes{Readiness: three(RoleReadiness)}, "R+ R- R- R+ R- R- R- R+",
			"none, none ready, none ready, none ready, none ready, none ready, none ready, none, none ready"},
		{"readiness needs successes", Probes{Readiness: with(three(RoleReadiness), func(p *Probe) { p.Successes, p.Failures = 2, 1 })}, "R+ R- R+ R+ R-",
			"none, none, none, none, none ready, none"},
		{"readiness has no say in health", Probes{Liveness: three(RoleLiveness), Readiness: three(RoleReadiness)}, "L+ R- R- R- R-",
			"starting, healthy, healthy, healthy, healthy, healthy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := newVerdict(&tt.probes, false, State{})
			got := []string{words(v.status())}
			for step := range strings.FieldsSeq(tt.steps) {
				role := map[byte]Role{'S': RoleStartup, 'L': RoleLiveness, 'R': RoleReadiness}[step[0]]
				v.take(role, map[byte]Outcome{'+': Success, '-': Failure, '?': Unknown}[step[1]], "why")
				got = append(got, words(v.status()))
			}
			if g := strings.Join(got, ", "); g != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.steps, g, tt.want)
			}
		})
	}
}

func words(s Status) string {
	text := string(s.Health)
	if s.Ready {
		text += " ready"
	}
	if s.Unhealthy != "" {
		text += " " + string(s.Action)
	}
	return text
}

// What an earlier daemon knew of an instance is not asked again.
func TestVerdictGoesOn(t *testing.T) {
	probe := func(role Role) *Probe {
		p := NewProbe(role)
		p.TCP, p.Period = &TCP{Port: 1}, time.Second
		return p
	}
	probes := &Probes{Startup: probe(RoleStartup), Liveness: probe(RoleLiveness), Readiness: probe(RoleReadiness)}
	before := newVerdict(probes, true, State{})
	before.take(RoleStartup, Success, "")
	before.take(RoleLiveness, Success, "")
	before.take(RoleReadiness, Success, "")
	before.state.Notified = true
	now := newVerdict(probes, true, before.state)
	if got := words(now.status()); got != "healthy ready" {
		t.Errorf("got %q", got)
	}
	if now.active(RoleStartup) || !now.active(RoleLiveness) {
		t.Errorf("startup is asked again")
	}
}

func TestClean(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"  all well\n\n", "all well"},
		{"a\x00b\x1b[2Jc\r\nd\te", "a\uFFFDb\uFFFD[2Jc\nd\te"},
		{"caf\xc3\xa9 \xff", "caf\u00e9 \uFFFD"},
		{strings.Repeat("x", 20), strings.Repeat("x", 20)},
		{strings.Repeat("x", 21), strings.Repeat("x", 17) + "\u2026"},
		{strings.Repeat("\u00e9", 30), strings.Repeat("\u00e9", 8) + "\u2026"},
		{strings.Repeat("\xff", 30), strings.Repeat("\uFFFD", 5) + "\u2026"},
	} {
		if got := clean(tt.in, 20); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}
