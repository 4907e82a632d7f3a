package logs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Path is the file to which a container's output goes by the driver file. When it is full it becomes NAME.log.NUMBER, with a
// number that only grows, and then NAME.log.NUMBER.gz: a file is renamed once and never again, so that whoever reads it
// knows which comes next.
func Path(dir, name string) string { return filepath.Join(dir, name+".log") }

// rotated is a file that was moved aside.
type rotated struct {
	number     uint64
	path       string // without .gz
	plain, zip bool   // which of both there is; both if the compression was interrupted at its end
}

const zipSuffix, tempSuffix = ".gz", ".gz.tmp"

var rotatedSuffix = regexp.MustCompile(`^\.log\.([0-9]{6,18})(\.gz)?$`)

// listRotated returns a container's rotated files, oldest first.
func listRotated(dir, name string) ([]rotated, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the logs: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list the logs: %w", err)
	}
	var all []rotated
	for _, file := range names {
		suffix, ok := strings.CutPrefix(file, name)
		if !ok {
			continue
		}
		m := rotatedSuffix.FindStringSubmatch(suffix)
		if m == nil {
			continue
		}
		number, err := strconv.ParseUint(m[1], 10, 63)
		if err != nil {
			continue
		}
		r := rotated{number: number, path: filepath.Join(dir, strings.TrimSuffix(file, zipSuffix)), plain: m[2] == "", zip: m[2] != ""}
		if i := slices.IndexFunc(all, func(o rotated) bool { return o.path == r.path }); i >= 0 {
			all[i].plain, all[i].zip = true, true
			continue
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b rotated) int { return cmp.Compare(a.number, b.number) })
	return all, nil
}

// nextNumber is the number that the current file gets when it is moved aside.
func nextNumber(all []rotated) uint64 {
	if len(all) == 0 {
		return 1
	}
	return all[len(all)-1].number + 1
}

func (r rotated) remove() error {
	var errs []error
	for _, path := range []string{r.path, r.path + zipSuffix, r.path + tempSuffix} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove an old log: %w", err)
	}
	return nil
}

// rotate moves the file aside, begins a new one, and removes what is too old.
func (s *fileSink) rotate() error {
	all, err := listRotated(s.dir, s.name)
	if err != nil {
		return err
	}
	aside := fmt.Sprintf("%s.%06d", s.path(), nextNumber(all))
	if err := os.Rename(s.path(), aside); err != nil {
		return fmt.Errorf("cannot rotate the log: %w", err)
	}
	file, err := openLog(s.path(), os.O_EXCL)
	if err != nil {
		// A full disk may have no room for another file. The old one goes on.
		return errors.Join(fmt.Errorf("cannot rotate the log: %w", err), os.Rename(aside, s.path()))
	}
	if err := s.close(); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := s.use(file); err != nil {
		return err
	}
	all = append(all, rotated{path: aside})
	var errs []error
	for len(all) > s.maxFiles-1 {
		errs = append(errs, all[0].remove())
		all = all[1:]
	}
	if len(all) > 0 {
		s.compress(aside)
	}
	return errors.Join(errs...)
}
