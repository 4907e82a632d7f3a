package metrics

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// sample is one value of a scrape. Prometheus' constant metrics would make the same labels anew for each of the fifty
// values of a container, which is half the work of a scrape.
type sample struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []*dto.LabelPair // sorted by name; shared, never changed
	value  float64
}

var _ prometheus.Metric = (*sample)(nil)

func (s *sample) Desc() *prometheus.Desc { return s.desc }

func (s *sample) Write(m *dto.Metric) error {
	m.Label = s.labels
	switch s.kind {
	case prometheus.CounterValue:
		m.Counter = &dto.Counter{Value: &s.value}
	case prometheus.UntypedValue:
		m.Untyped = &dto.Untyped{Value: &s.value}
	default:
		m.Gauge = &dto.Gauge{Value: &s.value}
	}
	return nil
}

// label is one of a sample's.
func label(name, value string) *dto.LabelPair {
	if !utf8.ValidString(value) { // one that is not would spoil the scrape
		value = strings.ToValidUTF8(value, "\ufffd")
	}
	return &dto.LabelPair{Name: &name, Value: &value}
}

// labelled are labels with some more, sorted.
func labelled(labels []*dto.LabelPair, more ...*dto.LabelPair) []*dto.LabelPair {
	all := slices.Concat(labels, more)
	slices.SortFunc(all, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

// target is where the samples with some labels go.
type target struct {
	ch     chan<- prometheus.Metric
	labels []*dto.LabelPair
}

// with is a target whose samples have more labels.
func (t target) with(more ...*dto.LabelPair) target {
	return target{t.ch, labelled(t.labels, more...)}
}

func (t target) gauge(d *prometheus.Desc, v float64) {
	t.ch <- &sample{d, prometheus.GaugeValue, t.labels, v}
}

func (t target) counter(d *prometheus.Desc, v float64) {
	t.ch <- &sample{d, prometheus.CounterValue, t.labels, v}
}

func (t target) untyped(d *prometheus.Desc, v float64) {
	t.ch <- &sample{d, prometheus.UntypedValue, t.labels, v}
}

// words are the labels for all values that one may have, made once.
func words[S ~string](name string, values []S) []*dto.LabelPair {
	all := make([]*dto.LabelPair, len(values))
	for i, v := range values {
		all[i] = label(name, string(v))
	}
	return all
}
