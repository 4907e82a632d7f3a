package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroup is the machine's part of a hierarchy.
type cgroup struct {
	Mount   string // where the hierarchy is mounted, outside and inside
	Type    string // cgroup or cgroup2
	Options string // of the mount: the controllers of a v1 hierarchy
	Dir     string // the machine's cgroup, as it is seen outside
}

// hierarchies returns those that are mounted outside, by what /proc/self/mountinfo says.
func hierarchies() (found []cgroup, err error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		place, what := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(what) < 3 || what[0] != "cgroup" && what[0] != "cgroup2" {
			continue
		}
		if place[4] != cgroupRoot && !strings.HasPrefix(place[4], cgroupRoot+"/") {
			continue
		}
		g := cgroup{Mount: place[4], Type: what[0]}
		if g.Type == "cgroup" {
			options := slices.DeleteFunc(strings.Split(what[2], ","), func(o string) bool {
				return o == "rw" || o == "ro" || o == "xattr" || o == "clone_children" || strings.HasPrefix(o, "release_agent")
			})
			if slices.Contains(options, "name=systemd") {
				options = append(options, "none")
			}
			g.Options = strings.Join(options, ",")
		}
		found = append(found, g)
	}
	if len(found) == 0 {
		return nil, errors.New("no cgroups are mounted in " + cgroupRoot)
	}
	return found, nil
}

func pureV2() bool {
	var fs unix.Statfs_t
	return unix.Statfs(cgroupRoot, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

func underSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// makeCgroups makes the machine's cgroups.
func makeCgroups(name string) ([]cgroup, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for i := range all {
		g := &all[i]
		parent := g.Mount
		if pureV2() && underSystemd() {
			// The scope that was made for the warden, which must not have processes of its own to have children.
			if parent, err = ownCgroup(); err != nil {
				return nil, err
			}
			side := filepath.Join(parent, "warden")
			if err := os.Mkdir(side, 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(side, "cgroup.procs"), []byte("0"), 0); err != nil {
				return nil, err
			}
		}
		g.Dir = filepath.Join(parent, name)
		if g.Type == "cgroup2" {
			if err := passControllers(parent); err != nil {
				return nil, err
			}
		}
		if err := g.make(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// make makes the machine's cgroup in this hierarchy.
func (g cgroup) make() error {
	if err := os.Mkdir(g.Dir, 0o755); err != nil {
		return err
	}
	if g.Type != "cgroup" {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // v1 has none of them unless told
		if set, err := os.ReadFile(filepath.Join(filepath.Dir(g.Dir), file)); err == nil {
			if err := os.WriteFile(filepath.Join(g.Dir, file), set, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func ownCgroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	_, path, found := strings.Cut(strings.TrimSpace(string(text)), "0::")
	if !found {
		return "", fmt.Errorf("no cgroup in %q", text)
	}
	return filepath.Join(cgroupRoot, path), nil
}

// passControllers lets the children of a v2 cgroup use what it may use itself.
func passControllers(parent string) error {
	text, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(text)) {
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("cannot give cgroups under %s the controller %s: %w", parent, controller, err)
		}
	}
	return nil
}

// cgroupsOf finds what there is of a machine's cgroups.
func cgroupsOf(name string) (dirs []string) {
	all, err := hierarchies()
	if err != nil {
		return nil
	}
	for _, g := range all {
		for _, dir := range []string{filepath.Join(g.Mount, name), filepath.Join(g.Mount, "system.slice", name+".scope", name)} {
			if _, err := os.Stat(dir); err == nil {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// removeCgroup removes a cgroup and those in it. Their processes were killed just now; it may take a moment until the kernel
// lets go of the last.
func removeCgroup(dir string) error {
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var dirs []string
		if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		}); err != nil {
			return err
		}
		var last error
		for _, d := range slices.Backward(dirs) {
			if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
				last = err
			}
		}
		if last == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return last
		}
		<-tick.C
	}
}
