package runtime

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// hierarchies are the mounted cgroup trees: several on v1, v1's and one of v2 on a hybrid machine, one on v2.
type hierarchies struct{ all []hierarchy }

type hierarchy struct {
	dir     string   // mount point
	root    string   // what of the tree is mounted there, "/" unless in a container
	v2      bool     //
	options []string // v1: the controllers or name=…, among other options
}

func mountedHierarchies() (*hierarchies, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("cannot find the cgroup mounts: %w", err)
	}
	h := &hierarchies{}
	seen := map[string]int{} // a tree may be mounted in several places; the one in /sys/fs/cgroup is the runtimes'
	for _, m := range mounts {
		one := hierarchy{
			dir: m.Mountpoint, root: m.Root, v2: m.FSType == "cgroup2", options: strings.Split(m.VFSOptions, ","),
		}
		key := fmt.Sprintf("%d:%d", m.Major, m.Minor)
		i, again := seen[key]
		switch {
		case !again:
			seen[key] = len(h.all)
			h.all = append(h.all, one)
		case !isRuntimesMount(h.all[i].dir) && isRuntimesMount(one.dir):
			h.all[i] = one
		}
	}
	if len(h.all) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted; containers need one in /sys/fs/cgroup")
	}
	return h, nil
}

func isRuntimesMount(dir string) bool { return strings.HasPrefix(dir+"/", "/sys/fs/cgroup/") }

func (h hierarchy) hasMemory() bool { return h.v2 || slices.Contains(h.options, "memory") }

// isController tells whether it is one of v1's for controllers, and not one in which systemd keeps its own tree.
func (h hierarchy) isController() bool { return !h.v2 && !slices.Contains(h.options, "name=systemd") }

// own is the directory of this process's cgroup, given /proc/self/cgroup; empty when it is not below the mount.
func (h hierarchy) own(selfCgroup string) string {
	for line := range strings.Lines(selfCgroup) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		if h.v2 != (f[0] == "0" && f[1] == "") {
			continue
		}
		if !h.v2 && !containsAll(h.options, strings.Split(f[1], ",")) {
			continue
		}
		rel, err := filepath.Rel(h.root, f[2])
		if err != nil || !filepath.IsLocal(rel) {
			return ""
		}
		return filepath.Join(h.dir, rel)
	}
	return ""
}

func containsAll(all, some []string) bool {
	for _, s := range some {
		if !slices.Contains(all, s) {
			return false
		}
	}
	return true
}

// cgroupPath is linux.cgroupsPath of a config.json: absolute below every hierarchy's root, or slice:prefix:name for
// systemd.
type cgroupPath string

func (p cgroupPath) systemd() bool {
	return !strings.HasPrefix(string(p), "/") && strings.Count(string(p), ":") == 2
}

// check refuses what would leave it to the runtime, and to where the daemon runs, which cgroup a container gets.
func (p cgroupPath) check() error {
	switch {
	case p == "":
		return errors.New("linux.cgroupsPath is empty; it must be set")
	case !p.systemd() && !path.IsAbs(string(p)):
		return fmt.Errorf("linux.cgroupsPath %q is relative, which every runtime takes differently; start it with a slash", p)
	case p.dir() == "/":
		return fmt.Errorf("linux.cgroupsPath %q is the root of all cgroups", p)
	}
	return nil
}

// dir is where the cgroup is below the root of each hierarchy.
func (p cgroupPath) dir() string {
	if !p.systemd() {
		return path.Clean("/" + string(p))
	}
	f := strings.Split(string(p), ":")
	slice, prefix, name := f[0], f[1], f[2]
	if slice == "" {
		slice = "system.slice"
	}
	unit := name
	if !strings.HasSuffix(name, ".slice") {
		unit = prefix + "-" + name + ".scope"
	}
	return path.Join("/", expandSlice(slice), unit)
}

// expandSlice turns a-b.slice into a.slice/a-b.slice, as systemd.slice(5) has it; -.slice is the root.
func expandSlice(slice string) string {
	base := strings.TrimSuffix(slice, ".slice")
	if base == "-" {
		return ""
	}
	var dirs []string
	for i := range len(base) {
		if base[i] == '-' {
			dirs = append(dirs, base[:i]+".slice")
		}
	}
	return path.Join(append(dirs, base+".slice")...)
}

// cgroup is one container's cgroup: a directory in every hierarchy, whether it exists or not.
type cgroup struct {
	h    *hierarchies
	path string // below the hierarchies' roots, clean and absolute
	// foreign are its directories when somebody else has made it, in place of path.
	foreign []string
}

func (h *hierarchies) at(dir string) cgroup { return cgroup{h: h, path: path.Clean("/" + dir)} }

func (c cgroup) dirs(yield func(hierarchy, string) bool) {
	if c.foreign != nil {
		c.foreignDirs(yield)
		return
	}
	for _, h := range c.h.all {
		if !yield(h, filepath.Join(h.dir, c.path)) {
			return
		}
	}
}

func (c cgroup) exists() bool {
	for _, dir := range c.dirs {
		if _, err := os.Lstat(dir); err == nil {
			return true
		}
	}
	return false
}

// guard refuses a cgroup whose processes must not be signalled: the root, and any that holds this process.
func (c cgroup) guard() error {
	if c.path == "/" {
		return errors.New("will not touch the root cgroup")
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("cannot read own cgroup: %w", err)
	}
	for h, dir := range c.dirs {
		if own := h.own(string(self)); own != "" && strings.HasPrefix(own+"/", dir+"/") {
			return fmt.Errorf("cgroup %s holds this process itself", dir)
		}
	}
	return nil
}

// tree calls f for dir and all cgroups below it, the deepest first.
func tree(dir string, f func(dir string) error) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return fmt.Errorf("cannot look into cgroup %s: %w", dir, err)
	}
	if st.Nlink != 2 { // 2 and one for each cgroup below: most have none and need not be listed
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot look into cgroup: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				if err := tree(filepath.Join(dir, e.Name()), f); err != nil {
					return err
				}
			}
		}
	}
	return f(dir)
}

// procs are the processes in one cgroup, without those in cgroups below it.
func procs(dir string) ([]int, error) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV):
		return nil, nil // removed
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, nil // threaded: its processes are listed in the cgroup above
	case err != nil:
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("cannot list processes: %s/cgroup.procs holds %q", dir, f)
		}
		if pid > 0 { // 0: in a pid namespace that is not seen from here
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// pids are all processes of the cgroup and of those below it, in any hierarchy, sorted.
func (c cgroup) pids() ([]int, error) {
	var all []int
	for _, dir := range c.dirs {
		err := tree(dir, func(dir string) error {
			pids, err := procs(dir)
			all = append(all, pids...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// has tells whether a process is in the cgroup or below, in any hierarchy.
func (c cgroup) has(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return false
	}
	for h, dir := range c.dirs {
		if own := h.own(string(data)); own != "" && strings.HasPrefix(own+"/", dir+"/") {
			return true
		}
	}
	return false
}
