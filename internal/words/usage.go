package words

import (
	"fmt"

	"github.com/runcsup/runcsup/internal/usage"
)

// Fact is one thing that is known, with its name.
type Fact struct{ Name, Text string }

// Rates are what a container does now. Each is nil where it is not known: it takes two looks.
type Rates struct {
	CPUPercent       *float64 // 100 is one processor
	ThrottledPercent *float64 // of the time
	Read, Write      *float64 // bytes per second
}

// Usage is what a container uses: CPU, memory, tasks, I/O, and what it waits for.
func Usage(u *usage.Usage, r Rates) []Fact {
	var facts []Fact
	add := func(name, format string, args ...any) {
		facts = append(facts, Fact{name, fmt.Sprintf(format, args...)})
	}
	if c := u.CPU; c != nil {
		add("CPU", "%s", cpu(c, r))
	}
	if m := u.Memory; m != nil {
		add("Memory", "%s", memory(m))
	}
	if p := u.Pids; p != nil {
		text := fmt.Sprint(p.Current)
		if p.Limit > 0 {
			text += fmt.Sprintf(" (limit %d)", p.Limit)
		}
		add("Tasks", "%s", text)
	}
	var read, written float64
	for _, d := range u.IO {
		read += float64(d.ReadBytes)
		written += float64(d.WriteBytes)
	}
	if read+written > 0 {
		add("IO", "%s read%s, %s written%s", Size(read), perSecond(r.Read), Size(written), perSecond(r.Write))
	}
	if p := u.Pressure; p != nil {
		add("Waiting", "%s%% for CPU, %s%% for memory, %s%% for I/O in the last 10s", stalled(p.CPU), stalled(p.Memory), stalled(p.IO))
	}
	return facts
}

func cpu(c *usage.CPU, r Rates) string {
	var text string
	if r.CPUPercent != nil {
		text = Percent(*r.CPUPercent) + "%, "
	}
	text += fmt.Sprintf("%.1fs used (%.1fs in the kernel)", c.UsageSeconds, c.SystemSeconds)
	if c.Limit > 0 {
		text += fmt.Sprintf(", limit %.4g%%", 100*c.Limit)
		switch {
		case r.ThrottledPercent != nil:
			text += fmt.Sprintf(", held up by it %s%% of the time", Percent(*r.ThrottledPercent))
		case c.Periods > 0:
			text += fmt.Sprintf(", met in %s%% of all periods", Percent(100*float64(c.ThrottledPeriods)/float64(c.Periods)))
		}
	}
	return text
}

func memory(m *usage.Memory) string {
	text := Size(float64(m.WorkingSet))
	if m.Limit > 0 {
		text += fmt.Sprintf(" (%.0f%% of the limit, %s)", 100*float64(m.WorkingSet)/float64(m.Limit), Size(float64(m.Limit)))
	}
	if m.Peak > 0 {
		text += ", peak " + Size(float64(m.Peak))
	}
	text += fmt.Sprintf(", anonymous %s, cache %s", Size(float64(m.RSS)), Size(float64(m.Cache)))
	if m.Swap > 0 {
		text += ", swap " + Size(float64(m.Swap))
	}
	if m.OOMKills > 0 {
		text += fmt.Sprintf(", %d killed for want of it", m.OOMKills)
	}
	return text
}

func perSecond(rate *float64) string {
	if rate == nil {
		return ""
	}
	return " (" + Size(*rate) + "/s)"
}

// stalled is the share of time in which something waited, - where the kernel does not tell.
func stalled(s *usage.Stall) string {
	if s == nil {
		return "-"
	}
	return Percent(s.SomePercent)
}
