package metrics

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

//go:generate go test -run TestThePageIsFresh -update

var update = flag.Bool("update", false, "write the tables in docs/metrics.md anew")

const page = "../../docs/metrics.md"

var tables = regexp.MustCompile(`(?s)(<!-- ([a-z]+): made by go generate \./internal/metrics -->\n).*?(<!-- end -->)`)

// The tables of docs/metrics.md say what is registered: names, types, labels, meaning.
func TestThePageIsFresh(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	all := described(t)
	sections := 0
	fresh := tables.ReplaceAllStringFunc(string(text), func(section string) string {
		sections++
		m := tables.FindStringSubmatch(section)
		return m[1] + tableOf(all, m[2]) + m[3]
	})
	if sections != 3 {
		t.Errorf("%d tables", sections)
	}
	if fresh == string(text) {
		return
	}
	if !*update {
		t.Fatal(page + " is not what is registered; go generate ./internal/metrics writes it anew")
	}
	if err := os.WriteFile(page, []byte(fresh), 0o644); err != nil {
		t.Fatal(err)
	}
}

// metric is one row.
type metric struct {
	name, help, kind string
	labels           []string
}

var descForm = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// described are all registered descriptors. Their types are known from a scrape, in which each has to be.
func described(t *testing.T) []metric {
	t.Helper()
	e := full(t)
	families, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]dto.MetricType{}
	for _, f := range families {
		kinds[f.GetName()] = f.GetType()
	}
	descs := make(chan *prometheus.Desc, 1000)
	e.registry.Describe(descs)
	close(descs)
	var all []metric
	for d := range descs {
		m := descForm.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("unknown form: %s", d)
		}
		kind, scraped := kinds[m[1]]
		if !scraped {
			t.Errorf("%s is registered, but a scrape of everything lacks it", m[1])
		}
		var labels []string
		for _, l := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		for l := range strings.SplitSeq(m[4], ",") {
			if l != "" {
				labels = append(labels, strings.TrimPrefix(strings.TrimSuffix(l, "}"), "c({"))
			}
		}
		all = append(all, metric{m[1], m[2], strings.ToLower(kind.String()), labels})
	}
	slices.SortFunc(all, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	return all
}

// tableOf are the rows of one section of the page.
func tableOf(all []metric, section string) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | |\n| --- | --- | --- | --- |\n")
	for _, m := range all {
		in := "daemon"
		switch {
		case strings.HasPrefix(m.name, "container_"):
			in = "usage"
		case strings.HasPrefix(m.name, "runcsup_container_"), strings.HasPrefix(m.name, "runcsup_probe_"):
			in = "containers"
		case !strings.HasPrefix(m.name, "runcsup_"):
			continue // Go's, the process', and those of the scrapes, as everywhere
		}
		if in == section {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.help)
		}
	}
	return b.String()
}
