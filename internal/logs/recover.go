package logs

import "errors"

// recover finishes what an earlier daemon had begun.
func (o *output) recover(options Options, streams [2]*fifo, w *workspace) error {
	p := o.position
	f := streams[p.stream]
	switch p.phase {
	case phaseIdle:
		return o.cutTail(options.Driver == DriverFile)
	case phaseTaking:
		if p.taken != p.first {
			if err := f.take(int(p.size), &p.taken, w.data); err != nil {
				return err
			}
		}
		p.done()
		return nil
	case phaseCarrying:
		c, err := o.carryOf(int(p.stream), int(p.carryTo))
		if err != nil {
			return err
		}
		if p.size > 0 && c.memory[p.carryTo-p.size] == p.first {
			p.carriedOn()
		}
		p.setPhase(phaseIdle)
		return nil
	}
	return o.redo(options, f, w)
}

// redo stores a batch again that an earlier daemon had begun to store.
func (o *output) redo(options Options, f *fifo, w *workspace) error {
	p := o.position
	b, n, err := o.look(int(p.stream), f, w)
	if err != nil {
		return err
	}
	if uint32(n) < p.size || p.size > 0 && w.data[b.carried] != p.first {
		return o.giveUp()
	}
	b.time = p.time
	b.cut(w.data[:b.carried+int(p.size)])
	before := options
	before.Driver = DriverFile
	if p.driver == recordJournal {
		before.Driver = DriverJournald
	}
	s := o.c.newSink(o.name, before)
	err = s.redo(&b, p, w)
	if err = errors.Join(err, s.close()); err != nil {
		return err
	}
	return o.finish(&b, f, w)
}

// giveUp is for a batch whose bytes are gone: the container ended, and the FIFO with it, while nobody held it. Of what was
// stored whole lines stay.
func (o *output) giveUp() error {
	p := o.position
	if p.driver != recordFile {
		p.done()
		return nil
	}
	s := &fileSink{dir: o.c.cfg.Dir, name: o.name}
	if err := errors.Join(s.cutTail(), s.close()); err != nil {
		return err
	}
	if s.inode == p.inode && s.size <= p.offset {
		p.setPhase(phaseIdle) // nothing was stored, also not what was carried
		return nil
	}
	p.done()
	return nil
}

// cutTail removes half a line from the end of a file.
func (o *output) cutTail(file bool) error {
	if !file {
		return nil
	}
	s := &fileSink{dir: o.c.cfg.Dir, name: o.name}
	return errors.Join(s.cutTail(), s.close())
}
