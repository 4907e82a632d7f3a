package bundle

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var namespaceTypes = []specs.LinuxNamespaceType{
	specs.PIDNamespace, specs.NetworkNamespace, specs.MountNamespace, specs.IPCNamespace, specs.UTSNamespace,
	specs.UserNamespace, specs.CgroupNamespace, specs.TimeNamespace,
}

var rlimitTypes = []string{
	"RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK",
	"RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
	"RLIMIT_SIGPENDING", "RLIMIT_STACK",
}

// invalid is what is wrong with a spec, and where in it.
type invalid struct{ path, message string }

// validate returns what a runtime would refuse, or take and not do, beyond what the types say; nil when nothing. Values
// of environment variables are not in the messages.
func validate(s *specs.Spec) *invalid {
	for _, check := range []func(*specs.Spec) *invalid{
		validateProcess, validateCapabilities, validateRoot, validateMounts, validateLinux, validateHooks,
	} {
		if bad := check(s); bad != nil {
			return bad
		}
	}
	return nil
}

func validateProcess(s *specs.Spec) *invalid {
	if s.Version == "" {
		return &invalid{"ociVersion", `missing: set it to "1.0.2"`}
	}
	if !strings.HasPrefix(s.Version, "1.") {
		return &invalid{"ociVersion", fmt.Sprintf("version %q is not known: set it to \"1.0.2\"", s.Version)}
	}
	p := s.Process
	if p == nil {
		return &invalid{"process", "missing: nothing says what to run"}
	}
	if p.Terminal {
		return &invalid{"process.terminal", "is true, and a service has no terminal: set process.terminal to false"}
	}
	if len(p.Args) == 0 || p.Args[0] == "" {
		return &invalid{"process.args", "missing or empty: nothing says what to run"}
	}
	for i, arg := range p.Args {
		if strings.ContainsRune(arg, 0) {
			return &invalid{fmt.Sprintf("process.args[%d]", i), "has a NUL character"}
		}
	}
	if !path.IsAbs(p.Cwd) {
		return &invalid{"process.cwd", fmt.Sprintf("%q must be an absolute path", p.Cwd)}
	}
	for i, env := range p.Env {
		if name, _, ok := strings.Cut(env, "="); !ok || name == "" || strings.ContainsRune(env, 0) {
			return &invalid{fmt.Sprintf("process.env[%d]", i), "must be NAME=VALUE"}
		}
	}
	seen := map[string]bool{}
	for i, r := range p.Rlimits {
		at := fmt.Sprintf("process.rlimits[%d]", i)
		switch {
		case !slices.Contains(rlimitTypes, r.Type):
			return &invalid{at + ".type", fmt.Sprintf("unknown rlimit %q", r.Type)}
		case seen[r.Type]:
			return &invalid{at + ".type", r.Type + " is there twice"}
		case r.Soft > r.Hard:
			return &invalid{at + ".soft", fmt.Sprintf("%d is above the hard limit %d", r.Soft, r.Hard)}
		}
		seen[r.Type] = true
	}
	return nil
}

func validateCapabilities(s *specs.Spec) *invalid {
	c := s.Process.Capabilities
	if c == nil {
		return nil
	}
	for _, set := range []struct {
		name string
		list []string
	}{
		{"bounding", c.Bounding}, {"effective", c.Effective}, {"inheritable", c.Inheritable},
		{"permitted", c.Permitted}, {"ambient", c.Ambient},
	} {
		for i, name := range set.list {
			if err := checkCapability(name); err != nil {
				return &invalid{fmt.Sprintf("process.capabilities.%s[%d]", set.name, i), err.Error()}
			}
		}
	}
	return nil
}

func validateRoot(s *specs.Spec) *invalid {
	if s.Root == nil {
		return &invalid{"root", "missing: there is no root file system"}
	}
	if s.Root.Path == "" {
		return &invalid{"root.path", "missing or empty"}
	}
	return nil
}

func validateMounts(s *specs.Spec) *invalid {
	for i, m := range s.Mounts {
		at := fmt.Sprintf("mounts[%d]", i)
		switch {
		case !path.IsAbs(m.Destination):
			return &invalid{at + ".destination", fmt.Sprintf("%q must be an absolute path", m.Destination)}
		case path.Clean(m.Destination) == "/":
			return &invalid{at + ".destination", "must not be /: that is the root file system"}
		case isBind(m) && m.Source == "":
			return &invalid{at + ".source", "missing: a bind mount needs one"}
		case !isBind(m) && m.Type == "":
			return &invalid{at + ".type", "missing, and the options have neither bind nor rbind"}
		}
	}
	return nil
}

// isBind tells what runtimes take for a bind mount: the type is only a hint beside the options.
func isBind(m specs.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

func validateLinux(s *specs.Spec) *invalid {
	if s.Linux == nil {
		return nil
	}
	own := map[specs.LinuxNamespaceType]bool{}
	for i, ns := range s.Linux.Namespaces {
		at := fmt.Sprintf("linux.namespaces[%d]", i)
		switch {
		case !slices.Contains(namespaceTypes, ns.Type):
			return &invalid{at + ".type", fmt.Sprintf("unknown namespace %q", ns.Type)}
		case own[ns.Type]:
			return &invalid{at + ".type", fmt.Sprintf("namespace %q is there twice", ns.Type)}
		case ns.Path != "" && !path.IsAbs(ns.Path):
			return &invalid{at + ".path", fmt.Sprintf("%q must be an absolute path", ns.Path)}
		}
		own[ns.Type] = true
	}
	if s.Hostname != "" && !own[specs.UTSNamespace] {
		return &invalid{"hostname", "needs a namespace of type uts in linux.namespaces"}
	}
	if len(s.Hostname) > maxHostname {
		return &invalid{"hostname", fmt.Sprintf("is longer than %d characters", maxHostname)}
	}
	return nil
}

// maxHostname is the kernel's limit (sethostname(2)).
const maxHostname = 64

func validateHooks(s *specs.Spec) *invalid {
	if s.Hooks == nil {
		return nil
	}
	for _, kind := range []struct {
		name  string
		hooks []specs.Hook
	}{
		//nolint:staticcheck // Deprecated, and still run by every runtime.
		{"prestart", s.Hooks.Prestart},
		{"createRuntime", s.Hooks.CreateRuntime}, {"createContainer", s.Hooks.CreateContainer},
		{"startContainer", s.Hooks.StartContainer}, {"poststart", s.Hooks.Poststart}, {"poststop", s.Hooks.Poststop},
	} {
		for i, hook := range kind.hooks {
			if !path.IsAbs(hook.Path) {
				return &invalid{fmt.Sprintf("hooks.%s[%d].path", kind.name, i),
					fmt.Sprintf("%q must be an absolute path", hook.Path)}
			}
		}
	}
	return nil
}
