package bundle

import (
	"fmt"
	"math"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// cpuPeriod is the kernel's default, in microseconds.
	cpuPeriod = 100_000
	// minCPUQuota is the least the kernel takes, in microseconds.
	minCPUQuota = 1_000
	// maxPids is as many as there can be on a machine (PID_MAX_LIMIT): no limit, in a way that crun takes too.
	maxPids = 4 << 20
	// minMemory is what runc itself needs inside the container's cgroup to start one.
	minMemory = 3 << 20
)

// limits returns the resources of a definition.
func (r Resources) limits(host Host) (*specs.LinuxResources, error) {
	res := &specs.LinuxResources{Devices: defaultDevices()}
	if r.Memory != 0 {
		if r.Memory < minMemory {
			return nil, fmt.Errorf("resources.memory: %d bytes: a container cannot start with less than 3MiB", r.Memory)
		}
		res.Memory = &specs.LinuxMemory{Limit: new(r.Memory)}
		if host.SwapLimit {
			res.Memory.Swap = new(r.Memory)
		}
	}
	if r.CPUs != 0 {
		quota := math.Round(r.CPUs * cpuPeriod)
		if math.IsNaN(quota) || quota < minCPUQuota || quota > math.MaxInt32*cpuPeriod {
			return nil, fmt.Errorf("resources.cpus: %v: must be at least 0.01", r.CPUs)
		}
		res.CPU = &specs.LinuxCPU{Quota: new(int64(quota)), Period: new(uint64(cpuPeriod))}
	}
	if r.Pids != 0 {
		if r.Pids < 0 {
			return nil, fmt.Errorf("resources.pids: %d: must be positive", r.Pids)
		}
		res.Pids = &specs.LinuxPids{Limit: new(r.Pids)}
	}
	return res, nil
}

// live returns the limits of a container that a running one can take over. What has no limit is said so (-1, or
// maxPids), so that taking a limit away works too. Only for shares there is no such word: on cgroup v2 the kernel's default cannot be said
// in shares.
func live(res *specs.LinuxResources, host Host) *specs.LinuxResources {
	out := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: new(int64(-1))},
		CPU:    &specs.LinuxCPU{Quota: new(int64(-1)), Period: new(uint64(cpuPeriod))},
		Pids:   &specs.LinuxPids{Limit: new(int64(maxPids))},
	}
	if host.SwapLimit {
		out.Memory.Swap = new(int64(-1))
	}
	if res == nil {
		return out
	}
	if m := res.Memory; m != nil {
		set(&out.Memory.Limit, m.Limit)
		set(&out.Memory.Swap, m.Swap)
	}
	if c := res.CPU; c != nil {
		set(&out.CPU.Quota, c.Quota)
		set(&out.CPU.Period, c.Period)
		set(&out.CPU.Shares, c.Shares)
	}
	// 0 is no limit to runc 1.1, and to the kernel a container that cannot start.
	if p := res.Pids; p != nil && p.Limit != nil && *p.Limit > 0 {
		set(&out.Pids.Limit, p.Limit)
	}
	return out
}

// liveFields are the parts of linux.resources that live covers, by object.
var liveFields = map[string][]string{
	"memory": {"limit", "swap"},
	"cpu":    {"quota", "period", "shares"},
	"pids":   {"limit"},
}

// withoutLive returns a copy of linux.resources without what live covers, nil when nothing is left. Of shares it stays
// whether there are any.
func withoutLive(resources map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range resources {
		object, ok := value.(map[string]any)
		if fields := liveFields[key]; ok && fields != nil {
			rest := map[string]any{}
			for k, v := range object {
				rest[k] = v
			}
			for _, f := range fields {
				delete(rest, f)
			}
			if object["shares"] != nil && key == "cpu" {
				rest["shares"] = true
			}
			if len(rest) == 0 {
				continue
			}
			value = rest
		}
		out[key] = value
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func set[T any](dst **T, src *T) {
	if src != nil {
		*dst = new(*src)
	}
}
