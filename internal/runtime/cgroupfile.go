package runtime

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

// cgroupFile has a container's cgroup: its path, and in a second line a checksum of it and of the container's name. Whatever is
// in that cgroup is killed when the container is removed, so that a damaged path must not be taken for another one.
const cgroupFile = "cgroup"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func cgroupChecksum(id, path string) string {
	return fmt.Sprintf("crc32c:%08x", crc32.Checksum([]byte(id+"\n"+path), castagnoli))
}

// rememberCgroup writes down a container's cgroup for Remove and Find, also those of a later daemon.
func (r *Runtime) rememberCgroup(id string, path cgroupPath) error {
	dir, err := r.makeCallDir(id)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, cgroupFile)
	err = os.WriteFile(file+".new", []byte(string(path)+"\n"+cgroupChecksum(id, string(path))+"\n"), 0o600)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("cannot remember the cgroup: %w", err)
	}
	return nil
}

// cgroupPathOf is the remembered one, else the one that containers have unless their bundle says otherwise.
func (r *Runtime) cgroupPathOf(id string) cgroupPath {
	data, err := os.ReadFile(filepath.Join(r.cfg.CallDir, id, cgroupFile))
	if path, ok := parseCgroupFile(id, string(data)); err == nil && ok {
		return path
	}
	return cgroupPath(r.CgroupsPath(id))
}

func (r *Runtime) cgroupOf(id string) cgroup {
	c := r.cgroup.at(r.cgroupPathOf(id).dir())
	if dirs := r.foreignCgroup(id); dirs != nil {
		return c.withDirs(dirs)
	}
	return c
}

// parseCgroupFile reads what rememberCgroup wrote.
func parseCgroupFile(id, text string) (path cgroupPath, ok bool) {
	first, sum, _ := strings.Cut(text, "\n")
	path = cgroupPath(first)
	return path, strings.TrimSuffix(sum, "\n") == cgroupChecksum(id, first) && path.check() == nil
}
