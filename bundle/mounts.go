package bundle

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var propagations = []string{
	"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
}

// hostPath is a path of the user's that must exist before a start, with the words that name it in an error.
type hostPath struct {
	Key  string `json:"key"` // "mounts[1].source"
	Path string `json:"path"`
}

func (h hostPath) check() error {
	if _, err := os.Stat(h.Path); err != nil {
		return fmt.Errorf("%s: %w", h.Key, missing(h.Path, err))
	}
	return nil
}

// checkTarget refuses what no mount can be on, and targets that two entries name.
func checkTarget(key, target string, taken map[string]string) error {
	clean := path.Clean(target)
	switch {
	case !path.IsAbs(target):
		return fmt.Errorf("%s: %q must be an absolute path", key, target)
	case clean == "/":
		return fmt.Errorf("%s: must not be /: that is the root file system", key)
	case taken[clean] != "":
		return fmt.Errorf("%s: %s is the target of %s already", key, clean, taken[clean])
	}
	taken[clean] = key
	return nil
}

// userMounts turns mounts: into those of the runtime-spec.
func userMounts(list []Mount, taken map[string]string) (mounts []specs.Mount, sources []hostPath, err error) {
	for i, m := range list {
		key := fmt.Sprintf("mounts[%d]", i)
		if err := checkTarget(key+".target", m.Target, taken); err != nil {
			return nil, nil, err
		}
		var mount specs.Mount
		switch m.Type {
		case "", "bind":
			mount, err = bindMount(key, m)
			sources = append(sources, hostPath{key + ".source", m.Source})
		case "tmpfs":
			mount, err = tmpfsMount(key, m)
		default:
			err = fmt.Errorf("%s.type: %q must be bind or tmpfs", key, m.Type)
		}
		if err != nil {
			return nil, nil, err
		}
		mounts = append(mounts, mount)
	}
	return mounts, sources, nil
}

func bindMount(key string, m Mount) (specs.Mount, error) {
	switch {
	case m.Source == "":
		return specs.Mount{}, fmt.Errorf("%s.source: missing", key)
	case !filepath.IsAbs(m.Source):
		return specs.Mount{}, fmt.Errorf("%s.source: %q must be an absolute path", key, m.Source)
	case m.Size != 0 || m.Mode != "":
		return specs.Mount{}, fmt.Errorf("%s: size and mode are for tmpfs only", key)
	}
	var options []string
	if !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
		options = append(options, "rbind")
	}
	if !slices.ContainsFunc(m.Options, func(o string) bool { return slices.Contains(propagations, o) }) {
		options = append(options, "rprivate")
	}
	return specs.Mount{
		Destination: m.Target, Type: "bind", Source: m.Source, Options: append(access(options, m.ReadOnly), m.Options...),
	}, nil
}

func tmpfsMount(key string, m Mount) (specs.Mount, error) {
	if m.Source != "" {
		return specs.Mount{}, fmt.Errorf("%s.source: a tmpfs has none", key)
	}
	mode := "1777"
	if m.Mode != "" {
		bits, err := strconv.ParseUint(m.Mode, 8, 32)
		if err != nil || bits > 0o7777 {
			return specs.Mount{}, fmt.Errorf("%s.mode: %q must be octal, 0 to 7777", key, m.Mode)
		}
		mode = strconv.FormatUint(bits, 8)
	}
	if m.Size < 0 {
		return specs.Mount{}, fmt.Errorf("%s.size: %d must not be negative", key, m.Size)
	}
	options := []string{"nosuid", "nodev", "mode=" + mode}
	if m.Size > 0 {
		options = append(options, fmt.Sprintf("size=%d", m.Size))
	}
	return specs.Mount{
		Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: append(access(options, m.ReadOnly), m.Options...),
	}, nil
}

func access(options []string, readOnly bool) []string {
	if readOnly {
		return append(options, "ro")
	}
	return append(options, "rw")
}

// etcMounts are the files of /etc that come from the host (etcfiles.go), but for those below a mount of the user's.
func etcMounts(dir string, mode NetworkMode, readOnly bool, taken map[string]string) (mounts []specs.Mount, names []string) {
	for _, name := range etcNames(mode) {
		target := "/etc/" + name
		if coveredBy(target, taken) {
			continue
		}
		mounts = append(mounts, specs.Mount{
			Destination: target, Type: "bind", Source: filepath.Join(dir, name),
			Options: access([]string{"rbind", "rprivate", "nosuid", "nodev", "noexec"}, readOnly),
		})
		names = append(names, name)
	}
	return mounts, names
}

func coveredBy(target string, taken map[string]string) bool {
	for ; target != "/"; target = path.Dir(target) {
		if taken[target] != "" {
			return true
		}
	}
	return false
}

// secretMounts are the copies of secrets in dir.
func secretMounts(list []Secret, dir string, taken map[string]string) (mounts []specs.Mount, copies []secretCopy, err error) {
	for i, s := range list {
		key := fmt.Sprintf("secrets[%d]", i)
		if err := checkTarget(key+".target", s.Target, taken); err != nil {
			return nil, nil, err
		}
		mode := s.Mode
		switch {
		case !filepath.IsAbs(s.Source):
			return nil, nil, fmt.Errorf("%s.source: %q must be an absolute path", key, s.Source)
		case mode&^os.ModePerm != 0:
			return nil, nil, fmt.Errorf("%s.mode: %04o has more than permission bits", key, uint32(mode))
		case mode == 0:
			mode = 0o400
		}
		mounts = append(mounts, specs.Mount{
			Destination: s.Target, Type: "bind", Source: filepath.Join(dir, strconv.Itoa(i)),
			Options: []string{"rbind", "rprivate", "ro", "nosuid", "nodev", "noexec"},
		})
		copies = append(copies, secretCopy{
			Source: hostPath{key + ".source", s.Source}, File: strconv.Itoa(i), Mode: uint32(mode)})
	}
	return mounts, copies, nil
}

// byDepth puts mounts in an order in which none hides another one.
func byDepth(lists ...[]specs.Mount) []specs.Mount {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b specs.Mount) int {
		return strings.Count(path.Clean(a.Destination), "/") - strings.Count(path.Clean(b.Destination), "/")
	})
	return all
}

// withoutTargets drops the default mounts that the user's replace.
func withoutTargets(mounts []specs.Mount, taken map[string]string) []specs.Mount {
	return slices.DeleteFunc(mounts, func(m specs.Mount) bool { return taken[m.Destination] != "" })
}
