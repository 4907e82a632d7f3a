package metrics

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

// cgroupCollector tells what running containers use, under the names and labels that cAdvisor gives
// (docs/storage/prometheus.md there), so that dashboards made for it work. A container that ends meanwhile is left out.
type cgroupCollector struct {
	list    func() []supervisor.Snapshot
	cgroup  func(name string) usage.Cgroup
	image   func(name string) string
	tallies *tallies
	devices *deviceNames
	descriptors

	mu     sync.Mutex
	places map[string]place // of the last scrape, by name

	total                  *dto.LabelPair
	allFaults, majorFaults []*dto.LabelPair

	startTime, oomEvents                                          *prometheus.Desc
	cpu, cpuUser, cpuSystem, periods, throttled, throttledSeconds *prometheus.Desc
	quota, period                                                 *prometheus.Desc
	memory, workingSet, peak, rss, cache, mapped, swap, failcnt   *prometheus.Desc
	activeFile, inactiveFile, faults, memoryLimit                 *prometheus.Desc
	threads, threadsMax                                           *prometheus.Desc
	readBytes, writeBytes, reads, writes                          *prometheus.Desc
	cpuWaiting, cpuStalled, memoryWaiting, memoryStalled          *prometheus.Desc
	ioWaiting, ioStalled                                          *prometheus.Desc
}

func newCgroupCollector(cfg Config, t *tallies) *cgroupCollector {
	c := &cgroupCollector{
		list: cfg.List, cgroup: cfg.Cgroup, image: cfg.Image, tallies: t, devices: newDeviceNames(),
		total:       label("cpu", "total"),
		allFaults:   []*dto.LabelPair{label("failure_type", "pgfault"), label("scope", "hierarchy")},
		majorFaults: []*dto.LabelPair{label("failure_type", "pgmajfault"), label("scope", "hierarchy")},
	}
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return c.desc("container_"+name, help, append([]string{"id", "name", "image"}, more...)...)
	}
	c.startTime = desc("start_time_seconds", "When the running instance started, in seconds since 1970.")
	c.oomEvents = desc("oom_events_total", "Processes of the container that the kernel killed for want of memory.")

	c.cpu = desc("cpu_usage_seconds_total", "CPU time used, of all processors together.", "cpu")
	c.cpuUser = desc("cpu_user_seconds_total", "CPU time used outside the kernel.")
	c.cpuSystem = desc("cpu_system_seconds_total", "CPU time used in the kernel.")
	c.periods = desc("cpu_cfs_periods_total", "Periods in which the CPU limit counted. Only with a limit.")
	c.throttled = desc("cpu_cfs_throttled_periods_total", "Periods in which the CPU limit was hit. Only with a limit.")
	c.throttledSeconds = desc("cpu_cfs_throttled_seconds_total", "Time in which processes were kept waiting by the CPU limit. Only with a limit.")
	c.quota = desc("spec_cpu_quota", "CPU limit: microseconds in each period. Only with a limit.")
	c.period = desc("spec_cpu_period", "Period of the CPU limit, in microseconds.")

	c.memory = desc("memory_usage_bytes", "Memory that counts for the limit, page cache included.")
	c.workingSet = desc("memory_working_set_bytes", "Memory without the file pages that would be dropped first (inactive_file).")
	c.peak = desc("memory_max_usage_bytes", "Peak of the memory usage. Not on cgroup v2 before Linux 5.19.")
	c.rss = desc("memory_rss", "Anonymous memory, in bytes.")
	c.cache = desc("memory_cache", "Page cache, in bytes.")
	c.mapped = desc("memory_mapped_file", "Mapped files, in bytes.")
	c.swap = desc("memory_swap", "Swap, in bytes.")
	c.failcnt = desc("memory_failcnt", "Times that the memory limit was met.")
	c.activeFile = desc("memory_total_active_file_bytes", "Page cache in active use.")
	c.inactiveFile = desc("memory_total_inactive_file_bytes", "Page cache that would be dropped first.")
	c.faults = desc("memory_failures_total", "Page faults: pgfault all, pgmajfault those that waited for a disk.", "failure_type", "scope")
	c.memoryLimit = desc("spec_memory_limit_bytes", "Memory limit, 0 for none.")

	c.threads = desc("threads", "Processes and threads.")
	c.threadsMax = desc("threads_max", "Limit of processes and threads, 0 for none.")

	c.readBytes = desc("fs_reads_bytes_total", "Bytes read from a block device.", "device")
	c.writeBytes = desc("fs_writes_bytes_total", "Bytes written to a block device.", "device")
	c.reads = desc("fs_reads_total", "Reads from a block device.", "device")
	c.writes = desc("fs_writes_total", "Writes to a block device.", "device")

	const waiting, stalled = "Time in which at least one process waited for ", "Time in which all processes waited for "
	c.cpuWaiting = desc("pressure_cpu_waiting_seconds_total", waiting+"a CPU.")
	c.cpuStalled = desc("pressure_cpu_stalled_seconds_total", stalled+"a CPU.")
	c.memoryWaiting = desc("pressure_memory_waiting_seconds_total", waiting+"memory.")
	c.memoryStalled = desc("pressure_memory_stalled_seconds_total", stalled+"memory.")
	c.ioWaiting = desc("pressure_io_waiting_seconds_total", waiting+"I/O.")
	c.ioStalled = desc("pressure_io_stalled_seconds_total", stalled+"I/O.")
	return c
}

