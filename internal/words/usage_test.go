package words

import (
	"strings"
	"testing"

	"github.com/runcsup/runcsup/internal/usage"
)

func TestUsage(t *testing.T) {
	all := usage.Usage{
		CPU: &usage.CPU{UsageSeconds: 12.5, SystemSeconds: 2.5, Limit: 0.5, Periods: 200, ThrottledPeriods: 50},
		Memory: &usage.Memory{
			WorkingSet: 24 << 20, Limit: 64 << 20, Peak: 31 << 20, RSS: 20 << 20, Cache: 4 << 20, Swap: 1 << 20, OOMKills: 2,
		},
		Pids: &usage.Pids{Current: 5, Limit: 100}, IO: []usage.Device{{ReadBytes: 1 << 20}, {ReadBytes: 1 << 20, WriteBytes: 512}},
		Pressure: &usage.Pressure{CPU: &usage.Stall{SomePercent: 12.5}, IO: &usage.Stall{}},
	}
	for name, c := range map[string]struct {
		usage usage.Usage
		rates Rates
		want  string
	}{
		"one look": {all, Rates{}, `CPU: 12.5s used (2.5s in the kernel), limit 50%, met in 25.0% of all periods
Memory: 24.0M (38% of the limit, 64.0M), peak 31.0M, anonymous 20.0M, cache 4.0M, swap 1.0M, 2 killed for want of it
Tasks: 5 (limit 100)
IO: 2.0M read, 512B written
Waiting: 12.5% for CPU, -% for memory, 0.0% for I/O in the last 10s
`},
		"two looks": {
			usage.Usage{CPU: all.CPU, IO: all.IO}, Rates{CPUPercent: new(49.9), ThrottledPercent: new(30.0), Read: new(2048.0), Write: new(0.0)},
			`CPU: 49.9%, 12.5s used (2.5s in the kernel), limit 50%, held up by it 30.0% of the time
IO: 2.0M read (2.0K/s), 512B written (0B/s)
`},
		"no limits": {
			usage.Usage{CPU: &usage.CPU{}, Memory: &usage.Memory{WorkingSet: 4096}, Pids: &usage.Pids{Current: 1}, IO: []usage.Device{}}, Rates{},
			`CPU: 0.0s used (0.0s in the kernel)
Memory: 4.0K, anonymous 0B, cache 0B
Tasks: 1
`},
		"nothing is accounted": {usage.Usage{}, Rates{}, ""},
	} {
		var b strings.Builder
		for _, f := range Usage(&c.usage, c.rates) {
			b.WriteString(f.Name + ": " + f.Text + "\n")
		}
		if b.String() != c.want {
			t.Errorf("%s:\ngot\n%s\nwant\n%s", name, b.String(), c.want)
		}
	}
}
