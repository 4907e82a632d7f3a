package runtime

import "strings"

// CgroupDirs is where a container's cgroup is, whether it exists or not.
type CgroupDirs struct {
	// Path is below the root of every hierarchy: "/runcsup/npd".
	Path string
	// V1 has the cgroup's directory in the hierarchy of each cgroup v1 controller ("memory", "cpuacct", "blkio").
	V1 map[string]string
	// V2 is the cgroup's directory in the unified hierarchy, empty where none is mounted. On a hybrid machine there are both.
	V2 string
}

// CgroupDirs tells where the cgroup of a container is.
func (r *Runtime) CgroupDirs(id string) CgroupDirs {
	c := r.cgroupOf(id)
	dirs := CgroupDirs{Path: c.path, V1: map[string]string{}}
	for h, dir := range c.dirs {
		if h.v2 {
			dirs.V2 = dir
			continue
		}
		for _, option := range h.options {
			if option != "" && !strings.Contains(option, "=") { // name=systemd has no controller
				dirs.V1[option] = dir
			}
		}
	}
	return dirs
}
