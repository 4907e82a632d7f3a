package runtime

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryPeak is the most memory, in bytes, that the processes in the cgroup and those below it used at one time: memory.peak
// of cgroup v2 (Linux ≥ 5.19) or memory.max_usage_in_bytes of v1. It is 0 when there is no such count.
func (c cgroup) memoryPeak() uint64 {
	for h, dir := range c.dirs {
		file := "memory.peak"
		switch {
		case h.v2:
		case h.hasMemory():
			file = "memory.max_usage_in_bytes"
		default:
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue // on a hybrid machine memory is in one version's tree only; or the cgroup is gone
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64); err == nil {
			return n
		}
	}
	return 0
}
