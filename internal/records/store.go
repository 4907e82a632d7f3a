package records

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/runcsup/runcsup/supervisor"
)

// ErrDamaged is in the chain of the error about a file that is not what was written: cut, changed, empty, or of something else.
var ErrDamaged = errors.New("it is damaged")

// NewerError is Load's error about a record of a later version of this program.
type NewerError struct{ Path string }

func (e *NewerError) Error() string {
	return e.Path + " was written by a newer runcsup: install that again, or remove the file to forget what it says"
}

// Store keeps a supervisor.Record per container, as NAME.json in one directory.
type Store struct{ dir string }

var _ supervisor.Store = (*Store)(nil)

// New makes the directory, of mode 0700 if it is not there, and returns a Store for it.
func New(dir string) (*Store, error) {
	if err := openDir(dir); err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	return &Store{dir: dir}, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+".json") }

// Load returns the record of a container, the zero one if there is none. It returns the zero one along with an error, too:
// a damaged file is kept as NAME.json.damaged, a newer one as it is.
func (s *Store) Load(name string) (supervisor.Record, error) {
	path := s.path(name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return supervisor.Record{}, nil
	}
	if err != nil {
		return supervisor.Record{}, fmt.Errorf("cannot read the record of %q: %w", name, err)
	}
	r, err := decode(path, data)
	if errors.Is(err, ErrDamaged) {
		if renameErr := os.Rename(path, path+".damaged"); renameErr != nil {
			err = errors.Join(err, renameErr)
		}
	}
	if err != nil {
		return supervisor.Record{}, fmt.Errorf("cannot read the record of %q: %w", name, err)
	}
	return r, nil
}

// CheckVersions returns a *NewerError if any record was written by a later version of this program.
func (s *Store) CheckVersions() error { return CheckVersions(s.dir) }

// CheckVersions is Store.CheckVersions for a directory, which need not be there. It changes nothing.
func CheckVersions(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("records: %w", err)
		}
		if _, err := decode(path, data); errors.As(err, new(*NewerError)) {
			return err
		}
	}
	return nil
}

// Save replaces the record of a container. One that says what was enabled or disabled by hand is always durable: the file
// it replaces may have been, and without fsync some file systems leave an empty one after a crash.
func (s *Store) Save(name string, r supervisor.Record, durable bool) error {
	data, err := encode(r)
	if err != nil {
		return fmt.Errorf("record of %q: %w", name, err)
	}
	return replace(s.path(name), data, durable || r.EnabledOverride != nil)
}

// Delete forgets a container.
func (s *Store) Delete(name string) error {
	if err := remove(s.path(name)); err != nil {
		return fmt.Errorf("cannot forget %q: %w", name, err)
	}
	return nil
}
