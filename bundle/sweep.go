package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/moby/sys/mountinfo"
)

// Remove forgets everything of a name: its bundle with the root file system in it, builds beside, copies of secrets. No
// instance may be alive. It is no error if there is nothing.
func (b *Builder) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	defer b.lock(name)()
	if err := b.remove(name); err != nil {
		return fmt.Errorf("cannot remove the bundle of %q: %w", name, err)
	}
	return nil
}

func (b *Builder) remove(name string) error {
	entries, err := os.ReadDir(b.cfg.BundlesDir)
	if err != nil {
		return err
	}
	errs := []error{b.release(name)}
	for _, e := range entries {
		if m := sideForm.FindStringSubmatch(e.Name()); m != nil && m[1] == name {
			errs = append(errs, removeTree(filepath.Join(b.cfg.BundlesDir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil || !exists(b.dir(name)) {
		return err
	}
	// Renamed first: a removal that is interrupted must not look like a bundle.
	gone, err := b.sidePath(name, kindGone)
	if err != nil {
		return err
	}
	if err := renameOver(b.dir(name), gone); err != nil {
		return errors.Join(err, os.Remove(gone))
	}
	return removeTree(gone)
}

// sideForm takes apart what sideName and os.MkdirTemp make.
var sideForm = regexp.MustCompile(`^\.(.+)\.(` + kindNew + `|` + kindPut + `|` + kindOld + `|` + kindGone + `)-[0-9]+$`)

// Sweep finishes or undoes what an earlier daemon was interrupted in: builds and removals. It must be called before
// anything else, with no other Builder at work on the same directory.
func (b *Builder) Sweep() error {
	entries, err := os.ReadDir(b.cfg.BundlesDir)
	if err != nil {
		return fmt.Errorf("cannot sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		m := sideForm.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if err := b.sweepOne(m[1], m[2], filepath.Join(b.cfg.BundlesDir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("cannot sweep %s: %w", e.Name(), err))
		}
	}
	return errors.Join(errs...)
}

func (b *Builder) sweepOne(name, kind, path string) error {
	defer b.lock(name)()
	switch {
	case kind == kindPut && exists(b.dir(name)):
		return b.finishPut(name, path)
	case kind == kindOld && !exists(b.dir(name)):
		return os.Rename(path, b.dir(name))
	}
	return removeTree(path)
}

// removeTree removes a directory, unless something is mounted below: that would be emptied too.
func removeTree(path string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return fmt.Errorf("cannot tell whether something is mounted in %s: %w", path, err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("something is mounted on %s: unmount it first", mounts[0].Mountpoint)
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("cannot remove directory: %w", err)
	}
	return nil
}
