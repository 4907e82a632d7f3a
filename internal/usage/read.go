package usage

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Cgroup is where the kernel accounts for a container.
type Cgroup struct {
	// Path is below the root of every hierarchy.
	Path string
	// V1 has the directory of each cgroup v1 controller, V2 the one in the unified hierarchy; on a hybrid machine there are
	// both, and V2 has no controllers.
	V1 map[string]string
	V2 string
}

// Reader reads usages, one after the other. Its zero value can be used; it holds some kilobytes once it was.
type Reader struct {
	buf  []byte
	seen bool // a file of the present cgroup was there

	dir    string // that is open
	fd     int
	dirErr error
}

// bufferSize holds any of the files: memory.stat has about 2 KiB, io.stat 100 bytes for each device. What is longer is cut.
const bufferSize = 32 << 10

// Read tells what the container in a cgroup uses. Its error is ErrGone.
func (r *Reader) Read(c Cgroup) (Usage, error) {
	r.seen = false
	defer r.close()
	u := Usage{At: time.Now(), Cgroup: c.Path, IO: []Device{}}
	if dir := c.V1["memory"]; dir != "" {
		u.Memory = r.memoryV1(dir)
	} else {
		u.Memory = r.memoryV2(c.V2)
	}
	if dir := c.V1["cpuacct"]; dir != "" {
		u.CPU = r.cpuV1(dir, c.V1["cpu"])
	} else {
		u.CPU = r.cpuV2(c.V2)
	}
	pids := c.V1["pids"]
	if pids == "" {
		pids = c.V2
	}
	u.Pids = r.pids(pids)
	if dir := c.V1["blkio"]; dir != "" {
		u.IO = append(u.IO, r.ioV1(dir)...)
	} else {
		u.IO = append(u.IO, ioStat(r.file(c.V2, "io.stat"))...)
	}
	u.Pressure = r.pressure(c.V2)
	if !r.seen {
		return Usage{}, ErrGone
	}
	return u, nil
}

func (r *Reader) memoryV2(dir string) *Memory {
	current, ok := number(r.file(dir, "memory.current"))
	if !ok {
		return nil
	}
	m := &Memory{Usage: current}
	flat(r.file(dir, "memory.stat"),
		field{"anon", &m.RSS}, field{"file", &m.Cache}, field{"file_mapped", &m.MappedFile},
		field{"active_file", &m.activeFile}, field{"inactive_file", &m.inactiveFile},
		field{"pgfault", &m.Faults}, field{"pgmajfault", &m.MajorFault})
	m.Peak, _ = number(r.file(dir, "memory.peak"))
	m.Limit = limit(r.file(dir, "memory.max"))
	m.Swap, _ = number(r.file(dir, "memory.swap.current"))
	flat(r.file(dir, "memory.events"), field{"max", &m.LimitHits}, field{"oom_kill", &m.OOMKills})
	m.WorkingSet = m.Usage - min(m.Usage, m.inactiveFile)
	return m
}

// memoryV1 takes the totals, which have what is in cgroups below as well; what v2 has are such.
func (r *Reader) memoryV1(dir string) *Memory {
	current, ok := number(r.file(dir, "memory.usage_in_bytes"))
	if !ok {
		return nil
	}
	m := &Memory{Usage: current}
	flat(r.file(dir, "memory.stat"),
		field{"total_rss", &m.RSS}, field{"total_cache", &m.Cache}, field{"total_mapped_file", &m.MappedFile}, field{"total_swap", &m.Swap},
		field{"total_active_file", &m.activeFile}, field{"total_inactive_file", &m.inactiveFile},
		field{"total_pgfault", &m.Faults}, field{"total_pgmajfault", &m.MajorFault})
	m.Peak, _ = number(r.file(dir, "memory.max_usage_in_bytes"))
	m.Limit = limit(r.file(dir, "memory.limit_in_bytes"))
	m.LimitHits, _ = number(r.file(dir, "memory.failcnt"))
	flat(r.file(dir, "memory.oom_control"), field{"oom_kill", &m.OOMKills})
	m.WorkingSet = m.Usage - min(m.Usage, m.inactiveFile)
	return m
}

