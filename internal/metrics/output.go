package metrics

import (
	"iter"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Output is how much a container has written to one stream since the machine booted.
type Output struct {
	Stream       string // "stdout" or "stderr"
	Bytes, Lines uint64
}

// outputCollector tells how much containers write.
type outputCollector struct {
	output func() iter.Seq2[string, Output]
	descriptors
	bytes, lines *prometheus.Desc
}

func newOutputCollector(cfg Config) *outputCollector {
	c := &outputCollector{output: cfg.Output}
	c.bytes = c.desc("runcsup_container_log_bytes_total", "Bytes that the container has written since the machine booted, by stream.", "name", "stream")
	c.lines = c.desc("runcsup_container_log_lines_total", "Lines that the container has written since the machine booted, by stream.", "name", "stream")
	return c
}

func (c *outputCollector) Collect(ch chan<- prometheus.Metric) {
	for name, o := range c.output() {
		to := target{ch, []*dto.LabelPair{label("name", name), label("stream", o.Stream)}}
		to.counter(c.bytes, float64(o.Bytes))
		to.counter(c.lines, float64(o.Lines))
	}
}
