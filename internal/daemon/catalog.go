package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/supervisor"
)

// definitions keeps the last good text of each definition, for a start with a file that was broken meanwhile.
type definitions interface {
	Save(name string, src []byte) error
	Load(name string) ([]byte, error)
	Delete(name string) error
	List() ([]string, error)
}

// entry is one container name that the daemon knows: it has a file, or had one.
type entry struct {
	name string
	// turn is held by whoever works on this container's definition, again says that it should be looked at once more then.
	turn  chan struct{}
	again atomic.Bool
	// These are of whoever has the turn: how long the wait for the next look was, whether one is being waited for, and that
	// no copy of the definition could be kept.
	patience time.Duration
	waiting  bool
	uncopied bool

	mu         sync.Mutex // guards what follows
	file       string
	definition *config.Definition // in effect, nil if there never was a good one
	bundle     *bundle.Prepared   // built from it
	inputs     []string           // files to be watched for it
	refused    string             // what is wrong with the file's present text
	supervised bool
}

// catalog is all the names, by name.
type catalog struct {
	mu      sync.Mutex
	entries map[string]*entry
}

func newCatalog() *catalog { return &catalog{entries: map[string]*entry{}} }

// get returns the entry of a name, nil if there is none.
func (c *catalog) get(name string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[name]
}

// add returns the entry of a name and makes one if there is none.
func (c *catalog) add(name, file string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	if e == nil {
		e = newEntry(name, file)
		c.entries[name] = e
	}
	return e
}

func newEntry(name, file string) *entry {
	return &entry{name: name, file: file, turn: make(chan struct{}, 1)}
}

// take returns the entry of a name, made if there is none, once it is the caller's turn with it.
func (c *catalog) take(ctx context.Context, name, file string) (*entry, error) {
	for {
		e := c.add(name, file)
		if err := e.take(ctx); err != nil {
			return nil, err
		}
		if c.get(name) == e {
			return e, nil
		}
		e.giveBack() // the container was removed meanwhile, and what comes now is another one
	}
}

func (c *catalog) remove(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[e.name] == e {
		delete(c.entries, e.name)
	}
}

func (c *catalog) all() []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.entries), func(a, b *entry) int { return strings.Compare(a.name, b.name) })
}

// take waits for the entry's turn.
func (e *entry) take(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("container %q: another change of it is still being applied: %w", e.name, context.Cause(ctx))
	}
}

// tryTake takes the entry's turn if nobody has it. Otherwise whoever has it is asked to see to another look.
func (e *entry) tryTake() bool {
	e.again.Store(true)
	select {
	case e.turn <- struct{}{}:
		e.again.Store(false)
		return true
	default:
		return false
	}
}

// giveBack ends the turn, and tells whether somebody wanted it meanwhile.
func (e *entry) giveBack() (wanted bool) {
	<-e.turn
	return e.again.Swap(false)
}

// view is a consistent copy of what is known.
func (e *entry) view() (file string, d *config.Definition, b *bundle.Prepared, refused string, supervised bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.file, e.definition, e.bundle, e.refused, e.supervised
}

// refuse notes what is wrong with the newest text.
func (e *entry) refuse(file, text string, inputs []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.file, e.refused = file, text
	if inputs != nil {
		e.inputs = inputs
	}
}

// accept puts a definition in effect.
func (e *entry) accept(d *config.Definition, b *bundle.Prepared) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.file, e.definition, e.bundle, e.inputs = d.File, d, b, d.Bundle.Inputs()
	e.refused, e.supervised = "", true
}

// files are what has to be watched for all containers.
func (c *catalog) files() []string {
	var all []string
	for _, e := range c.all() {
		all = append(all, e.watched()...)
	}
	return all
}

// watched are the files whose content decides about one container.
func (e *entry) watched() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.inputs)
}

// specOf is a definition as the supervisor wants it.
func (d *Daemon) specOf(def *config.Definition, b *bundle.Prepared) *supervisor.Spec {
	return &supervisor.Spec{
		Name: def.Name, Enabled: def.Enabled, Hash: b.Hash, Resources: b.Resources, Restart: def.Restart, Stop: def.Stop,
		Bundle: &watchedBundle{Prepared: b, name: def.Name, notify: def.Bundle.Notify != nil, m: d.monitor}, Health: def.Health,
		Oneshot: def.Oneshot, Ready: def.Ready, Order: def.Order,
	}
}

// installedAs tells what an instance that already runs was started with.
func installedAs(b *bundle.Prepared) supervisor.Installed {
	if b == nil {
		return supervisor.Installed{}
	}
	return supervisor.Installed{Hash: b.Hash, Spec: &supervisor.Spec{Resources: b.Resources}}
}

// isNotInstalled tells that there is no bundle yet, which is no fault.
func isNotInstalled(err error) bool { return errors.Is(err, bundle.ErrNotInstalled) }
