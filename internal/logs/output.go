package logs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// sink is a driver: where a batch goes. Only one goroutine uses it at a time.
type sink interface {
	// store stores the batch: it has the position begin it, and then puts it where it belongs. After an error the batch is
	// what was stored of it nevertheless.
	store(b *batch, p *position, w *workspace) error
	// redo stores a batch that a killed daemon had begun, so that nothing of it is there twice.
	redo(b *batch, p *position, w *workspace) error
	close() error
}

// output is one container's. Its work is done by one goroutine, which is there only while there is something to do.
type output struct {
	c        *Collector
	name     string
	id       int32 // names it in events of the poller
	position *position

	mu      sync.Mutex
	options Options
	streams [2]*fifo // both or none
	working bool
	again   bool          // something came while it was working
	gone    bool          // removed, or the collector closed
	idle    chan struct{} // closed when working ends; nil if nobody waits
	watched chan struct{} // closed when there is something new; nil if nobody waits
	retry   *time.Timer

	// Of the goroutine that works.
	sink      sink
	sinkOf    Options
	recovered bool
	carries   [2]*memoryFile // by stream, nil until half a line has to be carried

	trouble atomic.Pointer[string]
}

// kick has the output worked on.
func (o *output) kick() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.again = true
	if o.working || o.gone || o.streams[0] == nil {
		return
	}
	o.working = true
	o.c.wg.Go(o.work)
}

// work stores what is in the FIFOs until they are empty, or until something is in the way.
func (o *output) work() {
	w, err := o.c.spaces.get()
	if err == nil {
		defer func() { o.c.spaces.put(w) }()
	}
	for {
		o.mu.Lock()
		if !o.again || o.gone {
			o.rest()
			o.mu.Unlock()
			return
		}
		o.again = false
		options, streams := o.options, o.streams
		o.mu.Unlock()
		if err == nil {
			err = o.drain(options, streams, w)
		}
		o.report(err)
		if err != nil {
			o.mu.Lock()
			o.retry.Reset(retryDelay)
			o.again = false
			o.rest()
			o.mu.Unlock()
			return
		}
	}
}

// retryDelay is between attempts to store what could not be stored. Meanwhile the FIFO holds it.
const retryDelay = time.Second

// rest ends the work. It is called with the lock.
func (o *output) rest() {
	o.working = false
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
	if o.gone {
		o.closeAll()
	}
}

// closeAll is called with the lock when nobody works.
func (o *output) closeAll() {
	o.retry.Stop()
	for i, f := range o.streams {
		if f != nil {
			_ = f.close()
			o.streams[i] = nil
		}
	}
	if o.sink != nil {
		_ = o.sink.close()
		o.sink = nil
	}
	if o.position != nil {
		o.position.page.close()
		o.position = nil
	}
	for i, c := range o.carries {
		if c != nil {
			c.close()
			o.carries[i] = nil
		}
	}
}

// drain empties both FIFOs, in turns.
func (o *output) drain(options Options, streams [2]*fifo, w *workspace) error {
	if err := o.prepare(options, streams, w); err != nil {
		return err
	}
	for more := true; more; {
		more = false
		for i := range streams {
			if o.c.ctx.Err() != nil {
				return nil
			}
			any, err := o.batch(i, streams[i], w)
			if err != nil {
				return err
			}
			more = more || any
		}
	}
	for _, f := range streams {
		if err := o.c.poller.rearm(f, o.id); err != nil {
			return err
		}
	}
	return nil
}

// prepare has the driver at hand, and finishes what a killed daemon began.
func (o *output) prepare(options Options, streams [2]*fifo, w *workspace) error {
	if !o.recovered {
		if err := o.recover(options, streams, w); err != nil {
			return fmt.Errorf("cannot go on where an earlier daemon was: %w", err)
		}
		o.recovered = true
	}
	if o.sink != nil && o.sinkOf == options {
		return nil
	}
	if o.sink != nil {
		if err := o.sink.close(); err != nil {
			return err
		}
	}
	o.sink, o.sinkOf = o.c.newSink(o.name, options), options
	return nil
}

