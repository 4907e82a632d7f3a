package history

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	containersDir = "containers"
	daemonFile    = "daemon.jsonl"
	ext           = ".jsonl"
)

// MaxEntries is the most that one Query returns.
const MaxEntries = 10_000

// Query says which entries are wanted.
type Query struct {
	// Containers are those whose entries are wanted, with the boots of the machine besides; none: all, and the daemon's.
	Containers []string
	Since      time.Time // zero: however old
	After      int64     // only those with a higher ID
	// DaemonOnly: nothing of containers.
	DaemonOnly bool
	// Limit is how many of the newest are wanted; 0, and what is more than MaxEntries, is MaxEntries. A negative one is for
	// Follow: nothing that has happened already.
	Limit int
}

func (q Query) limit() int {
	if q.Limit == 0 || q.Limit > MaxEntries {
		return MaxEntries
	}
	return max(q.Limit, 0)
}

// Wants tells whether an entry is one of those asked for, but for the limit.
func (q Query) Wants(e *Entry) bool {
	if q.After > 0 && e.ID <= q.After || e.At.Before(q.Since) {
		return false
	}
	if q.DaemonOnly {
		return e.Container == ""
	}
	return len(q.Containers) == 0 || e.Type == TypeBoot || slices.Contains(q.Containers, e.Container)
}

// Read returns what the files of a history directory have, oldest first. It needs no daemon.
func Read(dir string, q Query) ([]Entry, error) {
	files, err := filesFor(dir, q.Containers)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, f := range files {
		if out, err = f.newest(out, q); err != nil {
			return nil, err
		}
	}
	return q.sorted(out), nil
}

// newest adds the entries of a file to out, and now and then throws away what is beyond the limit.
func (f file) newest(out []Entry, q Query) ([]Entry, error) {
	if info, err := os.Stat(f.path); err == nil && info.ModTime().Before(q.Since) {
		return out, nil
	}
	found, err := f.read(q)
	if err != nil {
		return nil, err
	}
	out = append(out, found...)
	if len(out) > 2*q.limit() {
		out = q.sorted(out)
	}
	return out, nil
}

// sorted brings entries into their order and drops duplicates and what is beyond the limit.
func (q Query) sorted(all []Entry) []Entry {
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	all = slices.CompactFunc(all, func(a, b Entry) bool { return a.ID == b.ID && a.Type == b.Type })
	if over := len(all) - q.limit(); over > 0 {
		all = append([]Entry(nil), all[over:]...) // the rest is not to be kept in memory
	}
	return all
}

// filesFor are the files in which entries of the containers may be, or of all.
func filesFor(dir string, containers []string) ([]file, error) {
	files := []file{{filepath.Join(dir, daemonFile)}} // has the boots, and the containers that were removed
	if len(containers) > 0 {
		for _, name := range containers {
			if !ValidName(name) {
				return nil, fmt.Errorf("no container can have the name %q", name)
			}
			files = append(files, file{containerPath(dir, name)})
		}
		return files, nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, containersDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the history: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ext) {
			files = append(files, file{filepath.Join(dir, containersDir, e.Name())})
		}
	}
	return files, nil
}

func containerPath(dir, name string) string { return filepath.Join(dir, containersDir, name+ext) }

// ValidName tells what can be the name of a container from what would be taken for a path.
func ValidName(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\x00")
}
