package usage

import (
	"errors"
	"time"
)

// ErrGone is for a cgroup that does not exist, or no longer.
var ErrGone = errors.New("the cgroup is gone")

// Usage is what a container's processes used, together, since its cgroup was made. A part is nil where the kernel does not
// account for it. Its JSON form is part of the control API.
type Usage struct {
	At     time.Time `json:"at"`     // when it was read
	Cgroup string    `json:"cgroup"` // below the root of the hierarchies
	CPU    *CPU      `json:"cpu"`
	Memory *Memory   `json:"memory"`
	Pids   *Pids     `json:"pids"`
	IO     []Device  `json:"io"` // by device, in the kernel's order; empty where nothing was read or written
	// Pressure is nil where the kernel has no pressure stall information.
	Pressure *Pressure `json:"pressure"`
}

// CPU is time on processors, in seconds.
type CPU struct {
	UsageSeconds  float64 `json:"usageSeconds"`
	UserSeconds   float64 `json:"userSeconds"`
	SystemSeconds float64 `json:"systemSeconds"`
	// Limit is in processors (0.5 is half of one), 0 for none. The other fields are of periods in which the limit counted.
	Limit            float64 `json:"limit"`
	Periods          uint64  `json:"periods"`
	ThrottledPeriods uint64  `json:"throttledPeriods"`
	ThrottledSeconds float64 `json:"throttledSeconds"`

	quotaUsec, periodUsec uint64
}

// Quota is the limit as the kernel has it, both in microseconds; quota 0 is no limit.
func (c *CPU) Quota() (quota, period uint64) { return c.quotaUsec, c.periodUsec }

// Memory is in bytes.
type Memory struct {
	Usage uint64 `json:"usageBytes"` // what the limit is compared with: page cache included
	// WorkingSet is Usage without the file pages that the kernel would drop first (inactive_file), as cAdvisor and the
	// kubelet reckon it.
	WorkingSet uint64 `json:"workingSetBytes"`
	Peak       uint64 `json:"peakBytes"`  // of Usage; 0 where the kernel does not keep it (cgroup v2 before Linux 5.19)
	Limit      uint64 `json:"limitBytes"` // 0: none
	RSS        uint64 `json:"rssBytes"`   // anonymous memory
	Cache      uint64 `json:"cacheBytes"` // file pages, tmpfs included
	MappedFile uint64 `json:"mappedFileBytes"`
	Swap       uint64 `json:"swapBytes"`
	// LimitHits counts allocations that met the limit, OOMKills processes that were killed for it.
	LimitHits  uint64 `json:"limitHits"`
	OOMKills   uint64 `json:"oomKills"`
	Faults     uint64 `json:"pageFaults"`
	MajorFault uint64 `json:"majorPageFaults"`

	activeFile, inactiveFile uint64
}

// File is the page cache by its age, in bytes.
func (m *Memory) File() (active, inactive uint64) { return m.activeFile, m.inactiveFile }

// Pids counts processes and threads, as the limit does.
type Pids struct {
	Current uint64 `json:"current"`
	Limit   uint64 `json:"limit"` // 0: none
}

// Device is what was read from and written to one block device.
type Device struct {
	Major      uint32 `json:"major"`
	Minor      uint32 `json:"minor"`
	ReadBytes  uint64 `json:"readBytes"`
	WriteBytes uint64 `json:"writeBytes"`
	Reads      uint64 `json:"reads"`
	Writes     uint64 `json:"writes"`
}

// Pressure is how long processes waited for a resource; each is nil where the kernel does not tell it
// (Documentation/accounting/psi.rst).
type Pressure struct {
	CPU    *Stall `json:"cpu"`
	Memory *Stall `json:"memory"`
	IO     *Stall `json:"io"`
}

// Stall is time waited, in seconds. Some: at least one process waited; Full: all of them did.
type Stall struct {
	SomeSeconds float64 `json:"someSeconds"`
	FullSeconds float64 `json:"fullSeconds"`
	// SomePercent is the share of the last ten seconds, 0 to 100.
	SomePercent float64 `json:"somePercent10s"`
}
