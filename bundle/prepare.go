package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"
)

// What a directory BUNDLES/.NAME.KIND-* is; see doc.go and Sweep.
const (
	kindNew  = "new"  // being built, or built and waiting for Install
	kindPut  = "put"  // built; its files are being moved into BUNDLES/NAME
	kindOld  = "old"  // was in place; there may be nothing in place now
	kindGone = "gone" // being removed
)

// Prepare builds what a plan says beside what is in place. When that is it already, there is nothing to build. With an equal
// Hash there can still be something to build: other limits, or what this version of the program does otherwise; it is for
// the next start. After an error, a cancelled context among them, nothing is left.
func (b *Builder) Prepare(ctx context.Context, p *Plan) (*Prepared, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cannot build the bundle of %q: %w", p.Name, err)
	}
	x := &build{b: b, plan: p}
	prepared, err := x.run(ctx)
	if err == nil {
		return prepared, nil
	}
	if x.dir != "" {
		err = &stagingError{err: errors.Join(err, os.RemoveAll(x.dir)), dir: x.dir, as: b.dir(p.Name)}
	}
	return nil, fmt.Errorf("cannot build the bundle of %q: %w", p.Name, err)
}

// stagingError is an error that speaks of the directory that is to be built instead of the one it is built in, whose name is
// another one the next time: what is wrong twice reads the same.
type stagingError struct {
	err     error
	dir, as string
}

func (e *stagingError) Error() string { return strings.ReplaceAll(e.err.Error(), e.dir, e.as) }
func (e *stagingError) Unwrap() error { return e.err }

// build is one call of Prepare.
type build struct {
	b    *Builder
	plan *Plan
	dir  string // BUNDLES/.NAME.new-*, empty until it is needed
}

func (x *build) run(ctx context.Context) (*Prepared, error) {
	installed, intact := x.b.inPlace(x.plan.Name)
	keep := x.plan.archive != nil && installed != nil && installed.Archive != nil &&
		installed.Archive.Digest == x.plan.archive.Digest && exists(x.b.rootfsDir(x.plan.Name))
	c, config, err := x.compose(ctx, keep)
	if err != nil {
		return nil, err
	}
	r := x.record(c, config)
	data, err := r.encode()
	if err != nil {
		return nil, err
	}
	if installed != nil && intact {
		same, err := x.b.refresh(installed, r)
		if err != nil {
			return nil, err
		}
		if same {
			return newPrepared(x.b, r, ""), nil
		}
	}
	if err := x.write(data, config); err != nil {
		return nil, err
	}
	prepared := newPrepared(x.b, r, x.dir)
	prepared.keepRootfs = keep
	return prepared, nil
}

// refresh tells whether r says the same as what is installed. Where only the archive's file is another one of the same
// content, it is noted, so that the next daemon need not read it either.
func (b *Builder) refresh(installed, r *record) (same bool, err error) {
	if reflect.DeepEqual(installed, r) {
		return true, nil
	}
	if r.Archive == nil || installed.Archive == nil || r.Archive.Digest != installed.Archive.Digest {
		return false, nil
	}
	noted := *installed
	noted.Archive = r.Archive
	if !reflect.DeepEqual(&noted, r) {
		return false, nil
	}
	data, err := r.encode()
	if err != nil {
		return false, err
	}
	defer b.lock(r.Name)()
	if now, _, err := readRecord(b.dir(r.Name)); err != nil || !reflect.DeepEqual(now, installed) {
		return false, nil // something was installed meanwhile
	}
	path := filepath.Join(b.dir(r.Name), recordFile)
	if err := os.RemoveAll(path + ".new"); err != nil {
		return false, fmt.Errorf("cannot note the archive: %w", err)
	}
	if err := writeFile(path+".new", data, 0o600); err != nil {
		return false, err
	}
	if err := errors.Join(syncPath(path+".new"), os.Rename(path+".new", path)); err != nil {
		return false, fmt.Errorf("cannot note the archive: %w", err)
	}
	return true, nil
}

