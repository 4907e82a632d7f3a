package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// ruleFile is a file of Prometheus rules.
type ruleFile struct {
	Groups []struct {
		Rules []struct {
			Record, Alert, Expr string
		}
	}
}

func rulesOf(t *testing.T, file string) ruleFile {
	t.Helper()
	text, err := os.ReadFile("../../packaging/prometheus/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var rules ruleFile
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return rules
}

// expressions are all that rules and dashboard ask for.
func expressions(t *testing.T) (all []string, recorded map[string]bool) {
	t.Helper()
	recorded = map[string]bool{}
	for _, file := range []string{"recording.yaml", "alerts.yaml"} {
		for _, g := range rulesOf(t, file).Groups {
			for _, r := range g.Rules {
				all = append(all, r.Expr)
				if r.Record != "" {
					recorded[r.Record] = true
				}
			}
		}
	}
	text, err := os.ReadFile("../../packaging/grafana/runcsup.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard any
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	before := len(all)
	walk(dashboard, func(key, value string) {
		switch {
		case key == "expr":
			all = append(all, value)
		case key == "definition" && strings.HasPrefix(value, "label_values("):
			args := strings.TrimSuffix(strings.TrimPrefix(value, "label_values("), ")")
			all = append(all, args[:strings.LastIndex(args, ",")])
		}
	})
	if len(all)-before < 20 {
		t.Fatalf("only %d expressions in the dashboard", len(all)-before)
	}
	return all, recorded
}

func walk(v any, f func(key, value string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if s, ok := value.(string); ok {
				f(key, s)
			}
			walk(value, f)
		}
	case []any:
		for _, value := range v {
			walk(value, f)
		}
	}
}

var (
	// What is no metric in an expression: strings, label matchers, ranges, label lists.
	noMetric = regexp.MustCompile(`"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)`)
	word     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*(\s*\()?`)
	keywords = []string{"and", "or", "unless", "bool", "offset", "by", "on"}
)

// metricsIn are the metrics that an expression names.
func metricsIn(expr string) []string {
	expr = noMetric.ReplaceAllString(expr, " ")
	var names []string
	for _, w := range word.FindAllString(expr, -1) {
		if !strings.HasSuffix(w, "(") && !slices.Contains(keywords, w) {
			names = append(names, w)
		}
	}
	return names
}

func TestMetricsIn(t *testing.T) {
	got := metricsIn(`sum by (name, le) (rate(a_total{name=~"$name", x="y_total"}[$__rate_interval])) / on (instance) group_left (z) (b:c:sum > 0) and d`)
	if want := []string{"a_total", "b:c:sum", "d"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Every metric that the rules and the dashboard name is there in a scrape of a daemon that has everything.
func TestWhatRulesAndDashboardNameExists(t *testing.T) {
	there := map[string]bool{"up": true}
	for line := range strings.Lines(scrape(t, full(t).Handler())) {
		if !strings.HasPrefix(line, "#") {
			there[word.FindString(line)] = true
		}
	}
	all, recorded := expressions(t)
	used := map[string]bool{}
	for _, expr := range all {
		names := metricsIn(expr)
		if len(names) == 0 {
			t.Errorf("no metric in %s", expr)
		}
		for _, name := range names {
			used[name] = true
			if !there[name] && !recorded[name] {
				t.Errorf("%s does not exist, in %s", name, expr)
			}
		}
	}
	if len(used) < 25 {
		t.Errorf("only %d metrics are used", len(used))
	}
}

// The panels of the dashboard do not lie on each other, and each has a number of its own.
func TestDashboardLayout(t *testing.T) {
	text, err := os.ReadFile("../../packaging/grafana/runcsup.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ H, W, X, Y int }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]string{}
	for i, p := range dashboard.Panels {
		if other, there := ids[p.ID]; there {
			t.Errorf("%q and %q have one id", p.Title, other)
		}
		ids[p.ID] = p.Title
		a := p.GridPos
		if p.Title == "" || a.W == 0 || a.H == 0 || a.X+a.W > 24 {
			t.Errorf("%q: %+v", p.Title, a)
		}
		for _, q := range dashboard.Panels[:i] {
			b := q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q lies on %q", p.Title, q.Title)
			}
		}
	}
}
