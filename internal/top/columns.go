package top

import (
	"strconv"
	"strings"
	"time"

	"github.com/rivo/uniseg"

	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/internal/words"
	"github.com/runcsup/runcsup/supervisor"
)

// column is one of the table.
type column struct {
	title string
	width int  // of its cells
	right bool // numbers
	sort  Order
	cell  func(r *Row, now time.Time) (string, tone)
}

// tone is how text is meant; the terminal's colours follow from it.
type tone int

const (
	plain tone = iota
	faint
	good
	warn
	bad
	strong
)

// columns are all there are, from left to right. The name takes the width that is left.
var columns = []column{
	{"NAME", nameWidth, false, ByName, func(r *Row, _ time.Time) (string, tone) {
		if r.Error != "" {
			return words.Printable(r.Name) + " !", bad
		}
		return words.Printable(r.Name), plain
	}},
	{"STATE", 8, false, ByState, func(r *Row, _ time.Time) (string, tone) { return string(r.State), stateTone(r) }},
	{"HEALTH", 9, false, "", healthCell},
	{"CPU%", 6, true, ByCPU, func(r *Row, _ time.Time) (string, tone) { return percentOf(r.CPUPercent), plain }},
	{"MEM/LIMIT", 11, true, ByMemory, memoryCell},
	{"MEM%", 4, true, "", memoryShareCell},
	{"RESTARTS", 8, true, ByRestarts, func(r *Row, _ time.Time) (string, tone) {
		if r.Restarts > 0 {
			return strconv.Itoa(r.Restarts), warn
		}
		return "0", faint
	}},
	{"UP/NEXT", 7, true, ByUptime, upCell},
	{"PIDS", 5, true, "", func(r *Row, _ time.Time) (string, tone) {
		if r.Usage == nil || r.Usage.Pids == nil {
			return none, faint
		}
		return strconv.FormatUint(r.Usage.Pids.Current, 10), plain
	}},
	{"THROTTLED%", 10, true, "", func(r *Row, _ time.Time) (string, tone) {
		if r.ThrottledPercent != nil && *r.ThrottledPercent >= 10 {
			return percentOf(r.ThrottledPercent), warn
		}
		return percentOf(r.ThrottledPercent), plain
	}},
	{"READ/S", 8, true, "", func(r *Row, _ time.Time) (string, tone) { return bytesRate(r.ReadPerSecond), plain }},
	{"WRITE/S", 8, true, "", func(r *Row, _ time.Time) (string, tone) { return bytesRate(r.WritePerSecond), plain }},
	{"WAIT CPU/MEM/IO%", 16, true, "", pressureCell},
	{"PID", 7, true, "", func(r *Row, _ time.Time) (string, tone) {
		if r.Pid == 0 {
			return none, faint
		}
		return strconv.Itoa(r.Pid), plain
	}},
	{lastExit, 26, false, "", lastExitCell},
}

// wanted are the columns in the order in which a wider terminal gets them, after those that are always there.
var (
	always = []string{"NAME", "STATE", "HEALTH", "CPU%", "MEM/LIMIT", "RESTARTS", "UP/NEXT"}
	wanted = []string{"MEM%", "PIDS", lastExit, "THROTTLED%", "READ/S", "WRITE/S", "WAIT CPU/MEM/IO%", "PID"}
)

const (
	// nameWidth is what a name gets at least where there is room for more columns, minName where there is not even that.
	nameWidth = 18
	minName   = 8
	// lastExit is the title of the only column that gains from more room, up to maxLastExit.
	lastExit    = "LAST EXIT"
	maxLastExit = 100
	gap         = 2
)