// inPlace returns the record of what is installed, nil when nothing is that could be used.
func (b *Builder) inPlace(name string) (r *record, intact bool) {
	defer b.lock(name)()
	r, intact, err := readRecord(b.dir(name))
	if err != nil {
		if !errors.Is(err, ErrNotInstalled) {
			b.cfg.Log.Warn("an installed bundle cannot be read and is built anew", "container", name, "error", err)
		}
		return nil, false
	}
	return r, intact
}

// compose makes config.json, and the root file system first where there is one to unpack: the users are in it.
func (x *build) compose(ctx context.Context, keep bool) (c *composed, config []byte, err error) {
	p := x.plan
	if p.ready != nil {
		return &composed{spec: p.ready.spec, record: record{Sources: p.ready.sources}}, p.ready.config, nil
	}
	lookIn := p.rootfs
	if p.archive != nil && !keep {
		if lookIn, err = x.unpack(ctx); err != nil {
			return nil, nil, err
		}
	}
	who, err := LookupUser(lookIn, p.options.User)
	if err != nil {
		return nil, nil, err
	}
	if c, err = x.b.compose(p.options, p.env, who, p.rootfs); err != nil {
		return nil, nil, err
	}
	if p.archive == nil {
		c.record.Sources = append([]hostPath{{"rootfs", p.rootfs}}, c.record.Sources...)
	}
	config, err = c.seal(p.options)
	return c, config, err
}

// unpack makes the root file system of an archive and returns its directory.
func (x *build) unpack(ctx context.Context) (string, error) {
	if err := x.makeDir(); err != nil {
		return "", err
	}
	rootfs := filepath.Join(x.dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the root file system: %w", err)
	}
	// Mkdir obeys the umask; users of the container must get in.
	if err := os.Chmod(rootfs, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the root file system: %w", err)
	}
	if err := extract(ctx, x.plan.options.RootfsArchive, x.plan.archive.Digest, rootfs); err != nil {
		return "", fmt.Errorf("rootfs-archive: %w", err)
	}
	// Once for all of the files: the record says that they are whole, and a crash must not make that a lie.
	dir, err := os.Open(rootfs)
	if err != nil {
		return "", fmt.Errorf("cannot sync the root file system: %w", err)
	}
	if err := errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close()); err != nil {
		return "", fmt.Errorf("cannot sync the root file system: %w", err)
	}
	return rootfs, nil
}

func (x *build) makeDir() (err error) {
	if x.dir != "" {
		return nil
	}
	if x.dir, err = os.MkdirTemp(x.b.cfg.BundlesDir, sideName(x.plan.Name, kindNew)); err != nil {
		if named, ok := errors.AsType[*os.PathError](err); ok { // by a name that is another one the next time
			err = named.Err
		}
		return fmt.Errorf("cannot make a directory to build in, in %s: %w", x.b.cfg.BundlesDir, err)
	}
	return nil
}

func sideName(name, kind string) string { return "." + name + "." + kind + "-*" }

func (x *build) record(c *composed, config []byte) *record {
	p := x.plan
	r := c.record
	r.Version, r.Name, r.Hash, r.Parts = recordVersion, p.Name, p.Hash, p.parts
	r.ConfigSum = sumOf(config)
	r.Path = p.Path
	r.Resources = live(linuxResources(c.spec), x.b.cfg.Host)
	r.Archive = p.archive
	return &r
}

func (x *build) write(record, config []byte) error {
	if err := x.makeDir(); err != nil {
		return err
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{configFile, config}, {recordFile, record}} {
		path := filepath.Join(x.dir, file.name)
		if err := writeFile(path, file.data, 0o600); err != nil {
			return err
		}
		if err := syncPath(path); err != nil {
			return err
		}
	}
	return syncPath(x.dir)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot sync: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot sync %s: %w", path, err)
	}
	return nil
}
