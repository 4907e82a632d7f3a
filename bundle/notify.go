package bundle

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Notify asks for a socket of sd_notify(3) for the container. It is in a directory of its own, which is mounted: so whoever
// listens can make a new socket while the container runs.
type Notify struct {
	// Watchdog is how far apart the container's WATCHDOG=1 may be, 0 if nobody looks at them.
	Watchdog time.Duration
}

// NotifySocket is the socket's name in its directory.
const NotifySocket = "notify.sock"

// notifyTarget is where the directory is in the container: at the place where podman has its own.
const notifyTarget = "/run/notify"

const (
	notifyVariable   = "NOTIFY_SOCKET"
	watchdogVariable = "WATCHDOG_USEC"
)

// NotifyDir is the directory of a container's notify socket on the host. Who listens has to make it before a start. It must
// be reachable by nobody but root: in the container it is there by its mount alone.
func (b *Builder) NotifyDir(name string) string { return filepath.Join(b.cfg.RunDir, "notify", name) }

// variables are what the container finds in its environment.
func (n *Notify) variables() map[string]string {
	if n == nil {
		return nil
	}
	all := map[string]string{notifyVariable: notifyTarget + "/" + NotifySocket}
	if n.Watchdog > 0 {
		all[watchdogVariable] = strconv.FormatInt(n.Watchdog.Microseconds(), 10)
	}
	return all
}

// mount is the directory of the socket. Read-only does not keep anybody from sending to a socket.
func (n *Notify) mount(dir string) specs.Mount {
	return specs.Mount{
		Destination: notifyTarget, Type: "bind", Source: dir,
		Options: []string{"rbind", "rprivate", "ro", "nosuid", "nodev", "noexec"},
	}
}

// mounts is the directory of the socket as a list, empty without one.
func (n *Notify) mounts(dir string, env map[string]string, taken map[string]string) ([]specs.Mount, error) {
	if n == nil {
		return nil, nil
	}
	for _, name := range []string{notifyVariable, watchdogVariable} {
		if _, set := env[name]; set {
			return nil, fmt.Errorf("env.%s: is set here already, for a container that is asked to notify", name)
		}
	}
	if err := checkTarget("notify", notifyTarget, taken); err != nil {
		return nil, err
	}
	return []specs.Mount{n.mount(dir)}, nil
}

// addTo adds mount and variables to a ready bundle's config.json.
func (n *Notify) addTo(config map[string]any, dir string) error {
	if n == nil {
		return nil
	}
	process, ok := config["process"].(map[string]any)
	if !ok {
		return errors.New("config.json has no process")
	}
	given, _ := process["env"].([]any)
	env := slices.DeleteFunc(slices.Clone(given), func(v any) bool {
		name, _, _ := strings.Cut(fmt.Sprint(v), "=")
		return name == notifyVariable || name == watchdogVariable // for another service manager
	})
	for name, value := range n.variables() {
		env = append(env, name+"="+value)
	}
	slices.SortStableFunc(env[len(env)-len(n.variables()):], func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	process["env"] = env
	mounts, _ := config["mounts"].([]any)
	config["mounts"] = append(slices.Clone(mounts), n.mount(dir))
	return nil
}

// addNotifyPart notes what only a new instance can take over.
func addNotifyPart(parts map[string]string, n *Notify) {
	if n != nil {
		addPart(parts, "notify", "on "+n.Watchdog.String())
	}
}