func (r *Reader) cpuV2(dir string) *CPU {
	c := &CPU{}
	var usage, user, system, throttled uint64
	if !flat(r.file(dir, "cpu.stat"), field{"usage_usec", &usage}, field{"user_usec", &user}, field{"system_usec", &system},
		field{"nr_periods", &c.Periods}, field{"nr_throttled", &c.ThrottledPeriods}, field{"throttled_usec", &throttled}) {
		return nil
	}
	c.UsageSeconds, c.UserSeconds, c.SystemSeconds = seconds(usage, 1e6), seconds(user, 1e6), seconds(system, 1e6)
	c.ThrottledSeconds = seconds(throttled, 1e6)
	c.setQuota(cpuMax(r.file(dir, "cpu.max")))
	return c
}

// cpuV1 reads the two controllers, which are mostly mounted together.
func (r *Reader) cpuV1(acct, cpu string) *CPU {
	usage, ok := number(r.file(acct, "cpuacct.usage"))
	if !ok {
		return nil
	}
	var user, system, throttled uint64
	c := &CPU{UsageSeconds: seconds(usage, 1e9)}
	flat(r.file(acct, "cpuacct.stat"), field{"user", &user}, field{"system", &system})
	c.UserSeconds, c.SystemSeconds = seconds(user, 100), seconds(system, 100) // USER_HZ is 100 on all that Go runs on
	flat(r.file(cpu, "cpu.stat"), field{"nr_periods", &c.Periods}, field{"nr_throttled", &c.ThrottledPeriods}, field{"throttled_time", &throttled})
	c.ThrottledSeconds = seconds(throttled, 1e9)
	quota, _ := number(r.file(cpu, "cpu.cfs_quota_us")) // -1 is no limit
	period, _ := number(r.file(cpu, "cpu.cfs_period_us"))
	c.setQuota(quota, period)
	return c
}

func (c *CPU) setQuota(quota, period uint64) {
	c.quotaUsec, c.periodUsec = quota, period
	if period > 0 {
		c.Limit = float64(quota) / float64(period)
	}
}

func (r *Reader) pids(dir string) *Pids {
	current, ok := number(r.file(dir, "pids.current"))
	if !ok {
		return nil
	}
	return &Pids{Current: current, Limit: limit(r.file(dir, "pids.max"))}
}

// ioV1 reads what the throttling policy counts: unlike the others it sees every request on every device.
func (r *Reader) ioV1(dir string) devices {
	var d devices
	d.blkio(r.file(dir, "blkio.throttle.io_service_bytes_recursive"),
		func(d *Device) *uint64 { return &d.ReadBytes }, func(d *Device) *uint64 { return &d.WriteBytes })
	d.blkio(r.file(dir, "blkio.throttle.io_serviced_recursive"),
		func(d *Device) *uint64 { return &d.Reads }, func(d *Device) *uint64 { return &d.Writes })
	return d
}

func (r *Reader) pressure(dir string) *Pressure {
	p := &Pressure{
		CPU:    stall(r.file(dir, "cpu.pressure")),
		Memory: stall(r.file(dir, "memory.pressure")),
		IO:     stall(r.file(dir, "io.pressure")),
	}
	if *p == (Pressure{}) {
		return nil
	}
	return p
}

// file reads one file, into memory that the next call uses again. What cannot be read has no content: the cgroup may be
// gone in the middle of it, and which files there are depends on the kernel and its controllers. os.ReadFile takes three
// times the system calls.
func (r *Reader) file(dir, name string) []byte {
	if dir == "" {
		return nil
	}
	if r.buf == nil {
		r.buf = make([]byte, bufferSize)
	}
	at := r.open(dir)
	if at < 0 {
		return nil
	}
	fd, err := retry(func() (int, error) { return unix.Openat(at, name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	// The kernel makes such a file's content in one piece, and gives all of it that there is room for.
	n, err := retry(func() (int, error) { return unix.Read(fd, r.buf) })
	if err != nil {
		return nil
	}
	r.seen = true
	return r.buf[:n]
}

// open returns the directory, -1 if it cannot be opened. The last one stays open: its files are read one after the other.
func (r *Reader) open(dir string) int {
	if r.dir == dir && r.dirErr != nil {
		return -1
	}
	if r.dir == dir {
		return r.fd
	}
	r.close()
	r.dir = dir
	r.fd, r.dirErr = retry(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if r.dirErr != nil {
		return -1
	}
	return r.fd
}

func (r *Reader) close() {
	if r.dir != "" && r.dirErr == nil {
		_ = unix.Close(r.fd)
	}
	r.dir, r.dirErr = "", nil
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
