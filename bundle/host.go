package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Host is what of the machine shows in a config.json.
type Host struct {
	// CgroupV2 is true on a machine with cgroup v2 alone, false with v1 or both (hybrid).
	CgroupV2 bool
	// SwapLimit is true when the kernel can limit memory and swap together.
	SwapLimit bool
	// LastCap is the number of the kernel's last capability (capabilities(7)); CAP_ALL ends there.
	LastCap int
	// Hostname is called when a bundle is built.
	Hostname func() (string, error)
	// Etc is the directory of the host's resolv.conf, hosts and hostname.
	Etc string
}

// DetectHost looks at the machine it runs on.
func DetectHost() (Host, error) {
	h := Host{Hostname: os.Hostname, Etc: "/etc"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		h.CgroupV2 = true
	}
	// The root cgroup of v2 has no limits of its own, its children have.
	for _, pattern := range []string{
		"/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes",
		"/sys/fs/cgroup/*/memory.swap.max",
	} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			h.SwapLimit = true
		}
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return Host{}, fmt.Errorf("cannot tell the kernel's capabilities: %w", err)
	}
	if h.LastCap, err = strconv.Atoi(strings.TrimSpace(string(last))); err != nil {
		return Host{}, fmt.Errorf("cannot tell the kernel's capabilities: cap_last_cap: %w", err)
	}
	return h, nil
}