// batch stores what is at the head of a FIFO, and tells whether there was anything.
func (o *output) batch(stream int, f *fifo, w *workspace) (bool, error) {
	b, n, err := o.look(stream, f, w)
	if spoiled, ok := errors.AsType[*spoiledError](err); ok {
		o.c.log.Warn("a container's output is lost: it took away what it had written", "container", o.name, "error", err)
		return true, f.drop(spoiled.size)
	}
	if err != nil || n == 0 {
		return false, err
	}
	all := w.data[:b.carried+n]
	b.fill(all)
	if len(b.data) == 0 {
		return true, o.carry(stream, f, all[b.carried:])
	}
	b.time = o.position.nextTime(o.c.now(), b.pieces)
	errStore := o.sink.store(&b, o.position, w)
	if len(b.data) == 0 {
		o.position.setPhase(phaseIdle)
		return false, errStore
	}
	if err := o.finish(&b, f, w); err != nil {
		return true, errors.Join(errStore, err)
	}
	o.notify()
	return true, errStore
}

// look puts what was carried and what is in the FIFO, n bytes, into the workspace.
func (o *output) look(stream int, f *fifo, w *workspace) (b batch, n int, err error) {
	b = batch{stream: stream, carried: int(o.position.carried[stream])}
	n, err = f.peek(w.mirror, w.data[b.carried:b.carried+batchBytes])
	if err != nil || n == 0 || b.carried == 0 {
		return b, n, err
	}
	c, err := o.carryOf(stream, b.carried)
	if err != nil {
		return b, 0, err
	}
	copy(w.data, c.memory[:b.carried])
	return b, n, nil
}

// finish takes a stored batch out of the FIFO.
func (o *output) finish(b *batch, f *fifo, w *workspace) error {
	p := o.position
	p.stored(b)
	p.count(b)
	if p.size > 0 {
		if err := f.take(int(p.size), &p.taken, w.data); err != nil {
			return err
		}
	}
	p.done()
	return nil
}

// carry takes half a line out of the FIFO.
func (o *output) carry(stream int, f *fifo, text []byte) error {
	p := o.position
	from := int(p.carried[stream])
	c, err := o.carryOf(stream, from+len(text))
	if err != nil {
		return err
	}
	c.memory[from] = ^text[0]
	p.carrying(stream, text[0], len(text))
	if err := f.take(len(text), &c.memory[from], c.memory[from+1:]); err != nil {
		return err
	}
	p.carriedOn()
	return nil
}

// carryOf is where a stream's half lines are, with room for n bytes.
func (o *output) carryOf(stream, n int) (*memoryFile, error) {
	if o.carries[stream] == nil {
		c, err := openMemory(filepath.Join(o.dir(), Streams[stream]+".line"), MaxLine)
		if err != nil {
			return nil, err
		}
		o.carries[stream] = c
	}
	return o.carries[stream], o.carries[stream].grow(n)
}

// notify tells those who follow that there is something new.
func (o *output) notify() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watched != nil {
		close(o.watched)
		o.watched = nil
	}
}

// changed returns a channel that is closed when there is something new.
func (o *output) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.watched == nil {
		o.watched = make(chan struct{})
	}
	return o.watched
}

// report notes what is in the way, and logs it when it is news.
func (o *output) report(err error) {
	if err == nil {
		if o.trouble.Swap(nil) != nil {
			o.c.log.Info("container's output is stored again", "container", o.name)
			o.c.cfg.OnTrouble()
		}
		return
	}
	text := err.Error()
	if before := o.trouble.Swap(&text); before == nil {
		o.c.log.Error("container's output cannot be stored; the container is held back when its FIFO is full", "container", o.name, "error", err)
		o.c.cfg.OnTrouble()
	}
}

// whenIdle waits until nothing is being stored.
func (o *output) whenIdle(ctx context.Context) error {
	for {
		o.mu.Lock()
		if !o.working {
			o.mu.Unlock()
			return nil
		}
		if o.idle == nil {
			o.idle = make(chan struct{})
		}
		idle := o.idle
		o.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (o *output) dir() string { return filepath.Join(o.c.cfg.RunDir, o.name) }
