package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Prepared is a bundle that was built and checked. It is what the supervisor calls a Bundle.
type Prepared struct {
	// Hash and Resources are those of the Plan it was built from.
	Hash      string
	Resources *specs.LinuxResources

	b      *Builder
	record *record
	// staged is what was built beside, empty when nothing was or Install has taken it; guarded by the lock of the name.
	staged string
	// keepRootfs: only the files of staged are to be moved, beside the root file system that is in place.
	keepRootfs bool
}

func newPrepared(b *Builder, r *record, staged string) *Prepared {
	return &Prepared{Hash: r.Hash, Resources: r.Resources, b: b, record: r, staged: staged}
}

// Installed returns the bundle that is in place: the last one that was good, whatever has become of the definition since.
// Without one the error is ErrNotInstalled.
func (b *Builder) Installed(name string) (*Prepared, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	defer b.lock(name)()
	r, intact, err := readRecord(b.dir(name))
	if err != nil {
		return nil, fmt.Errorf("container %q: %w", name, err)
	}
	if !intact {
		return nil, fmt.Errorf("container %q: %s was changed or damaged", name, filepath.Join(b.dir(name), configFile))
	}
	return newPrepared(b, r, ""), nil
}

// Path returns the directory that users know the bundle by.
func (p *Prepared) Path() string { return p.record.Path }

// Install puts the bundle in place and makes what one instance needs: copies of secrets, files of /etc, the way to another
// container's network. It returns the directory for the runtime. It must be called before every start, with no instance
// alive, and does nothing that is done already. After an error there are no copies of secrets.
func (p *Prepared) Install(ctx context.Context) (dir string, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("cannot install the bundle of %q: %w", p.record.Name, err)
	}
	before, err := p.install()
	if before != "" {
		// The bundle is in place; what is left of the one before is swept by the next daemon at the latest.
		if err := removeTree(before); err != nil {
			p.b.cfg.Log.Warn("cannot remove the previous bundle", "container", p.record.Name, "error", err)
		}
	}
	if err != nil {
		return "", fmt.Errorf("cannot install the bundle of %q: %w", p.record.Name, err)
	}
	return p.b.dir(p.record.Name), nil
}

// install returns the directory to which the bundle before was moved, if there was one.
func (p *Prepared) install() (before string, err error) {
	b, r := p.b, p.record
	defer b.lock(r.Name)()
	for _, s := range r.Sources {
		if err := s.check(); err != nil {
			return "", err
		}
	}
	if err := copySecrets(b.secretsDir(r.Name), r.Secrets); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(b.secretsDir(r.Name)))
		}
	}()
	if err := p.linkNetwork(); err != nil {
		return "", err
	}
	if before, err = p.put(); err != nil {
		return "", err
	}
	return before, writeEtc(b.etcDir(r.Name), b.cfg.Host, r)
}

// put moves what was built into place, or makes sure that it is there.
func (p *Prepared) put() (before string, err error) {
	b, name := p.b, p.record.Name
	if p.staged == "" {
		r, intact, err := readRecord(b.dir(name))
		switch {
		case err != nil:
			return "", err
		case r.ConfigSum != p.record.ConfigSum || r.Hash != p.record.Hash:
			return "", errors.New("another bundle was installed since this one")
		case !intact:
			return "", fmt.Errorf("%s was changed or damaged", filepath.Join(b.dir(name), configFile))
		}
		return "", b.checkUnpacked(p.record)
	}
	if p.keepRootfs {
		r, _, err := readRecord(b.dir(name))
		if err != nil {
			return "", err
		}
		if r.Archive == nil || r.Archive.Digest != p.record.Archive.Digest {
			return "", errors.New("another root file system was installed since this bundle was built")
		}
		if err := b.checkUnpacked(p.record); err != nil {
			return "", err
		}
		if err := b.putFiles(name, p.staged); err != nil {
			return "", err
		}
	} else if before, err = b.putDir(name, p.staged); err != nil {
		return "", err
	}
	p.staged = ""
	return before, nil
}

func (b *Builder) checkUnpacked(r *record) error {
	if r.Archive != nil && !exists(b.rootfsDir(r.Name)) {
		return fmt.Errorf("%s: %w", b.rootfsDir(r.Name), ErrMissing)
	}
	return nil
}

