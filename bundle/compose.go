package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// composed is a bundle without its root file system.
type composed struct {
	base *specs.Spec // before the patch; may be spec
	spec *specs.Spec // without a seccomp profile, until seal
	// record has what compose found out, not what plan and prepare know.
	record record
}

// compose turns options into a spec. rootfs is root.path; env has the effective variables of files and options.
func (b *Builder) compose(o Options, env map[string]string, who Account, rootfs string) (*composed, error) {
	taken := map[string]string{}
	c := &composed{record: record{HostNetwork: o.Network.Mode == NetworkHost}}
	r := &c.record
	mounts, sources, err := userMounts(o.Mounts, taken)
	if err != nil {
		return nil, err
	}
	r.Sources = sources
	secrets, copies, err := secretMounts(o.Secrets, b.secretsDir(o.Name), taken)
	if err != nil {
		return nil, err
	}
	r.Secrets = copies
	notify, err := o.Notify.mounts(b.NotifyDir(o.Name), env, taken)
	if err != nil {
		return nil, err
	}
	mode := o.Network.Mode
	if mode == "" {
		mode = NetworkNone
	}
	etc, names := etcMounts(b.etcDir(o.Name), mode, o.ReadOnly, taken)
	r.Etc = names
	if r.Hostname, err = b.hostname(o); err != nil {
		return nil, err
	}
	network, err := b.network(o, r)
	if err != nil {
		return nil, err
	}
	resources, err := o.Resources.limits(b.cfg.Host)
	if err != nil {
		return nil, err
	}
	process, err := b.process(o, env, who, r.Hostname)
	if err != nil {
		return nil, err
	}
	base := &specs.Spec{
		Version:  ociVersion,
		Process:  process,
		Root:     &specs.Root{Path: rootfs, Readonly: o.ReadOnly},
		Hostname: r.Hostname,
		Mounts:   slices.Concat(withoutTargets(defaultMounts(), taken), etc, byDepth(mounts, secrets, notify)),
		Linux: &specs.Linux{
			Resources:     resources,
			CgroupsPath:   b.cfg.CgroupsPath(o.Name),
			Namespaces:    namespaces(b.cfg.Host, network, mode != NetworkHost),
			MaskedPaths:   maskedPaths,
			ReadonlyPaths: readonlyPaths,
		},
	}
	c.base = base
	if c.spec, err = patched(base, o.OCI); err != nil {
		return nil, err
	}
	for i := range r.Secrets {
		r.Secrets[i].owner(c.spec)
	}
	return c, nil
}

func (b *Builder) hostname(o Options) (string, error) {
	switch {
	case len(o.Hostname) > maxHostname:
		return "", fmt.Errorf("hostname: longer than %d characters", maxHostname)
	case o.Hostname != "":
		return o.Hostname, nil
	case o.Network.Mode == NetworkHost:
		name, err := b.cfg.Host.Hostname()
		if err != nil {
			return "", fmt.Errorf("cannot tell the host's name: %w", err)
		}
		return name, nil
	}
	return o.Name, nil
}

func (b *Builder) network(o Options, r *record) (specs.LinuxNamespace, error) {
	ns := specs.LinuxNamespace{Type: specs.NetworkNamespace}
	switch o.Network.Mode {
	case NetworkNone, NetworkHost, "":
	case NetworkPath:
		if !filepath.IsAbs(o.Network.Path) {
			return ns, fmt.Errorf("network: netns: %q must be an absolute path", o.Network.Path)
		}
		ns.Path = o.Network.Path
		r.Sources = append(r.Sources, hostPath{"network", o.Network.Path})
	case NetworkContainer:
		switch {
		case b.cfg.NetnsOf == nil:
			return ns, errors.New("network: container: needs the daemon, and there is none here")
		case o.Network.Container == o.Name:
			return ns, errors.New("network: container: names the container itself")
		}
		if err := checkName(o.Network.Container); err != nil {
			return ns, fmt.Errorf("network: container: %w", err)
		}
		ns.Path = b.netnsLink(o.Name)
		r.NetnsOf = o.Network.Container
	default:
		return ns, fmt.Errorf("network: %q must be none, host, netns:PATH or container:NAME", o.Network.Mode)
	}
	return ns, nil
}

