package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// The drivers.
const (
	DriverFile     = "file"     // NAME.log in the log directory, rotated
	DriverJournald = "journald" // the system's journal
	DriverNone     = "none"     // output is discarded
)

// Options is what a definition says about a container's output.
type Options struct {
	Driver string
	// MaxSize is when a file is moved aside, in bytes, and MaxFiles how many there are at most, the current one among them;
	// of the driver file.
	MaxSize  int64
	MaxFiles int
}

// Keeper keeps descriptors for the next daemon.
type Keeper interface {
	// Keep duplicates f for the next daemon, which gets it from Take by that name.
	Keep(name string, f *os.File) error
	Drop(name string) error
	// Take returns what an earlier daemon left, or nil. The caller owns it.
	Take(name string) *os.File
}

// Config is what a Collector works with.
type Config struct {
	Dir    string // of the files; made with mode 0750
	RunDir string // of the FIFOs, on a file system that is emptied by a reboot; made with mode 0700
	// Keeper may be nil. Then what a container wrote right before its end is lost if no daemon is there at that moment.
	Keeper Keeper
	Log    *slog.Logger
	// OnTrouble is called when Trouble of some container has changed. It must not block.
	OnTrouble func()
	// Journal is the socket of journald. Empty is the usual one.
	Journal string
}

// Collector stores what containers write. Its methods may be called from any goroutine.
type Collector struct {
	cfg        Config
	log        *slog.Logger
	ctx        context.Context // ends when nothing more is to be begun
	cancel     context.CancelFunc
	poller     *poller
	compressor *compressor
	spaces     workspaces
	now        func() time.Time
	wg         sync.WaitGroup
	watching   sync.WaitGroup

	mu     sync.Mutex
	byName map[string]*output
	byID   map[int32]*output
	lastID int32
}

var _ supervisor.Output = (*Collector)(nil)

// New makes the directories and returns a Collector, which Close ends.
func New(cfg Config) (*Collector, error) {
	if err := makeDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory for containers' output: %w", err)
	}
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	c := &Collector{cfg: cfg, log: cfg.Log, poller: p, now: time.Now, byName: map[string]*output{}, byID: map[int32]*output{}}
	if c.cfg.OnTrouble == nil {
		c.cfg.OnTrouble = func() {}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.compressor = &compressor{ctx: c.ctx, fail: func(path string, err error) {
		c.log.Warn("a rotated log stays as it is", "file", path, "error", err)
	}}
	c.watching.Go(func() {
		if err := p.run(c.kick); err != nil {
			c.log.Error("containers' output is not stored any more", "error", err)
		}
	})
	return c, nil
}

func (c *Collector) kick(id int32) {
	c.mu.Lock()
	o := c.byID[id]
	c.mu.Unlock()
	if o != nil {
		o.kick()
	}
}

// Configure tells where a container's output goes, from now on. The first time it also begins to store what an earlier
// daemon has left. Whether there is output at all is decided at a container's start: one that was started without a driver
// has none until its next start.
func (c *Collector) Configure(name string, options Options) error {
	o, err := c.output(name)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.options = options
	first := o.streams[0] == nil
	o.mu.Unlock()
	if !first {
		o.kick()
		return nil
	}
	if options.Driver == DriverFile {
		c.compressOld(name)
	}
	there, err := o.left()
	if err != nil || !there {
		return err
	}
	return o.open()
}

// output returns a container's, and makes it if there is none.
func (c *Collector) output(name string) (*output, error) {
	if name == "" || name[0] == '.' || strings.ContainsRune(name, '/') {
		return nil, fmt.Errorf("%q is not a name for a file", name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return nil, errClosed
	}
	o := c.byName[name]
	if o == nil {
		c.lastID++
		o = &output{c: c, name: name, id: c.lastID, options: Options{Driver: DriverFile, MaxSize: 10 << 20, MaxFiles: 5}}
		o.retry = time.AfterFunc(time.Hour, o.kick)
		o.retry.Stop()
		c.byName[name], c.byID[o.id] = o, o
	}
	return o, nil
}

var errClosed = errors.New("the daemon is ending")

func (c *Collector) find(name string) *output {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name]
}

