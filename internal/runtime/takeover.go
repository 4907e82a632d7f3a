package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// Foreign is a container that somebody else runs, with the same OCI runtime.
type Foreign struct {
	Root string // the runtime's state directory, absolute
	ID   string // of the container in it
}

// Takeover is a foreign container that is to become one of this Runtime's. Nothing of it is changed before Commit.
type Takeover struct {
	Identity  supervisor.Identity
	StartedAt time.Time

	r       *Runtime
	id      string
	foreign Foreign
	path    cgroupPath
	dirs    []string
}

// foreignState is what runc and crun write down of a container, as far as it is of use here.
type foreignState struct {
	// runc's state.json
	Pid         int               `json:"init_process_pid"`
	Start       uint64            `json:"init_process_start"`
	CgroupPaths map[string]string `json:"cgroup_paths"`
	Config      struct {
		Cgroups struct {
			Name    string `json:"name"`
			Parent  string `json:"parent"`
			Prefix  string `json:"scope_prefix"`
			Systemd bool   `json:"Systemd"`
		} `json:"cgroups"`
	} `json:"config"`
	// crun's status
	CrunPid    int    `json:"pid"`
	CrunStart  uint64 `json:"process-start-time"`
	CgroupPath string `json:"cgroup-path"`
	Systemd    bool   `json:"systemd-cgroup"`
}

// TakeOver looks whether a foreign container runs and can be taken over under a name. It asks no runtime. A container that
// does not run is supervisor.ErrNotFound.
func (r *Runtime) TakeOver(id string, f Foreign) (*Takeover, error) {
	if err := errors.Join(checkID(id), checkForeign(f)); err != nil {
		return nil, err
	}
	if r.Exists(id) {
		return nil, fmt.Errorf("the daemon has something by the name of %q already", id)
	}
	var state foreignState
	var name string
	for _, name = range []string{"state.json", "status"} {
		data, err := os.ReadFile(filepath.Join(f.Root, f.ID, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(data, &state)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read what the runtime keeps of %q: %w", f.ID, err)
		}
		break
	}
	init := initRecord{state.Pid, state.Start}
	if name == "status" {
		init = initRecord{state.CrunPid, state.CrunStart}
	}
	if init.pid <= 1 || init.start == 0 || !init.lives() {
		return nil, fmt.Errorf("%w: no container %q runs in %s", supervisor.ErrNotFound, f.ID, f.Root)
	}
	t := &Takeover{
		r: r, id: id, foreign: f, StartedAt: startedAt(init.start),
		Identity: supervisor.Identity{BootID: r.bootID, Pid: init.pid, StartTime: init.start},
	}
	return t, t.findCgroup(state)
}

func checkForeign(f Foreign) error {
	if !filepath.IsAbs(f.Root) || f.ID == "" || f.ID == "." || f.ID == ".." || strings.ContainsRune(f.ID, '/') {
		return fmt.Errorf("%q in %q is no container of a runtime", f.ID, f.Root)
	}
	return nil
}

// findCgroup finds the directories of the container's cgroup. Whatever is in them is ended with the container one day, so they
// have to be its own.
func (t *Takeover) findCgroup(state foreignState) error {
	own := state.Config.Cgroups
	switch {
	case own.Systemd:
		t.path = cgroupPath(own.Parent + ":" + own.Prefix + ":" + own.Name)
	case state.Systemd:
		return errors.New("containers that crun has put into a scope of systemd cannot be taken over; let the unit restart under runcsup instead")
	}
	dirs := map[string]bool{}
	for _, dir := range state.CgroupPaths {
		dirs[dir] = true
	}
	if state.CgroupPath != "" {
		for _, dir := range t.r.cgroup.at(state.CgroupPath).dirs {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			continue // of a controller that is not mounted here
		}
		t.dirs = append(t.dirs, dir)
	}
	slices.Sort(t.dirs)
	cg := cgroup{h: t.r.cgroup, path: "/taken-over"}.withDirs(t.dirs)
	found := 0
	for h, dir := range cg.dirs {
		found++
		if t.path == "" {
			rel, err := filepath.Rel(h.dir, dir)
			if err != nil {
				return fmt.Errorf("cannot tell the cgroup of %q: %w", t.foreign.ID, err)
			}
			t.path = cgroupPath("/" + rel)
		}
		one := cgroup{h: t.r.cgroup, path: cg.path}.withDirs([]string{dir})
		if !one.has(t.Identity.Pid) {
			return fmt.Errorf("process %d is not in its cgroup %s", t.Identity.Pid, dir)
		}
	}
	if found == 0 {
		return fmt.Errorf("cannot tell the cgroup of %q", t.foreign.ID)
	}
	if err := t.path.check(); err != nil {
		return err
	}
	return cg.guard()
}

// Remember writes down where the container's cgroup is. From then on Find knows the container by its Identity, and Remove ends
// all of it.
func (t *Takeover) Remember() error {
	if err := t.r.rememberCgroup(t.id, t.path); err != nil {
		return err
	}
	file := filepath.Join(t.r.cfg.CallDir, t.id, foreignCgroupFile)
	if err := os.WriteFile(file, []byte(foreignCgroupText(t.id, t.dirs)), 0o600); err != nil {
		return fmt.Errorf("cannot remember the cgroup: %w", err)
	}
	return nil
}

// CopyState gives this Runtime's runtime what the other one knows of the container, and asks it whether it understands.
func (t *Takeover) CopyState(ctx context.Context) error {
	from, to := filepath.Join(t.foreign.Root, t.foreign.ID), t.r.stateDir(t.id)
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("cannot read what the runtime keeps of %q: %w", t.foreign.ID, err)
	}
	if err := os.Mkdir(to, 0o711); err != nil {
		return fmt.Errorf("cannot copy the runtime's state: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue // a FIFO or socket of the start
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil && t.id != t.foreign.ID {
			data, err = renamed(data, t.id)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o600)
		}
		if err != nil {
			return fmt.Errorf("cannot copy the runtime's state: %w", err)
		}
	}
	state, err := t.r.state(ctx, t.id)
	switch {
	case err != nil:
		return fmt.Errorf("the daemon's runtime does not understand the state of the container; was it started by another one? %w", err)
	case state.Pid != t.Identity.Pid:
		return fmt.Errorf("%w: %s says that %q is %s, process %d", supervisor.ErrNotFound, t.r.name(), t.foreign.ID, state.Status, state.Pid)
	}
	return nil
}

// renamed changes the id in a file of the runtime's that has one.
func renamed(data []byte, id string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil || fields["id"] == nil {
		return data, nil
	}
	text, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	fields["id"] = text
	return json.Marshal(fields)
}

// Undo takes away all that was written, and nothing else.
func (t *Takeover) Undo() error {
	return errors.Join(os.RemoveAll(t.r.stateDir(t.id)), t.r.forget(t.id))
}

// Commit makes the other one forget the container: what it does by that name no longer touches this one.
func (t *Takeover) Commit() error {
	if err := os.RemoveAll(filepath.Join(t.foreign.Root, t.foreign.ID)); err != nil {
		return fmt.Errorf("cannot remove what the other runtime keeps of the container: %w", err)
	}
	return nil
}
