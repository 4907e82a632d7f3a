package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Plan is a bundle that could be built: everything was read and checked that can be without writing.
type Plan struct {
	Name string
	// Hash identifies everything that only a new instance can take over: equal hashes, same container. The limits in
	// Resources are not in it, nor is what is read anew at every start (secrets, the host's resolv.conf).
	Hash string
	// Resources are the limits that a running container can take over, never nil. What has no limit is -1
	// (processes: as many as the kernel ever allows).
	Resources *specs.LinuxResources
	// Path is the directory that users know the bundle by: their own for a ready one.
	Path string
	// Inputs are the files whose content the plan depends on; see Options.Inputs.
	Inputs []string

	options Options
	env     map[string]string
	parts   map[string]string
	rootfs  string         // root.path
	archive *archiveDigest // nil without rootfs-archive
	ready   *readyBundle   // nil without bundle
}

// Plan reads and checks what o names. It writes nothing. Errors name the key of the definition, or file, line and column
// of a ready bundle's config.json; what is not there has ErrMissing in its chain.
func (b *Builder) Plan(ctx context.Context, o Options) (*Plan, error) {
	if err := checkName(o.Name); err != nil {
		return nil, err
	}
	p := &Plan{Name: o.Name, Path: b.dir(o.Name), Inputs: o.Inputs(), options: o, parts: map[string]string{}}
	var err error
	switch {
	case !exactlyOne(o.Bundle, o.Rootfs, o.RootfsArchive):
		err = errors.New("exactly one of bundle, rootfs and rootfs-archive is needed")
	case o.Bundle != "":
		err = b.planReady(p)
	default:
		err = b.planDefinition(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	p.Hash = hashOf(p.parts)
	return p, nil
}

func exactlyOne(values ...string) bool {
	n := 0
	for _, v := range values {
		if v != "" {
			n++
		}
	}
	return n == 1
}

func (b *Builder) planReady(p *Plan) error {
	if !p.options.onlyBundle() {
		return errors.New("bundle: its config.json says everything, so no other key is allowed beside it")
	}
	r, err := b.readReady(p.Name, p.options.Bundle, p.options.Notify)
	if err != nil {
		return err
	}
	p.ready, p.parts, p.Path = r, r.parts, p.options.Bundle
	addNotifyPart(p.parts, p.options.Notify)
	p.Resources = live(linuxResources(r.spec), b.cfg.Host)
	return nil
}

func linuxResources(s *specs.Spec) *specs.LinuxResources {
	if s.Linux == nil {
		return nil
	}
	return s.Linux.Resources
}

func (b *Builder) planDefinition(ctx context.Context, p *Plan) error {
	o := p.options
	if err := p.readEnv(); err != nil {
		return err
	}
	who := Account{Home: "/"}
	lookIn := ""
	if o.Rootfs != "" {
		rootfs, err := realDir("rootfs", o.Rootfs)
		if err != nil {
			return err
		}
		p.rootfs, lookIn = rootfs, rootfs
		addPart(p.parts, "rootfs", rootfs)
	} else {
		if !filepath.IsAbs(o.RootfsArchive) {
			return fmt.Errorf("rootfs-archive: %q must be an absolute path", o.RootfsArchive)
		}
		installed := b.unpacked(o.Name)
		digest, err := b.digestOf(ctx, o.RootfsArchive, installed)
		if err != nil {
			return fmt.Errorf("rootfs-archive: %w", err)
		}
		p.rootfs, p.archive = b.rootfsDir(o.Name), digest
		addPart(p.parts, "rootfs-archive", digest.Digest)
		if installed != nil && installed.Digest == digest.Digest {
			lookIn = p.rootfs
		}
	}
	// The users of an archive that was not unpacked yet are known when it is built.
	if lookIn != "" {
		var err error
		if who, err = LookupUser(lookIn, o.User); err != nil {
			return err
		}
	}
	c, err := b.compose(o, p.env, who, p.rootfs)
	if err != nil {
		return err
	}
	if err := checkSources(&c.record); err != nil {
		return err
	}
	p.Resources = live(linuxResources(c.spec), b.cfg.Host)
	return p.addOptionParts(b.cfg.Host)
}

// unpacked returns what archive lies unpacked in place, nil when none does.
func (b *Builder) unpacked(name string) *archiveDigest {
	r, _, err := readRecord(b.dir(name))
	if err != nil || r.Archive == nil || !exists(b.rootfsDir(name)) {
		return nil
	}
	return r.Archive
}

func realDir(key, dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("%s: %q must be an absolute path", key, dir)
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, missing(dir, err))
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, missing(dir, err))
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s: %s: not a directory", key, dir)
	}
	if resolved == "/" {
		return "", fmt.Errorf("%s: %s: is the root file system of the host", key, dir)
	}
	return resolved, nil
}

// checkSources tells which of the user's files a start would not find.
func checkSources(r *record) error {
	for _, s := range r.Sources {
		if err := s.check(); err != nil {
			return err
		}
	}
	for _, s := range r.Secrets {
		if err := s.Source.check(); err != nil {
			return err
		}
	}
	return nil
}

