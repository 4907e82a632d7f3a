package bundle

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// ErrNotInstalled is what Builder.Installed returns for a name that has no bundle in place.
var ErrNotInstalled = errors.New("no bundle is installed")

// ErrMissing is in the chain of errors about a file or directory of the user's that is not there: a rootfs, an archive, a
// bundle, an envFile, the source of a mount or of a secret. It may be there later, so trying again makes sense.
var ErrMissing = errors.New("no such file or directory")

// BuilderConfig is what a Builder needs to know.
type BuilderConfig struct {
	// BundlesDir and RunDir are absolute. The latter is best on a tmpfs: copies of secrets are kept there.
	BundlesDir string
	RunDir     string
	// CgroupsPath gives linux.cgroupsPath for a container whose bundle sets none.
	CgroupsPath func(name string) string
	// NetnsOf gives the network namespace file of a running container ("/proc/4711/ns/net"). Nil refuses
	// `network: container:NAME`.
	NetnsOf func(container string) (path string, err error)
	// Host is the machine the containers run on; see DetectHost.
	Host Host
	// Log gets what is no error to anybody but should be known. Nil discards it.
	Log *slog.Logger
}

// Builder makes bundles. Its methods may be called from many goroutines.
type Builder struct {
	cfg BuilderConfig

	mu      sync.Mutex
	locks   map[string]*sync.Mutex // by container name: what changes BUNDLES/NAME
	digests map[fileID]string      // of archives
}

// NewBuilder makes the directories, of mode 0700, and returns a Builder for them.
func NewBuilder(cfg BuilderConfig) (*Builder, error) {
	if cfg.CgroupsPath == nil {
		return nil, errors.New("bundle builder: CgroupsPath is nil")
	}
	if cfg.Host.Hostname == nil {
		return nil, errors.New("bundle builder: Host is not set, see DetectHost")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []*string{&cfg.BundlesDir, &cfg.RunDir} {
		if !filepath.IsAbs(*dir) {
			return nil, fmt.Errorf("bundle builder: directory %q is not absolute", *dir)
		}
		if err := os.MkdirAll(*dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make directory: %w", err)
		}
		// runc refuses a root file system whose path goes through a symbolic link.
		resolved, err := filepath.EvalSymlinks(*dir)
		if err != nil {
			return nil, fmt.Errorf("cannot resolve directory: %w", err)
		}
		*dir = resolved
	}
	b := &Builder{cfg: cfg, locks: map[string]*sync.Mutex{}, digests: map[fileID]string{}}
	for _, dir := range []string{b.secretsRoot(), b.netnsRoot()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make directory: %w", err)
		}
	}
	return b, nil
}

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("container name %q: must be 1 to 64 of a-z A-Z 0-9 _ . - and begin with a letter or digit", name)
	}
	return nil
}

func (b *Builder) dir(name string) string       { return filepath.Join(b.cfg.BundlesDir, name) }
func (b *Builder) rootfsDir(name string) string { return filepath.Join(b.dir(name), "rootfs") }
func (b *Builder) etcDir(name string) string    { return filepath.Join(b.dir(name), "etc") }
func (b *Builder) secretsRoot() string          { return filepath.Join(b.cfg.RunDir, "secrets") }
func (b *Builder) netnsRoot() string            { return filepath.Join(b.cfg.RunDir, "netns") }

func (b *Builder) secretsDir(name string) string { return filepath.Join(b.secretsRoot(), name) }
func (b *Builder) netnsLink(name string) string  { return filepath.Join(b.netnsRoot(), name) }

// lock holds off every other change of BUNDLES/NAME until unlock is called. Extraction happens outside of it, so that a
// restart never waits for a build.
func (b *Builder) lock(name string) (unlock func()) {
	b.mu.Lock()
	m := b.locks[name]
	if m == nil {
		m = &sync.Mutex{}
		b.locks[name] = m
	}
	b.mu.Unlock()
	m.Lock()
	return m.Unlock
}
