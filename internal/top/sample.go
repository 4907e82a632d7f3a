package top

import (
	"context"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

// Source is the daemon.
type Source interface {
	// List and Stats are of all containers if names is empty.
	List(ctx context.Context, names ...string) ([]supervisor.Snapshot, error)
	Stats(ctx context.Context, names ...string) ([]control.Stats, error)
	// Details returns what else is known of a container.
	Details(ctx context.Context, name string) Details
}

// Details are lines for people about one container, the newest last. An error in place of lines says why there are none.
type Details struct {
	Probes, Events, Output          []string
	ProbesErr, EventsErr, OutputErr error
}

// sample is what the daemon said at one moment.
type sample struct {
	at         time.Time
	containers []supervisor.Snapshot
	stats      map[string]control.Stats
}

func take(ctx context.Context, src Source, names []string, now func() time.Time) (*sample, error) {
	list, err := src.List(ctx, names...)
	if err != nil {
		return nil, err
	}
	stats, err := src.Stats(ctx, names...)
	if err != nil {
		return nil, err
	}
	s := &sample{at: now(), containers: list, stats: map[string]control.Stats{}}
	for _, one := range stats {
		s.stats[one.Name] = one
	}
	return s, nil
}

// Row is one container with what it uses. A rate is nil when it is not known: it takes two looks at one instance.
type Row struct {
	supervisor.Snapshot
	CPUPercent *float64 `json:"cpuPercent"` // 100 is one processor
	// ThrottledPercent is the share of time in which the CPU limit kept processes waiting.
	ThrottledPercent *float64     `json:"throttledPercent"`
	ReadPerSecond    *float64     `json:"readBytesPerSecond"`
	WritePerSecond   *float64     `json:"writeBytesPerSecond"`
	Usage            *usage.Usage `json:"usage"` // null: does not run
}

// rows are the containers of the newest sample, with rates since the one before, which may be nil.
func rows(before, now *sample) []Row {
	all := make([]Row, 0, len(now.containers))
	for _, c := range now.containers {
		row := Row{Snapshot: c}
		if stats, ok := now.stats[c.Name]; ok {
			row.Usage = &stats.Usage
			if before != nil {
				if old, ok := before.stats[c.Name]; ok && old.Pid == stats.Pid {
					row.rates(&old.Usage, &stats.Usage)
				}
			}
		}
		all = append(all, row)
	}
	return all
}

// rates are between two looks at one instance. Counters that went back are of another one with the same pid.
func (r *Row) rates(old, now *usage.Usage) {
	seconds := now.At.Sub(old.At).Seconds()
	if seconds <= 0 {
		return
	}
	rate := func(a, b, scale float64) *float64 {
		if b < a {
			return nil
		}
		v := (b - a) / seconds * scale
		return &v
	}
	if old.CPU != nil && now.CPU != nil {
		r.CPUPercent = rate(old.CPU.UsageSeconds, now.CPU.UsageSeconds, 100)
		if now.CPU.Limit > 0 {
			r.ThrottledPercent = rate(old.CPU.ThrottledSeconds, now.CPU.ThrottledSeconds, 100)
		}
	}
	oldRead, oldWritten := transferred(old)
	read, written := transferred(now)
	r.ReadPerSecond, r.WritePerSecond = rate(oldRead, read, 1), rate(oldWritten, written, 1)
}

func transferred(u *usage.Usage) (read, written float64) {
	for _, d := range u.IO {
		read += float64(d.ReadBytes)
		written += float64(d.WriteBytes)
	}
	return read, written
}

// memory is what the container uses of its limit, as the kernel's OOM killer sees it less what can be dropped.
func (r *Row) memory() (used, limit uint64, ok bool) {
	if r.Usage == nil || r.Usage.Memory == nil {
		return 0, 0, false
	}
	return r.Usage.Memory.WorkingSet, r.Usage.Memory.Limit, true
}
