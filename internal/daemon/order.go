package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/supervisor"
)

// survey is what a look at the files found, as far as one definition depends on the others: who may be named, and which
// of them would have containers wait for each other.
type survey struct {
	d      *Daemon
	loaded map[string]config.Loaded // by name, those whose file is gone with errGone
	only   []string                 // names that this look is about; nil: all
	faults map[string]config.Errors

	expected sync.Once

	mu    sync.Mutex
	again []string // those that closed a cycle with what was in effect at that moment
}

func (d *Daemon) newSurvey(loaded map[string]config.Loaded, only []string) *survey {
	s := &survey{d: d, loaded: loaded, only: only}
	s.faults = s.check(nil).Errors()
	return s
}

// check is about all definitions, of which one may be another than was loaded.
func (s *survey) check(other *config.Definition) config.OrderCheck {
	c := config.OrderCheck{Definitions: map[string]*config.Definition{}, InEffect: s.inEffect}
	for name, l := range s.loaded {
		if !errors.Is(l.Err, errGone) {
			c.Known = append(c.Known, name)
		}
		if l.Definition != nil && (len(s.only) == 0 || slices.Contains(s.only, name)) {
			c.Definitions[name] = l.Definition
		}
	}
	if other != nil {
		c.Definitions[other.Name] = other
	}
	slices.Sort(c.Known)
	return c
}

// inEffect is the order with which a container is supervised or, before it is, was by the daemon before.
func (s *survey) inEffect(name string) (supervisor.Order, bool) {
	if e := s.d.catalog.get(name); e != nil {
		if _, def, _, _, supervised := e.view(); supervised {
			return def.Order, true
		}
	}
	src, err := s.d.definitions.Load(name)
	if err != nil {
		return supervisor.Order{}, false
	}
	def, err := config.Parse(s.d.definitionFile(name), src)
	if err != nil {
		return supervisor.Order{}, false
	}
	return def.Order, true
}

// judge refuses a definition because of the others. What was read is perhaps not what was loaded: the file may have
// changed since.
func (s *survey) judge(l config.Loaded) config.Loaded {
	if l.Definition == nil {
		return l
	}
	faults := s.faults[l.Name]
	if known := s.loaded[l.Name].Definition; known == nil || !bytes.Equal(known.Source, l.Definition.Source) {
		faults = s.check(l.Definition).Errors()[l.Name]
	}
	if len(faults) > 0 {
		l.Definition, l.Err = nil, faults
	}
	return l
}

// reread reads a file again and judges it.
func (s *survey) reread(l config.Loaded) config.Loaded { return s.judge(reread(&s.d.loader, l)) }

// leaving are the names of containers that this look is about, whose file is gone and that nobody needs who stays. needed has the others of which the
// file is gone, each with the names of those who stay, because of a file or because they are needed themselves, and need it.
func (s *survey) leaving() (leaving []string, needed map[string][]string) {
	needs, gone := map[string][]string{}, map[string]bool{}
	var open []string // who stays, and was not asked yet whom he needs
	for _, e := range s.d.catalog.all() {
		_, def, _, _, supervised := e.view()
		if !supervised {
			continue
		}
		l := s.loaded[e.name]
		gone[e.name] = errors.Is(l.Err, errGone)
		if !gone[e.name] {
			open = append(open, e.name)
		}
		for _, name := range def.Order.Needs() {
			if l.Definition == nil || slices.Contains(l.Definition.Order.Needs(), name) || len(s.faults[e.name]) > 0 { // else not any more
				needs[e.name] = append(needs[e.name], name)
			}
		}
	}
	needed = map[string][]string{}
	for len(open) > 0 {
		at := open[0]
		open = open[1:]
		for _, name := range needs[at] {
			if !gone[name] {
				continue
			}
			if needed[name] == nil {
				open = append(open, name)
			}
			needed[name] = append(needed[name], at)
		}
	}
	for name, is := range gone {
		if is && needed[name] == nil && (len(s.only) == 0 || slices.Contains(s.only, name)) {
			leaving = append(leaving, name)
		}
	}
	return leaving, needed
}

// needed says who keeps a container from being removed whose file is gone, and with whom it is removed if that is nobody.
func (s *survey) needed(e *entry) (with []string, err error) {
	with, needed := s.leaving()
	if by := needed[e.name]; len(by) > 0 {
		return nil, fmt.Errorf("its definition is gone, but %s needs it: it is left as it is until that changes", strings.Join(by, " and "))
	}
	return with, nil
}

// note remembers a definition that closed a cycle with what was in effect: another one may just be about to be applied
// that opens it.
func (s *survey) note(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = append(s.again, name)
}

// takeAgain are the names noted since the last time.
func (s *survey) takeAgain() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.again
	s.again = nil
	return names
}

// byName sorts what was loaded.
func byName(loaded []config.Loaded) map[string]config.Loaded {
	files := map[string]config.Loaded{}
	for _, l := range loaded {
		files[l.Name] = l
	}
	return files
}

// expect tells the supervisor, once, which containers may be about to come, so that those after them wait. Each of them
// has to be looked at after that, and noteAbsence called if nothing came of it. Nil names are all.
func (s *survey) expect(names map[string]bool) {
	s.expected.Do(func() {
		for name, l := range s.loaded {
			about := names == nil || names[name]
			if about && len(s.only) > 0 {
				about = slices.Contains(s.only, name)
			}
			if about && !errors.Is(l.Err, errGone) {
				s.d.supervisor.Expect(name)
			}
		}
	})
}

// noteAbsence tells it of one that does not come.
func (d *Daemon) noteAbsence(e *entry) {
	switch _, _, _, refused, supervised := e.view(); {
	case supervised:
	case refused != "" && d.catalog.get(e.name) == e:
		d.supervisor.Absent(e.name, "whose definition is refused")
	default:
		d.supervisor.Absent(e.name, "")
	}
}

// inWords gives an error of the supervisor about the order of containers the place in the file that it comes from.
func inWords(def *config.Definition, err error) error {
	if cycle, ok := errors.AsType[*supervisor.CycleError](err); ok {
		return config.Errors{def.CycleError(cycle.Path)}
	}
	return err
}

// addWithoutCycle hands a container to the supervisor that must be taken over in any case: rather without its order than
// not at all.
func (d *Daemon) addWithoutCycle(ctx context.Context, spec *supervisor.Spec, installed supervisor.Installed) error {
	err := d.supervisor.Add(ctx, spec, installed)
	if _, cyclic := errors.AsType[*supervisor.CycleError](err); !cyclic {
		return err
	}
	d.log.Warn("container is supervised without its order", "container", spec.Name, "error", err)
	alone := *spec
	alone.Order = supervisor.Order{}
	return d.supervisor.Add(ctx, &alone, installed)
}
