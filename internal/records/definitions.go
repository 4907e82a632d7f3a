package records

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const definitionSuffix = ".yaml"

// Definitions keeps the source of each container's last good definition, as NAME.yaml in one directory. A container
// whose definition is broken when the daemon starts goes on with this one.
type Definitions struct{ dir string }

// NewDefinitions makes the directory, of mode 0700 if it is not there, and returns the Definitions in it.
func NewDefinitions(dir string) (*Definitions, error) {
	if err := openDir(dir); err != nil {
		return nil, fmt.Errorf("last good definitions: %w", err)
	}
	return &Definitions{dir: dir}, nil
}

func (d *Definitions) path(name string) string { return filepath.Join(d.dir, name+definitionSuffix) }

// Load returns the source of a container's last good definition. The error is fs.ErrNotExist if there is none, and
// wraps ErrDamaged if it is not what was saved.
func (d *Definitions) Load(name string) ([]byte, error) {
	src, err := os.ReadFile(d.path(name))
	if err != nil {
		return nil, fmt.Errorf("cannot read the last good definition of %q: %w", name, err)
	}
	if src, err = unsealDefinition(src); err != nil {
		return nil, fmt.Errorf("cannot read the last good definition of %q: %s: %w", name, d.path(name), err)
	}
	return src, nil
}

// Save replaces a definition, durably. What is there already is not written again: a daemon that starts saves them all.
func (d *Definitions) Save(name string, src []byte) error {
	data := sealDefinition(src)
	if old, err := os.ReadFile(d.path(name)); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := replace(d.path(name), data, true); err != nil {
		return fmt.Errorf("cannot keep the definition of %q: %w", name, err)
	}
	return nil
}

// Delete forgets a definition, which need not be there.
func (d *Definitions) Delete(name string) error {
	if err := remove(d.path(name)); err != nil {
		return fmt.Errorf("cannot forget the definition of %q: %w", name, err)
	}
	return nil
}

// List returns the names of the containers with a definition, sorted.
func (d *Definitions) List() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the last good definitions: %w", err)
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), definitionSuffix)
		if ok && !strings.HasPrefix(name, ".") && e.Type().IsRegular() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
