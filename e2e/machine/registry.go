package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// registry has a directory for every machine, in which the warden holds a lock as long as it lives.
const registry = "/run/runcsup-machines"

// lockFD is where a warden finds its lock.
const lockFD = 3

func diskOf(name string) string { return filepath.Join(registry, name, "disk") }

// register makes a machine's directory and returns its lock.
func register(name string) (lock *os.File, err error) {
	all, err := lockRegistry()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	dir := filepath.Join(registry, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return takeLock(filepath.Join(dir, "lock"), true)
}

// lockRegistry keeps others from making and sweeping machines until it is closed. The lock is that of the directory itself,
// which goes with the last machine.
func lockRegistry() (*os.File, error) {
	for {
		if err := os.MkdirAll(registry, 0o700); err != nil {
			return nil, err
		}
		f, err := os.Open(registry)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			f, err = locked(f, unix.LOCK_EX)
		}
		if err != nil {
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if there, err := os.Stat(registry); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		if err := f.Close(); err != nil { // removed while this one waited
			return nil, err
		}
	}
}

func takeLock(file string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if wait {
		return locked(f, unix.LOCK_EX)
	}
	return locked(f, unix.LOCK_EX|unix.LOCK_NB)
}

// locked returns the file with the lock, or closes it.
func locked(f *os.File, how int) (*os.File, error) {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(&fs.PathError{Op: "lock", Path: f.Name(), Err: err}, f.Close())
		}
	}
}

// Sweep removes what machines left whose wardens were killed. Machines that are at work it leaves alone, save that those
// whose names begin with mine, if that is not empty, are waited for until ctx ends: their test has ended, so they are about
// to go.
func Sweep(ctx context.Context, mine string) error {
	var errs []error
	for {
		busy, err := sweepOnce(mine)
		errs = append(errs, err)
		if len(busy) == 0 {
			return errors.Join(errs...)
		}
		select {
		case <-ctx.Done():
			return errors.Join(append(errs, fmt.Errorf("machines %v do not go: %w", busy, ctx.Err()))...)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func sweepOnce(mine string) (busy []string, err error) {
	if _, err := os.Stat(registry); err != nil {
		return nil, nil
	}
	all, err := lockRegistry()
	if err != nil {
		return nil, err
	}
	defer all.Close()
	entries, err := os.ReadDir(registry)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() {
			continue
		}
		lock, err := takeLock(filepath.Join(registry, name, "lock"), false)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			if mine != "" && strings.HasPrefix(name, mine) {
				busy = append(busy, name)
			}
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, remove(name), lock.Close())
		}
	}
	_ = os.Remove(registry) // unless there are others
	return busy, errors.Join(errs...)
}
