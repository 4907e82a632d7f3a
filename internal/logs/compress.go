package logs

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// compressor compresses rotated files, one at a time, in a thread that runs when nobody else wants the processor. A killed
// one leaves a temporary file or both files, and nothing half-written by a name that is read.
type compressor struct {
	ctx  context.Context
	fail func(path string, err error)

	mu      sync.Mutex
	queue   []string
	running bool
	wg      sync.WaitGroup
}

// add has a file compressed.
func (c *compressor) add(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, path)
	if c.running || c.ctx.Err() != nil {
		return
	}
	c.running = true
	c.wg.Go(func() {
		// Never unlocked: the thread with its priority ends with the goroutine.
		runtime.LockOSThread()
		lowerPriority()
		for path := c.next(); path != ""; path = c.next() {
			if err := compressFile(c.ctx, path); err != nil && c.ctx.Err() == nil {
				c.fail(path, err)
			}
		}
	})
}

func (c *compressor) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.ctx.Err() != nil {
		c.running = false
		return ""
	}
	path := c.queue[0]
	c.queue = c.queue[1:]
	return path
}

// wait returns when nothing is being compressed any more.
func (c *compressor) wait() { c.wg.Wait() }

const (
	niceLowest      = 19
	ioprioWho       = 1       // IOPRIO_WHO_PROCESS, here a thread
	ioprioIdleClass = 3 << 13 // IOPRIO_CLASS_IDLE
)

// lowerPriority is best effort: without it compression is as important as anything else.
func lowerPriority() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceLowest)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWho, uintptr(unix.Gettid()), ioprioIdleClass)
}

// compressFile replaces a file by path.gz. One that is not there any more is none of its business.
func compressFile(ctx context.Context, path string) error {
	from, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot compress a log: %w", err)
	}
	defer from.Close()
	if err := writeZip(ctx, from, path+tempSuffix); err != nil {
		return fmt.Errorf("cannot compress a log: %w", errors.Join(err, os.Remove(path+tempSuffix)))
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) { // it became too old meanwhile
		return os.Remove(path + tempSuffix)
	}
	if err := os.Rename(path+tempSuffix, path+zipSuffix); err != nil {
		return fmt.Errorf("cannot compress a log: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove a log that is compressed: %w", err)
	}
	return nil
}

func writeZip(ctx context.Context, from *os.File, path string) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, info.Mode().Perm())
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(to, batchBytes)
	zip := gzip.NewWriter(buffered)
	_, err = io.Copy(zip, readerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return from.Read(b)
	}))
	// On the disk before the plain one is removed: a crash of the machine must not leave neither.
	for _, finish := range []func() error{zip.Close, buffered.Flush, to.Sync} {
		if err == nil {
			err = finish()
		}
	}
	return errors.Join(err, to.Close())
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