// readEnv reads the env files and merges them with env, noting where each variable that counts comes from.
func (p *Plan) readEnv() error {
	p.env = map[string]string{}
	from := map[string]string{}
	for i, file := range p.options.EnvFiles {
		if !filepath.IsAbs(file) {
			return fmt.Errorf("envFile[%d]: %q must be an absolute path", i, file)
		}
		list, err := readEnvFile(file)
		if err != nil {
			return fmt.Errorf("envFile[%d]: %w", i, err)
		}
		for _, a := range list {
			p.env[a.name], from[a.name] = a.value, "envFile "+file
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.options.Env)) {
		value := p.options.Env[name]
		if err := checkEnvName(name); err != nil {
			return fmt.Errorf("env: %w", err)
		}
		if err := checkEnvValue(value); err != nil {
			return fmt.Errorf("env.%s: %w", name, err)
		}
		p.env[name], from[name] = value, "env "+name
	}
	byPart := map[string]map[string]string{}
	for name, part := range from {
		if byPart[part] == nil {
			byPart[part] = map[string]string{}
		}
		byPart[part][name] = p.env[name]
	}
	for part, values := range byPart {
		addPart(p.parts, part, values)
	}
	return nil
}

// addOptionParts adds what the keys of the definition say, in a form in which equal things are equal.
func (p *Plan) addOptionParts(host Host) error {
	o := p.options
	capabilities, err := o.Capabilities.set(host)
	if err != nil {
		return err
	}
	addPart(p.parts, "capabilities", capabilities)
	addPart(p.parts, "command", o.Command)
	if o.Workdir != "/" {
		addPart(p.parts, "workdir", o.Workdir)
	}
	if o.Network.Mode != NetworkNone {
		addPart(p.parts, "network", o.Network)
	}
	oci := o.OCI
	if linux, ok := oci["linux"].(map[string]any); ok {
		if resources, ok := linux["resources"].(map[string]any); ok {
			linux = maps.Clone(linux)
			delete(linux, "resources")
			if rest := withoutLive(resources); rest != nil {
				linux["resources"] = rest
			}
			oci = maps.Clone(oci)
			delete(oci, "linux")
			if len(linux) > 0 {
				oci["linux"] = linux
			}
		}
	}
	addPart(p.parts, "user", o.User)
	addPart(p.parts, "readOnly", o.ReadOnly)
	addPart(p.parts, "hostname", o.Hostname)
	addPart(p.parts, "mounts", o.Mounts)
	addPart(p.parts, "secrets", o.Secrets)
	addPart(p.parts, "rlimits", o.Rlimits)
	addPart(p.parts, "oci", oci)
	addNotifyPart(p.parts, o.Notify)
	return nil
}

// addPart notes the digest of a value, unless it is an empty one. Digests, not values: parts are shown and kept.
func addPart(parts map[string]string, name string, value any) {
	if isEmpty(reflect.ValueOf(value)) {
		return
	}
	data, err := json.Marshal(value) // sorted keys
	if err != nil {
		data = fmt.Appendf(nil, "%#v", value) // what JSON cannot hold, such as NaN, is refused elsewhere
	}
	parts[name] = sumOf(data)
}

func hashOf(parts map[string]string) string {
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintf(&all, "%q %s\n", name, parts[name])
	}
	return sumOf([]byte(all.String()))
}

// Changes tells what differs from old, in the words of the definition or of config.json ("command", "env TZ",
// "config.json process.args", "resources memory"), sorted and without any values. Nil old is a new container: nothing.
func (p *Plan) Changes(old *Prepared) []string {
	if old == nil {
		return nil
	}
	before, now := sourceKind(old.record.Parts), sourceKind(p.parts)
	if before != now {
		return []string{now + " instead of " + before}
	}
	var changes []string
	for name := range p.parts {
		if p.parts[name] != old.record.Parts[name] {
			changes = append(changes, name)
		}
	}
	for name := range old.record.Parts {
		if _, ok := p.parts[name]; !ok {
			changes = append(changes, name)
		}
	}
	return append(slices.Sorted(slices.Values(changes)), resourceChanges(p.Resources, old.Resources)...)
}

func sourceKind(parts map[string]string) string {
	for _, kind := range []string{"rootfs", "rootfs-archive"} {
		if _, ok := parts[kind]; ok {
			return kind
		}
	}
	return "bundle"
}

func resourceChanges(now, before *specs.LinuxResources) []string {
	var changes []string
	if before == nil {
		before = &specs.LinuxResources{}
	}
	for _, r := range []struct {
		name        string
		now, before any
	}{
		{"resources memory", now.Memory, before.Memory},
		{"resources cpus", now.CPU, before.CPU},
		{"resources pids", now.Pids, before.Pids},
	} {
		if !reflect.DeepEqual(r.now, r.before) {
			changes = append(changes, r.name)
		}
	}
	return changes
}