// compressOld sees to what an earlier daemon has not come to compress.
func (c *Collector) compressOld(name string) {
	all, err := listRotated(c.cfg.Dir, name)
	if err != nil {
		c.log.Warn("cannot look for logs to compress", "container", name, "error", err)
	}
	for _, r := range all {
		if r.plain {
			c.compressor.add(r.path)
		}
	}
}

func (c *Collector) newSink(name string, o Options) sink {
	switch o.Driver {
	case DriverNone:
		return discard{}
	case DriverJournald:
		return &journalSink{name: name, socket: c.cfg.Journal, ctx: c.ctx}
	}
	return &fileSink{dir: c.cfg.Dir, name: name, maxSize: o.MaxSize, maxFiles: o.MaxFiles, compress: c.compressor.add}
}

// discard is for a container that was started with a driver, and has none by now.
type discard struct{}

func (discard) store(b *batch, p *position, _ *workspace) error {
	p.begin(b, recordFile)
	return nil
}
func (discard) redo(*batch, *position, *workspace) error { return nil }
func (discard) close() error                             { return nil }

// Open returns what a container gets as stdout and stderr, or nil for both when its output goes nowhere. The caller closes
// them.
func (c *Collector) Open(name string) (stdout, stderr *os.File, err error) {
	o, err := c.output(name)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the output of %q: %w", name, err)
	}
	o.mu.Lock()
	none := o.options.Driver == DriverNone
	o.mu.Unlock()
	if none {
		return nil, nil, nil
	}
	if stdout, stderr, err = o.forContainer(); err != nil {
		return nil, nil, fmt.Errorf("cannot open the output of %q: %w", name, err)
	}
	return stdout, stderr, nil
}

// Ended tells that nothing of a container is running: a line that it left without an end is one now.
func (c *Collector) Ended(name string) {
	o := c.find(name)
	if o == nil {
		return
	}
	if err := o.endLines(); err != nil {
		c.log.Warn("the last line of a container may run into its next one", "container", name, "error", err)
	}
}

// Remove forgets a container that is not running, when what it wrote is stored or the context ends. Its files stay.
func (c *Collector) Remove(ctx context.Context, name string) error {
	o := c.find(name)
	if o == nil {
		return nil
	}
	err := o.settle(ctx)
	c.mu.Lock()
	delete(c.byName, name)
	delete(c.byID, o.id)
	c.mu.Unlock()
	o.end()
	err = errors.Join(err, o.whenIdle(ctx), o.drop(), os.RemoveAll(o.dir()))
	if err != nil {
		return fmt.Errorf("cannot take leave of the output of %q: %w", name, err)
	}
	return nil
}

// Settle waits until what all containers have written is stored, for which the context gives the time. What is not is in
// the error.
func (c *Collector) Settle(ctx context.Context) error {
	var errs []error
	for _, o := range c.all() {
		if err := o.settle(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Collector) all() []*output {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*output
	for _, o := range c.byName {
		all = append(all, o)
	}
	return all
}

// Close ends all work and leaves FIFOs and files as they are, for the next daemon.
func (c *Collector) Close() error {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	err := c.poller.close()
	c.watching.Wait()
	for _, o := range c.all() {
		o.end()
	}
	c.wg.Wait()
	c.compressor.wait()
	c.spaces.close()
	return err
}

// Trouble says why the output of a container cannot be stored at the moment; empty when it can.
func (c *Collector) Trouble(name string) string {
	o := c.find(name)
	if o == nil {
		return ""
	}
	if text := o.trouble.Load(); text != nil {
		return *text
	}
	return ""
}

// Counters is how much a container has written since the machine booted.
type Counters struct {
	Bytes, Lines [2]uint64 // by stream, in the order of Streams
}

// Counters returns those of all containers that have output, by name.
func (c *Collector) Counters() map[string]Counters {
	counters := map[string]Counters{}
	for _, o := range c.all() {
		o.mu.Lock()
		if p := o.position; p != nil {
			var n Counters
			for i := range Streams {
				n.Bytes[i], n.Lines[i] = atomic.LoadUint64(&p.bytes[i]), atomic.LoadUint64(&p.lines[i])
			}
			counters[o.name] = n
		}
		o.mu.Unlock()
	}
	return counters
}

// Path is where a container's output is when its driver is file.
func (c *Collector) Path(name string) string { return Path(c.cfg.Dir, name) }

func (o *output) fifoPath(stream int) string { return filepath.Join(o.dir(), Streams[stream]) }
