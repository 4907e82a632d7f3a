package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// foreignCgroupFile has the directories of the cgroup of a container that was taken over: with cgroup v1 its path may differ from
// hierarchy to hierarchy, since a runtime without linux.cgroupsPath goes by where it is itself. It goes with the instance.
// In a last line is a checksum, as in cgroupFile.
const foreignCgroupFile = "cgroup.dirs"

func foreignCgroupText(id string, dirs []string) string {
	text := strings.Join(dirs, "\n")
	return text + "\n" + cgroupChecksum(id, text) + "\n"
}

func parseForeignCgroup(id, text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	dirs := lines[:len(lines)-1]
	if len(dirs) == 0 || foreignCgroupText(id, dirs) != text {
		return nil
	}
	return dirs
}

// foreignCgroup are the directories of a container that was taken over, none for any other.
func (r *Runtime) foreignCgroup(id string) []string {
	data, err := os.ReadFile(filepath.Join(r.cfg.CallDir, id, foreignCgroupFile))
	if err != nil {
		return nil
	}
	return parseForeignCgroup(id, string(data))
}

// in tells whether a directory is a cgroup of this hierarchy, other than its root.
func (h hierarchy) in(dir string) bool {
	rel, err := filepath.Rel(h.dir, dir)
	return err == nil && rel != "." && filepath.IsLocal(rel) && filepath.Clean(dir) == dir
}

// foreignDirs yields the directories that were given, each with the innermost hierarchy that it is in.
func (c cgroup) foreignDirs(yield func(hierarchy, string) bool) {
	for _, dir := range c.foreign {
		var best *hierarchy
		for i := range c.h.all {
			if h := &c.h.all[i]; h.in(dir) && (best == nil || len(h.dir) > len(best.dir)) {
				best = h
			}
		}
		if best != nil && !yield(*best, dir) {
			return
		}
	}
}

// withDirs is the same cgroup in other places.
func (c cgroup) withDirs(dirs []string) cgroup {
	c.foreign = slices.Clone(dirs)
	return c
}
