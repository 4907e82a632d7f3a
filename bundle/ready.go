package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// readyBundle is a bundle that the user made, read and checked.
type readyBundle struct {
	spec   *specs.Spec
	config []byte // as it is staged
	// parts are digests of config.json by member ("config.json process.args").
	parts   map[string]string
	sources []hostPath
}

// parseConfig reads a config.json: strictly, and with every error naming the place in file.
func parseConfig(file string, data []byte) (*specs.Spec, *document, error) {
	doc, err := checkJSON(file, data, specs.Spec{})
	if err != nil {
		return nil, nil, err
	}
	s := &specs.Spec{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, nil, doc.errorAt(0, err.Error())
	}
	if bad := validate(s); bad != nil {
		return nil, nil, doc.error(bad.path, bad.message)
	}
	return s, doc, nil
}

// readReady reads the bundle in dir. Nothing is written.
func (b *Builder) readReady(name, dir string, notify *Notify) (*readyBundle, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("bundle: %q must be an absolute path", dir)
	}
	if err := (hostPath{"bundle", dir}).check(); err != nil {
		return nil, err
	}
	// Relative paths in it are resolved in the directory that a symbolic link leads to now: config.json and the root file
	// system are then of one version.
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", missing(dir, err))
	}
	file := filepath.Join(dir, configFile)
	data, err := readBounded(filepath.Join(resolved, configFile))
	if err != nil {
		return nil, err
	}
	s, doc, err := parseConfig(file, data)
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := decodeNumbers(data, &config); err != nil {
		return nil, doc.errorAt(0, err.Error())
	}
	r := &readyBundle{spec: s}
	if err := r.resolve(config, doc, resolved); err != nil {
		return nil, err
	}
	r.parts = readyParts(config)
	if path := b.cgroupsPath(name, s.Linux); s.Linux == nil || s.Linux.CgroupsPath != path {
		config["linux"] = mergePatch(config["linux"], map[string]any{"cgroupsPath": path})
	}
	if s.Process.OOMScoreAdj == nil { // it would inherit the daemon's, which is the last to be killed
		config["process"] = mergePatch(config["process"], map[string]any{"oomScoreAdj": 0})
	}
	if err := notify.addTo(config, b.NotifyDir(name)); err != nil {
		return nil, doc.errorAt(0, err.Error())
	}
	r.config, err = encodeConfig(config)
	return r, err
}

// cgroupsPath is what a ready bundle says, or what the daemon would. A relative path is made one from the root: runtimes
// differ in what they take it to be relative to, and one of them means the daemon's own cgroup.
func (b *Builder) cgroupsPath(name string, l *specs.Linux) string {
	switch {
	case l == nil || l.CgroupsPath == "":
		return b.cfg.CgroupsPath(name)
	case filepath.IsAbs(l.CgroupsPath), strings.Count(l.CgroupsPath, ":") == 2: // the latter is slice:prefix:name
		return l.CgroupsPath
	}
	return "/" + l.CgroupsPath
}

func readBounded(file string) ([]byte, error) {
	f, _, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	if len(data) > maxJSON {
		return nil, fmt.Errorf("%s: larger than %d MiB", file, maxJSON>>20)
	}
	return data, nil
}

// resolve makes the paths in config that are relative to the bundle's directory absolute, and checks that they exist.
func (r *readyBundle) resolve(config map[string]any, doc *document, dir string) error {
	rootfs := inDir(dir, r.spec.Root.Path)
	info, err := os.Stat(rootfs)
	if err == nil && !info.IsDir() {
		return doc.error("root.path", rootfs+": not a directory")
	}
	if err == nil {
		rootfs, err = filepath.EvalSymlinks(rootfs)
	}
	if err != nil {
		return missingAt(doc, "root.path", rootfs, err)
	}
	root, _ := config["root"].(map[string]any) // checked: it is an object
	root["path"] = rootfs
	r.sources = []hostPath{{doc.file + ": root.path", rootfs}}
	mounts, _ := config["mounts"].([]any)
	for i, m := range r.spec.Mounts {
		if !isBind(m) {
			continue
		}
		key := fmt.Sprintf("mounts[%d].source", i)
		source := inDir(dir, m.Source)
		if _, err := os.Stat(source); err != nil {
			return missingAt(doc, key, source, err)
		}
		r.sources = append(r.sources, hostPath{doc.file + ": " + key, source})
		if mount, ok := mounts[i].(map[string]any); ok {
			mount["source"] = source
		}
	}
	return nil
}

func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// missingAt is an error with a place in a document that keeps ErrMissing in its chain.
func missingAt(doc *document, path, file string, err error) error {
	return &placedError{doc.error(path, missing(file, err).Error()).Error(), missing(file, err)}
}

type placedError struct {
	message string
	cause   error
}

func (e *placedError) Error() string { return e.message }
func (e *placedError) Unwrap() error { return e.cause }

// split are the members of config.json whose own members are parts by themselves.
var split = []string{"process", "linux", "root"}

// readyParts returns digests of what a running container cannot take over.
func readyParts(config map[string]any) map[string]string {
	parts := map[string]string{}
	for key, value := range config {
		object, ok := value.(map[string]any)
		if !ok || !slices.Contains(split, key) {
			addPart(parts, "config.json "+key, value)
			continue
		}
		if resources, ok := object["resources"].(map[string]any); key == "linux" && ok {
			object = maps.Clone(object)
			delete(object, "resources")
			for k, v := range withoutLive(resources) {
				addPart(parts, "config.json linux.resources."+k, v)
			}
		}
		for k, v := range object {
			addPart(parts, "config.json "+key+"."+k, v)
		}
	}
	return parts
}
