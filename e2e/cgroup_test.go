package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupFiles are where limits are, on cgroup v1 and v2.
var cgroupFiles = map[string][]string{
	"memory": {"memory.limit_in_bytes", "memory.max"},
	"cpu":    {"cpu.cfs_quota_us", "cpu.max"},
	"pids":   {"pids.max"},
}

// cgroupDir is the cgroup of a container that has files of a controller.
func cgroupDir(n *node, name, controller string) string {
	n.Helper()
	for _, file := range cgroupFiles[controller] {
		for _, top := range cgroupsOf(n.run) {
			for _, dir := range []string{filepath.Join(top, name), top} {
				if _, err := os.Stat(filepath.Join(dir, file)); err == nil && (dir != top || strings.Contains(top, "-"+name+".scope")) {
					return dir
				}
			}
		}
	}
	n.Fatalf("%s has no cgroup for %s", name, controller)
	return ""
}

// cgroupValue is a limit of a container as cgroup v2 has it: a number, for cpu of microseconds in a tenth of a second, or
// max.
func cgroupValue(n *node, name, controller string) string {
	n.Helper()
	dir := cgroupDir(n, name, controller)
	for _, file := range cgroupFiles[controller] {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue
		}
		value, _, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
		if number, err := strconv.ParseInt(value, 10, 64); err == nil && (number < 0 || number >= 1e11) {
			value = "max" // v1 has only numbers
		}
		return value
	}
	n.Fatalf("%s has no limit for %s", name, controller)
	return ""
}
