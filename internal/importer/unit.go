package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// unitDirs are where systemd looks for units, the most important first (systemd.unit(5)).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// unit is a unit with its drop-ins.
type unit struct {
	name string // with its instance: npd@1.service
	file string
	all  []assignment
	used map[string]bool // "Section.Key" that the definition, or a comment, has
}

// dropInName is the drop-in of package handover, which is no part of what the unit says.
const dropInName = "zz-runcsup-adopted.conf"

// maxUnitFile bounds what is read of a unit file.
const maxUnitFile = 1 << 20

// loadUnit reads a unit by the path of its file, or by its name alone. Of npd@1.service, which is mostly no file, it reads
// npd@.service.
func loadUnit(fsys fs.FS, name string) (*unit, error) {
	if strings.Contains(name, "/") && !path.IsAbs(name) {
		return nil, fmt.Errorf("%s: not an absolute path", name)
	}
	base := path.Base(name)
	if !strings.HasSuffix(base, ".service") {
		return nil, fmt.Errorf("%s: not a service; its name ends in .service", name)
	}
	dirs := unitDirs
	if path.IsAbs(name) {
		dirs = []string{path.Dir(name)}
	}
	u := &unit{name: base, used: map[string]bool{}}
	prefix, instance, templated := strings.Cut(strings.TrimSuffix(base, ".service"), "@")
	if templated && instance == "" {
		return nil, fmt.Errorf("%s is a template: say which instance, like %s@NAME.service", name, prefix)
	}
	for _, dir := range dirs {
		for _, file := range fileNames(base, prefix, templated) {
			text, err := readFile(fsys, path.Join(dir, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			u.file = path.Join(dir, file)
			u.all, err = parse(u.file, text)
			if err != nil {
				return nil, err
			}
			return u, u.loadDropIns(fsys, dirs, prefix, templated)
		}
	}
	if path.IsAbs(name) {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("no unit %s in %s", name, strings.Join(unitDirs, ", "))
}

func fileNames(base, prefix string, templated bool) []string {
	if templated {
		return []string{base, prefix + "@.service"}
	}
	return []string{base}
}

func readFile(fsys fs.FS, file string) (string, error) {
	f, err := fsys.Open(strings.TrimPrefix(path.Clean(file), "/"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s: not a regular file (a masked unit is a link to /dev/null)", file)
	case info.Size() > maxUnitFile:
		return "", fmt.Errorf("%s: larger than %d bytes", file, maxUnitFile)
	}
	text := make([]byte, info.Size())
	n := 0
	for n < len(text) {
		m, err := f.Read(text[n:])
		if n += m; err != nil || m == 0 {
			break
		}
	}
	return string(text[:n]), nil
}

// loadDropIns reads NAME.service.d/*.conf, in the order of their names; of one name that of the first directory counts.
func (u *unit) loadDropIns(fsys fs.FS, dirs []string, prefix string, templated bool) error {
	if path.IsAbs(u.file) && slices.Contains(unitDirs, path.Dir(u.file)) {
		dirs = unitDirs // as systemd does for a unit of which it knows
	}
	found := map[string]string{}
	for _, dir := range dirs {
		for _, name := range fileNames(u.name, prefix, templated) {
			entries, err := fs.ReadDir(fsys, strings.TrimPrefix(path.Join(dir, name+".d"), "/"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, e := range entries {
				if _, there := found[e.Name()]; !there && strings.HasSuffix(e.Name(), ".conf") && e.Name() != dropInName {
					found[e.Name()] = path.Join(dir, name+".d", e.Name())
				}
			}
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := readFile(fsys, found[name])
		if err != nil {
			continue // masked, or gone
		}
		more, err := parse(found[name], text)
		if err != nil {
			return err
		}
		u.all = append(u.all, more...)
	}
	return nil
}

// list is what a key that may be given several times holds; an empty assignment begins anew.
func (u *unit) list(section, key string) (values []assignment) {
	u.used[section+"."+key] = true
	for _, a := range u.all {
		switch {
		case a.section != section || a.key != key:
		case a.value == "":
			values = nil
		default:
			values = append(values, a)
		}
	}
	return values
}

// value is what a key holds that counts once, or empty.
func (u *unit) value(section, key string) string {
	values := u.list(section, key)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1].value
}

// words are those of a key that lists them.
func (u *unit) words(section, key string) (all []string) {
	for _, a := range u.list(section, key) {
		all = append(all, strings.Fields(a.value)...)
	}
	return all
}

// isTrue reads a boolean (systemd.syntax(7)).
func isTrue(value string) bool {
	return slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(value))
}
