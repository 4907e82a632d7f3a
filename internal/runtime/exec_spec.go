package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/supervisor"
)

// execSpec is the process of a container's config.json with what the request says in its place.
func (r *Runtime) execSpec(id string, req ExecRequest) (*specs.Process, error) {
	dir, err := r.bundleOf(id)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the bundle: %w", err)
	}
	var config struct {
		Process *specs.Process `json:"process"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	p := config.Process
	if p == nil {
		return nil, fmt.Errorf("cannot read %s: it has no process", file)
	}
	p.Args, p.CommandLine, p.ConsoleSize, p.Terminal = req.Args, "", nil, req.Terminal != nil
	if req.Terminal != nil && req.Terminal.Rows > 0 && req.Terminal.Columns > 0 {
		p.ConsoleSize = &specs.Box{Height: uint(req.Terminal.Rows), Width: uint(req.Terminal.Columns)}
	}
	if req.Dir != "" {
		if !filepath.IsAbs(req.Dir) {
			return nil, fmt.Errorf("%w: working directory %q is not an absolute path", ErrBadExecRequest, req.Dir)
		}
		p.Cwd = req.Dir
	}
	if p.Env, err = mergeEnv(p.Env, req.Env); err != nil {
		return nil, err
	}
	if req.User != "" {
		init, ok := r.initPid(id)
		if !ok {
			return nil, fmt.Errorf("cannot look up user %q: %w", req.User, supervisor.ErrNotFound)
		}
		// With the passwd and group that the container sees, mounts included.
		who, err := bundle.LookupUser(fmt.Sprintf("/proc/%d/root", init), req.User)
		if err != nil {
			return nil, err
		}
		who.User.Umask = p.User.Umask
		p.User = who.User
	}
	return p, nil
}

// mergeEnv replaces and adds. A socket by which the container's init tells that it is ready is for the init alone: another
// process would speak in its name.
func mergeEnv(base, add []string) ([]string, error) {
	for _, kv := range add {
		if i := strings.IndexByte(kv, '='); i <= 0 || strings.IndexByte(kv, 0) >= 0 {
			key, _, _ := strings.Cut(kv, "=")
			return nil, fmt.Errorf("%w: environment %q is not of the form KEY=VALUE", ErrBadExecRequest, excerpt(key)) // the value may be a secret
		}
	}
	var env []string
	at := map[string]int{}
	for i, kv := range append(base[:len(base):len(base)], add...) {
		key, _, _ := strings.Cut(kv, "=")
		if key == "NOTIFY_SOCKET" && i < len(base) {
			continue
		}
		if j, again := at[key]; again {
			env[j] = kv
			continue
		}
		at[key] = len(env)
		env = append(env, kv)
	}
	return env, nil
}

// initPid is the container's init as far as this Runtime knows, else according to the runtime's files.
func (r *Runtime) initPid(id string) (int, bool) {
	if p := r.current(id); p != nil {
		return p.identity.Pid, true
	}
	init, ok := r.recordedInit(id)
	return init.pid, ok
}

// bundleOf is the directory of the bundle that a container was started from, according to the runtime's files.
func (r *Runtime) bundleOf(id string) (string, error) {
	var runc struct {
		Config struct {
			Labels []string `json:"labels"`
		} `json:"config"`
	}
	if r.readState(id, "state.json", &runc) {
		for _, label := range runc.Config.Labels {
			if dir, ok := strings.CutPrefix(label, "bundle="); ok {
				return dir, nil
			}
		}
	}
	var crun struct {
		Bundle string `json:"bundle"`
	}
	if r.readState(id, "status", &crun) && crun.Bundle != "" {
		return crun.Bundle, nil
	}
	if !r.hasState(id) {
		return "", supervisor.ErrNotFound
	}
	return "", fmt.Errorf("cannot tell the bundle of the container from the files of %s", r.name())
}