func (b *Builder) process(o Options, env map[string]string, who Account, hostname string) (*specs.Process, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("command: missing")
	}
	cwd := o.Workdir
	if cwd == "" {
		cwd = "/"
	}
	if !path.IsAbs(cwd) {
		return nil, fmt.Errorf("workdir: %q must be an absolute path", cwd)
	}
	capabilities, err := o.Capabilities.set(b.cfg.Host)
	if err != nil {
		return nil, err
	}
	all := map[string]string{"PATH": defaultPath, "HOME": who.Home, "HOSTNAME": hostname}
	maps.Copy(all, env)
	maps.Copy(all, o.Notify.variables())
	p := &specs.Process{
		User: who.User,
		Args: o.Command,
		Cwd:  cwd,
		Capabilities: &specs.LinuxCapabilities{
			Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		NoNewPrivileges: true,
		OOMScoreAdj:     new(int), // the daemon's own is not for containers
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p.Env = append(p.Env, name+"="+all[name])
	}
	for _, l := range o.Rlimits {
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: l.Type, Soft: l.Soft, Hard: l.Hard})
	}
	return p, nil
}

// patched applies the merge patch of oci: to base, which is checked before and after.
func patched(base *specs.Spec, oci map[string]any) (*specs.Spec, error) {
	if bad := validate(base); bad != nil {
		return nil, errors.New(joinMessage(definitionKey(bad.path), bad.message))
	}
	if len(oci) == 0 {
		return base, nil
	}
	data, err := json.Marshal(oci)
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	// By itself: a mistyped field that is set to null does not show in the result.
	if _, err := checkJSON("", data, specs.Spec{}); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	var patch any
	if err := decodeNumbers(data, &patch); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	out, err := applyPatch(base, patch)
	if err != nil {
		return nil, err
	}
	if out.Root.Path != base.Root.Path {
		return nil, errors.New("oci: root.path: is set by rootfs and rootfs-archive")
	}
	return out, nil
}

// seal adds the seccomp profile for the capabilities that the patch left, has the patch change that too, and encodes the
// result. Plans do without: it is most of the work, and cannot fail for what a definition says.
func (c *composed) seal(o Options) (config []byte, err error) {
	profileFor := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}
	if capabilities := c.spec.Process.Capabilities; capabilities != nil {
		profileFor.Process.Capabilities = capabilities
	}
	if c.base.Linux.Seccomp, err = seccomp.GetDefaultProfile(profileFor); err != nil {
		return nil, fmt.Errorf("cannot make the seccomp profile: %w", err)
	}
	if c.spec, err = patched(c.base, o.OCI); err != nil {
		return nil, err
	}
	return encodeConfig(c.spec)
}

// definitionKey turns a path in a generated config.json into the key of the definition that it comes from.
func definitionKey(path string) string {
	for _, p := range []struct{ config, key string }{
		{"process.args", "command"}, {"process.cwd", "workdir"}, {"process.rlimits", "rlimits"}, {"process.env", "env"},
	} {
		if rest, ok := strings.CutPrefix(path, p.config); ok {
			return p.key + rest
		}
	}
	return path
}

func applyPatch(base *specs.Spec, patch any) (*specs.Spec, error) {
	data, err := json.Marshal(base)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", configFile, err)
	}
	var target any
	if err := decodeNumbers(data, &target); err != nil {
		return nil, fmt.Errorf("cannot decode %s: %w", configFile, err)
	}
	if data, err = json.Marshal(mergePatch(target, patch)); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	if _, err := checkJSON("", data, specs.Spec{}); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	out := &specs.Spec{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	if bad := validate(out); bad != nil {
		return nil, fmt.Errorf("oci: %s", joinMessage(bad.path, bad.message))
	}
	return out, nil
}

// decodeNumbers decodes without turning numbers into floats, which would lose digits.
func decodeNumbers(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec.Decode(into)
}

func encodeConfig(config any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	if err := enc.Encode(config); err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", configFile, err)
	}
	return out.Bytes(), nil
}
