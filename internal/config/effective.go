package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/supervisor"
)

// Effective returns the definition as JSON with the keys of the format and all defaults filled in. Of env it has the
// names alone: what is shown to many must not hold what is meant for one container.
func (d *Definition) Effective() (json.RawMessage, error) {
	b := d.Bundle
	out := map[string]any{
		"enabled": d.Enabled,
		"restart": effectiveRestart(d.Restart),
		"stop":    map[string]any{"signal": signalName(d.Stop.Signal), "timeout": shortDuration(d.Stop.Timeout)},
		"log":     effectiveLog(d.Log),
		"type":    "simple",
	}
	set := func(key string, value any, isSet bool) {
		if isSet {
			out[key] = value
		}
	}
	if d.Oneshot {
		out["type"] = "oneshot"
	} else {
		out["ready"] = effectiveReady(d.Ready)
	}
	set("after", d.Order.After, len(d.Order.After) > 0)
	set("requires", d.Order.Requires, len(d.Order.Requires) > 0)
	set("bindsTo", d.Order.BindsTo, len(d.Order.BindsTo) > 0)
	set("health", effectiveHealth(d.Health), !d.Health.Empty())
	set("bundle", b.Bundle, b.Bundle != "")
	set("rootfs", b.Rootfs, b.Rootfs != "")
	set("rootfs-archive", b.RootfsArchive, b.RootfsArchive != "")
	if b.Bundle == "" {
		out["command"] = b.Command
		out["env"] = slices.Sorted(maps.Keys(b.Env))
		out["envFile"] = slices.Concat([]string{}, b.EnvFiles)
		out["readOnly"] = b.ReadOnly
		out["user"] = orDefault(b.User, "0:0")
		out["workdir"] = orDefault(b.Workdir, "/")
		out["network"] = effectiveNetwork(b.Network)
		out["capabilities"] = map[string]any{"add": slices.Concat([]string{}, b.Capabilities.Add), "drop": slices.Concat([]string{}, b.Capabilities.Drop)}
		set("hostname", b.Hostname, b.Hostname != "")
		set("mounts", effectiveMounts(b.Mounts), len(b.Mounts) > 0)
		set("secrets", effectiveSecrets(b.Secrets), len(b.Secrets) > 0)
		set("resources", effectiveResources(b.Resources), b.Resources != bundle.Resources{})
		set("rlimits", effectiveRlimits(b.Rlimits), len(b.Rlimits) > 0)
		set("oci", b.OCI, len(b.OCI) > 0)
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("definition of %q: %w", d.Name, err)
	}
	return data, nil
}

func effectiveReady(r supervisor.ReadyPolicy) map[string]any {
	out := map[string]any{"on": r.On}
	if r.Timeout > 0 {
		out["timeout"] = shortDuration(r.Timeout)
	}
	return out
}

// shortDuration is a duration as people write it: 5m, not 5m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func orDefault(value, def string) string {
	if value == "" {
		return def
	}
	return value
}

func effectiveRestart(r supervisor.RestartPolicy) map[string]any {
	return map[string]any{
		"policy": r.Mode, "delay": shortDuration(r.Delay), "maxDelay": shortDuration(r.MaxDelay), "steps": r.Steps,
		"jitter": fmt.Sprintf("%g%%", r.Jitter*100), "resetAfter": shortDuration(r.ResetAfter),
		"limit":             effectiveLimit(r.Limit),
		"preventExitStatus": effectiveStatuses(r.PreventStatuses), "forceExitStatus": effectiveStatuses(r.ForceStatuses),
		"successExitStatus": effectiveStatuses(r.SuccessStatuses),
	}
}

// effectiveLimit is null where there is none.
func effectiveLimit(l supervisor.StartLimit) any {
	if l.Burst == 0 {
		return nil
	}
	return map[string]any{"burst": l.Burst, "interval": shortDuration(l.Interval)}
}

func effectiveStatuses(s supervisor.StatusSet) []any {
	out := []any{}
	for _, c := range s.Codes {
		out = append(out, c)
	}
	for _, sig := range s.Signals {
		out = append(out, signalName(sig))
	}
	return out
}

func signalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return fmt.Sprintf("RTMIN+%d", int(s)-sigRTMin)
}

func effectiveNetwork(n bundle.Network) string {
	switch n.Mode {
	case bundle.NetworkPath:
		return "netns:" + n.Path
	case bundle.NetworkContainer:
		return "container:" + n.Container
	case "":
		return string(bundle.NetworkNone)
	}
	return string(n.Mode)
}

func effectiveMounts(mounts []bundle.Mount) []any {
	var out []any
	for _, m := range mounts {
		one := map[string]any{"type": orDefault(m.Type, "bind"), "target": m.Target, "readOnly": m.ReadOnly}
		if m.Source != "" {
			one["source"] = m.Source
		}
		if m.Size != 0 {
			one["size"] = m.Size
		}
		if m.Mode != "" {
			one["mode"] = m.Mode
		}
		if len(m.Options) > 0 {
			one["options"] = m.Options
		}
		out = append(out, one)
	}
	return out
}

func effectiveSecrets(secrets []bundle.Secret) []any {
	var out []any
	for _, s := range secrets {
		mode := s.Mode
		if mode == 0 {
			mode = 0o400
		}
		out = append(out, map[string]any{"source": s.Source, "target": s.Target, "mode": fmt.Sprintf("%04o", mode)})
	}
	return out
}

func effectiveResources(r bundle.Resources) map[string]any {
	out := map[string]any{}
	if r.Memory != 0 {
		out["memory"] = r.Memory
	}
	if r.CPUs != 0 {
		out["cpus"] = r.CPUs
	}
	if r.Pids != 0 {
		out["pids"] = r.Pids
	}
	return out
}

func effectiveRlimits(limits []bundle.Rlimit) map[string]any {
	out := map[string]any{}
	for _, l := range limits {
		out[strings.ToLower(strings.TrimPrefix(l.Type, "RLIMIT_"))] = map[string]any{
			"soft": effectiveRlimit(l.Soft), "hard": effectiveRlimit(l.Hard),
		}
	}
	return out
}

func effectiveRlimit(n uint64) any {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return n
}