// fitting are the columns for a terminal of that width, with the name's width set. Without a probe anywhere there is no
// column for health. The last column gets what is left.
func fitting(width int, all []Row) []column {
	longestName, probed := 0, false
	for i := range all {
		longestName = max(longestName, uniseg.StringWidth(all[i].Name)+2) // and a mark
		text, _ := healthCell(&all[i], time.Time{})
		probed = probed || text != none
	}
	chosen := map[string]bool{}
	used := 0
	find := func(title string) column {
		for _, c := range columns {
			if c.title == title {
				return c
			}
		}
		panic("no column " + title)
	}
	for _, title := range always {
		if title == "HEALTH" && !probed {
			continue
		}
		chosen[title] = true
		used += find(title).width + gap
	}
	used -= gap
	spare := max(0, min(longestName, 40)-nameWidth) // names come before further columns
	for _, title := range wanted {
		c := find(title)
		if used+spare+gap+c.width > width {
			break
		}
		chosen[title] = true
		used += gap + c.width
	}
	var fit []column
	for _, c := range columns {
		if !chosen[c.title] {
			continue
		}
		if c.title == "NAME" {
			c.width = max(minName, min(max(longestName, nameWidth), nameWidth+width-used))
		}
		fit = append(fit, c)
	}
	total := -gap
	for _, c := range fit {
		total += c.width + gap
	}
	if last := &fit[len(fit)-1]; last.title == lastExit {
		last.width = max(last.width, min(last.width+width-total, maxLastExit))
	}
	return fit
}

// none stands in a cell that has nothing to say.
const none = "-"

func percentOf(p *float64) string {
	if p == nil {
		return none
	}
	return words.Percent(*p)
}

func bytesRate(r *float64) string {
	if r == nil {
		return none
	}
	return words.Size(*r)
}

func stalled(s *usage.Stall) string {
	if s == nil {
		return none
	}
	return words.Percent(s.SomePercent)
}

func stateTone(r *Row) tone {
	switch r.State {
	case supervisor.StateRunning:
		return good
	case supervisor.StateFailed:
		return bad
	case supervisor.StateStopped, supervisor.StateExited:
		return faint
	}
	return warn
}

func healthCell(r *Row, _ time.Time) (string, tone) {
	switch {
	case r.Pid == 0:
		return none, faint
	case r.Health == supervisor.HealthUnhealthy:
		return string(r.Health), bad
	case r.Health == supervisor.HealthStarting:
		return string(r.Health), warn
	case !r.Ready: // also if it is healthy: it is not to be used
		return "not ready", warn
	case r.Health == supervisor.HealthHealthy:
		return string(r.Health), good
	}
	return none, faint
}

func memoryCell(r *Row, _ time.Time) (string, tone) {
	used, limit, ok := r.memory()
	switch {
	case !ok:
		return none, faint
	case limit == 0:
		return words.Size(float64(used)), plain
	}
	return words.Size(float64(used)) + "/" + words.Size(float64(limit)), memoryTone(used, limit)
}

func memoryShareCell(r *Row, _ time.Time) (string, tone) {
	used, limit, ok := r.memory()
	if !ok || limit == 0 {
		return none, faint
	}
	return strconv.Itoa(int(100 * float64(used) / float64(limit))), memoryTone(used, limit)
}

// memoryTone warns when little is left.
func memoryTone(used, limit uint64) tone {
	switch share := float64(used) / float64(limit); {
	case share >= 0.95:
		return bad
	case share >= 0.8:
		return warn
	}
	return plain
}

func upCell(r *Row, now time.Time) (string, tone) {
	switch {
	case r.NextStartAt != nil:
		return words.Until(*r.NextStartAt, now), warn
	case r.StartedAt != nil:
		return words.Duration(now.Sub(*r.StartedAt)), plain
	}
	return none, faint
}

func pressureCell(r *Row, _ time.Time) (string, tone) {
	if r.Usage == nil || r.Usage.Pressure == nil {
		return none, faint
	}
	p := r.Usage.Pressure
	return stalled(p.CPU) + " " + stalled(p.Memory) + " " + stalled(p.IO), plain
}

func lastExitCell(r *Row, now time.Time) (string, tone) {
	e := r.LastExit
	switch {
	case r.Error != "" && (e == nil || r.Pid != 0):
		return strings.Join(strings.Fields(words.Printable(r.Error)), " "), bad
	case e == nil:
		return none, faint
	}
	t := plain
	if e.Reason == supervisor.ReasonOOM || e.Reason == supervisor.ReasonUnhealthy || e.Reason == supervisor.ReasonSignaled || e.Code > 0 {
		t = warn
	}
	return words.Exit(e) + ", " + words.Duration(now.Sub(e.At)) + " ago", t
}
