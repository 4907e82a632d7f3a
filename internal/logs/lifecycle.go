package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// keeperNames are the names of a container's FIFOs in the descriptor store, by stream.
func keeperNames(name string) [2]string { return [2]string{"out." + name, "err." + name} }

// left tells whether an earlier daemon has left FIFOs.
func (o *output) left() (bool, error) {
	_, err := os.Lstat(o.fifoPath(0))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// open opens the FIFOs, those that an earlier daemon left if there are any, and begins to store what comes.
func (o *output) open() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.streams[0] != nil {
		return nil
	}
	if o.gone {
		return errClosed
	}
	if err := os.Mkdir(o.dir(), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make a directory for FIFOs: %w", err)
	}
	p, err := openPosition(filepath.Join(o.dir(), "position"))
	if err != nil {
		return err
	}
	var streams [2]*fifo
	for i := range streams {
		if streams[i], err = o.openStream(i); err != nil {
			break
		}
		if err = o.c.poller.add(streams[i], o.id); err != nil {
			break
		}
	}
	if err != nil {
		for _, f := range streams {
			if f != nil {
				err = errors.Join(err, f.close())
			}
		}
		p.page.close()
		return err
	}
	o.position, o.streams = p, streams
	return nil
}

// openStream opens one FIFO. The one that the keeper has is the container's, whatever is in the directory.
func (o *output) openStream(stream int) (*fifo, error) {
	k, name := o.c.cfg.Keeper, keeperNames(o.name)[stream]
	if k != nil {
		if kept := k.Take(name); kept != nil {
			f, err := useFIFO(kept)
			if err == nil {
				return f, nil
			}
			o.c.log.Warn("what was kept as a container's output is of no use", "container", o.name, "error", err)
		}
	}
	f, err := openFIFO(o.fifoPath(stream))
	if err != nil || k == nil {
		return f, err
	}
	if err := k.Keep(name, f.file); err != nil {
		o.c.log.Warn("a container's output cannot be kept for the next daemon", "container", o.name, "error", err)
	}
	return f, nil
}

// forContainer opens the FIFOs for a new instance.
func (o *output) forContainer() (stdout, stderr *os.File, err error) {
	if err := o.open(); err != nil {
		return nil, nil, err
	}
	if err := o.endLines(); err != nil {
		return nil, nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.streams[0] == nil {
		return nil, nil, errClosed
	}
	if stdout, err = o.streams[0].forContainer(); err != nil {
		return nil, nil, err
	}
	if stderr, err = o.streams[1].forContainer(); err != nil {
		return nil, nil, errors.Join(err, stdout.Close())
	}
	return stdout, stderr, nil
}

// endLines ends lines of an instance that has ended.
func (o *output) endLines() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for i, f := range o.streams {
		if f != nil {
			errs = append(errs, f.endLine(o.position.isMid(i)))
		}
	}
	return errors.Join(errs...)
}

// settle waits until the FIFOs are empty.
func (o *output) settle(ctx context.Context) error {
	for {
		o.kick()
		if err := o.whenIdle(ctx); err != nil {
			return err
		}
		pending, err := o.pending()
		if err != nil || pending == 0 {
			return err
		}
		text := o.trouble.Load()
		if text == nil {
			continue
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return errors.New(*text)
		}
	}
}

// pending is how many bytes wait to be stored.
func (o *output) pending() (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pending := 0
	for _, f := range o.streams {
		if f == nil {
			continue
		}
		n, err := f.pending()
		if err != nil {
			return 0, err
		}
		pending += n
	}
	return pending, nil
}

// settlePause is between attempts while something is in the way.
const settlePause = 200 * time.Millisecond

// end has the output closed, now or when the work under way has ended.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone = true
	if !o.working {
		o.closeAll()
	}
}

// drop takes the FIFOs out of the keeper.
func (o *output) drop() error {
	if o.c.cfg.Keeper == nil {
		return nil
	}
	var errs []error
	for _, name := range keeperNames(o.name) {
		errs = append(errs, o.c.cfg.Keeper.Drop(name))
	}
	return errors.Join(errs...)
}