// place is where the cgroup of an instance is. It stays there for as long as the instance lives.
type place struct {
	pid    int
	cgroup usage.Cgroup
}

// locate finds the cgroups of the running containers. What was found before is not looked for again.
func (c *cgroupCollector) locate(list []supervisor.Snapshot) map[string]place {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := make(map[string]place, len(list))
	for _, s := range list {
		if s.Pid == 0 {
			continue
		}
		one, known := c.places[s.Name]
		if !known || one.pid != s.Pid {
			one = place{s.Pid, c.cgroup(s.Name)}
		}
		found[s.Name] = one
	}
	c.places = found
	return found
}

// Collect reads the cgroups side by side: most of the time is the kernel's.
func (c *cgroupCollector) Collect(ch chan<- prometheus.Metric) {
	list := c.list()
	places := c.locate(list)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		wg.Go(func() {
			var r usage.Reader
			for {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				if s := list[i]; s.Pid != 0 {
					c.collect(ch, &r, s, places[s.Name].cgroup)
				}
			}
		})
	}
	wg.Wait()
}

func (c *cgroupCollector) collect(ch chan<- prometheus.Metric, r *usage.Reader, s supervisor.Snapshot, cgroup usage.Cgroup) {
	u, err := r.Read(cgroup)
	if err != nil {
		return // it has ended meanwhile
	}
	to := target{ch, []*dto.LabelPair{label("id", u.Cgroup), label("image", c.image(s.Name)), label("name", s.Name)}}
	if s.StartedAt != nil {
		to.gauge(c.startTime, unix(*s.StartedAt))
	}
	c.collectCPU(to, u.CPU)
	c.collectMemory(to, u.Memory, s.Name)
	if u.Pids != nil {
		to.gauge(c.threads, float64(u.Pids.Current))
		to.gauge(c.threadsMax, float64(u.Pids.Limit))
	}
	for _, d := range u.IO {
		disk := to.with(label("device", c.devices.name(d.Major, d.Minor)))
		disk.counter(c.readBytes, float64(d.ReadBytes))
		disk.counter(c.writeBytes, float64(d.WriteBytes))
		disk.counter(c.reads, float64(d.Reads))
		disk.counter(c.writes, float64(d.Writes))
	}
	if p := u.Pressure; p != nil {
		to.stall(p.CPU, c.cpuWaiting, c.cpuStalled)
		to.stall(p.Memory, c.memoryWaiting, c.memoryStalled)
		to.stall(p.IO, c.ioWaiting, c.ioStalled)
	}
}

func (c *cgroupCollector) collectCPU(to target, u *usage.CPU) {
	if u == nil {
		return
	}
	to.with(c.total).counter(c.cpu, u.UsageSeconds)
	to.counter(c.cpuUser, u.UserSeconds)
	to.counter(c.cpuSystem, u.SystemSeconds)
	quota, period := u.Quota()
	if period > 0 {
		to.gauge(c.period, float64(period))
	}
	if quota > 0 {
		to.gauge(c.quota, float64(quota))
		to.counter(c.periods, float64(u.Periods))
		to.counter(c.throttled, float64(u.ThrottledPeriods))
		to.counter(c.throttledSeconds, u.ThrottledSeconds)
	}
}

func (c *cgroupCollector) collectMemory(to target, m *usage.Memory, name string) {
	if m == nil {
		return
	}
	to.gauge(c.memory, float64(m.Usage))
	to.gauge(c.workingSet, float64(m.WorkingSet))
	if m.Peak > 0 {
		to.gauge(c.peak, float64(m.Peak))
	}
	to.gauge(c.rss, float64(m.RSS))
	to.gauge(c.cache, float64(m.Cache))
	to.gauge(c.mapped, float64(m.MappedFile))
	to.gauge(c.swap, float64(m.Swap))
	to.untyped(c.failcnt, float64(m.LimitHits)) // a counter by a name that is none's
	active, inactive := m.File()
	to.gauge(c.activeFile, float64(active))
	to.gauge(c.inactiveFile, float64(inactive))
	to.with(c.allFaults...).counter(c.faults, float64(m.Faults))
	to.with(c.majorFaults...).counter(c.faults, float64(m.MajorFault))
	to.gauge(c.memoryLimit, float64(m.Limit))
	to.counter(c.oomEvents, float64(c.tallies.oom(name, m.OOMKills)))
}

func (t target) stall(s *usage.Stall, waiting, stalled *prometheus.Desc) {
	if s != nil {
		t.counter(waiting, s.SomeSeconds)
		t.counter(stalled, s.FullSeconds)
	}
}