// putFiles moves the files of staged over those in place. A crash in between is made good by Sweep: the name says so.
func (b *Builder) putFiles(name, staged string) error {
	put, err := b.sidePath(name, kindPut)
	if err != nil {
		return err
	}
	if err := renameOver(staged, put); err != nil {
		return errors.Join(fmt.Errorf("cannot put the bundle in place: %w", err), os.Remove(put))
	}
	return b.finishPut(name, put)
}

// finishPut does what is left to do of putFiles.
func (b *Builder) finishPut(name, put string) error {
	for _, file := range []string{configFile, recordFile} {
		from := filepath.Join(put, file)
		if !exists(from) {
			continue
		}
		if err := os.Rename(from, filepath.Join(b.dir(name), file)); err != nil {
			return fmt.Errorf("cannot put the bundle in place: %w", err)
		}
	}
	if err := os.RemoveAll(put); err != nil {
		return fmt.Errorf("cannot remove %s: %w", put, err)
	}
	return nil
}

// renameOver renames a directory over an empty one, which os.Rename refuses.
func renameOver(from, to string) error {
	if err := unix.Rename(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// sidePath makes an empty directory BUNDLES/.NAME.KIND-*, over which another one can be renamed.
func (b *Builder) sidePath(name, kind string) (string, error) {
	dir, err := os.MkdirTemp(b.cfg.BundlesDir, sideName(name, kind))
	if err != nil {
		return "", fmt.Errorf("cannot make a directory: %w", err)
	}
	return dir, nil
}

// putDir exchanges BUNDLES/NAME with staged and returns where the former is now, empty when there was none.
func (b *Builder) putDir(name, staged string) (before string, err error) {
	dir := b.dir(name)
	if !exists(dir) {
		if err := os.Rename(staged, dir); err != nil {
			return "", fmt.Errorf("cannot put the bundle in place: %w", err)
		}
		return "", nil
	}
	err = unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	switch {
	case err == nil:
		return staged, nil
	case !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS):
		return "", fmt.Errorf("cannot put the bundle in place: exchange %s and %s: %w", staged, dir, err)
	}
	return b.replaceDir(name, staged)
}

// replaceDir is putDir for a file system that cannot exchange: for a moment there is nothing in place, which Sweep makes
// good.
func (b *Builder) replaceDir(name, staged string) (before string, err error) {
	dir := b.dir(name)
	old, err := b.sidePath(name, kindOld)
	if err != nil {
		return "", err
	}
	if err := renameOver(dir, old); err != nil {
		return "", errors.Join(fmt.Errorf("cannot put the bundle in place: %w", err), os.Remove(old))
	}
	if err := os.Rename(staged, dir); err != nil {
		return "", errors.Join(fmt.Errorf("cannot put the bundle in place: %w", err), os.Rename(old, dir))
	}
	return old, nil
}

// linkNetwork points RUN/netns/NAME, which is in config.json, to the other container's network namespace of this moment.
func (p *Prepared) linkNetwork() error {
	link := p.b.netnsLink(p.record.Name)
	if err := os.RemoveAll(link); err != nil {
		return fmt.Errorf("cannot remove the old way to a network namespace: %w", err)
	}
	if p.record.NetnsOf == "" {
		return nil
	}
	if p.b.cfg.NetnsOf == nil {
		return errors.New("network: container: needs the daemon, and there is none here")
	}
	target, err := p.b.cfg.NetnsOf(p.record.NetnsOf)
	if err != nil {
		return fmt.Errorf("network: container %q: %w", p.record.NetnsOf, err)
	}
	if err := os.Symlink(target, link); err != nil {
		return fmt.Errorf("cannot point to the network namespace of %q: %w", p.record.NetnsOf, err)
	}
	return nil
}

// Released removes what Install made for one instance alone: copies of secrets, the way to another network.
func (p *Prepared) Released() error {
	defer p.b.lock(p.record.Name)()
	return p.b.release(p.record.Name)
}

func (b *Builder) release(name string) error {
	if err := errors.Join(os.RemoveAll(b.secretsDir(name)), os.RemoveAll(b.netnsLink(name))); err != nil {
		return fmt.Errorf("cannot remove copies of secrets of %q: %w", name, err)
	}
	return nil
}

// Discard removes what was built beside, if Install has not taken it. The Prepared is of no use afterwards, unless there
// was nothing to build.
func (p *Prepared) Discard() error {
	defer p.b.lock(p.record.Name)()
	if p.staged == "" {
		return nil
	}
	if err := removeTree(p.staged); err != nil {
		return fmt.Errorf("cannot discard the bundle of %q: %w", p.record.Name, err)
	}
	p.staged = ""
	return nil
}
