package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killRounds bounds how often a cgroup is gone through that gets new processes all the time; from freezeRound on it is
// frozen meanwhile.
const (
	killRounds  = 50
	freezeRound = 3
	killBatch   = 128 // pidfds held at once
)

// processKey tells two processes with one pid apart.
type processKey struct {
	pid   int
	start uint64
}

// kill sends SIGKILL to every process of the cgroup and of those below it, and thaws it so that they die of it. It does
// not wait for them. A cgroup that is not there is no error.
func (c cgroup) kill() error {
	if err := c.guard(); err != nil {
		return err
	}
	for h, dir := range c.dirs {
		if !h.v2 {
			continue
		}
		// Linux ≥ 5.14: all at once, forks included. On a hybrid machine what follows is needed all the same.
		err := writeCgroup(filepath.Join(dir, "cgroup.kill"), "1")
		if err != nil {
			return err
		}
	}
	done := map[processKey]bool{}
	for round := range killRounds {
		if round >= freezeRound {
			c.freeze(true)
		}
		n := 0
		for _, dir := range c.dirs {
			err := tree(dir, func(dir string) error {
				k, err := killProcs(dir, done)
				n += k
				return err
			})
			if err != nil {
				c.freeze(false)
				return err
			}
		}
		c.freeze(false)
		if n == 0 {
			return nil
		}
	}
	return fmt.Errorf("processes keep appearing in cgroup %s", c.path)
}

// killProcs kills what is in one cgroup and not in done, and says how many that were.
func killProcs(dir string, done map[processKey]bool) (int, error) {
	listed, err := procs(dir)
	if err != nil {
		return 0, err
	}
	n := 0
	for batch := range slices.Chunk(listed, killBatch) {
		k, err := killMembers(dir, batch, done)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// killMembers signals only processes that are listed before and after their pidfd was opened: a pid that was recycled in
// between is not a member, and a pidfd of the member that was is harmless.
func killMembers(dir string, pids []int, done map[processKey]bool) (n int, err error) {
	type target struct {
		key processKey
		fd  *pidfd
	}
	var targets []target
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.fd.close())
		}
	}()
	for _, pid := range pids {
		fd, st, err := openProcess(pid)
		if err != nil {
			if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
				continue
			}
			return n, err
		}
		targets = append(targets, target{processKey{pid, st.start}, fd})
	}
	if len(targets) == 0 {
		return 0, nil
	}
	still, err := procs(dir)
	if err != nil {
		return n, err
	}
	for _, t := range targets {
		if done[t.key] || !slices.Contains(still, t.key.pid) {
			continue
		}
		if t.key.pid == os.Getpid() {
			return n, fmt.Errorf("cgroup %s holds this process itself", dir)
		}
		if err := t.fd.signal(unix.SIGKILL, 0); err != nil {
			return n, fmt.Errorf("cannot kill process %d: %w", t.key.pid, err)
		}
		done[t.key] = true
		n++
	}
	return n, nil
}

// freeze stops, or lets go on, all processes of the cgroup. Best effort: it keeps forks from outrunning the kill, and
// whether that worked shows in the list of processes.
func (c cgroup) freeze(frozen bool) {
	for h, dir := range c.dirs {
		_ = tree(dir, func(dir string) error {
			if h.v2 {
				if !frozen {
					return nil // SIGKILL works on the frozen
				}
				return writeCgroup(filepath.Join(dir, "cgroup.freeze"), "1")
			}
			if !slices.Contains(h.options, "freezer") {
				return nil
			}
			file, state := filepath.Join(dir, "freezer.state"), "THAWED"
			if frozen {
				state = "FROZEN"
			}
			if now, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(now)) == state {
				return nil
			}
			return writeCgroup(file, state)
		})
	}
}

// writeCgroup is no error when the cgroup, or this file of it, is not there.
func writeCgroup(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot write to cgroup: %w", err)
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot write to cgroup: %w", err)
	}
	return nil
}

// waitEmpty returns when no process is left in the cgroup or below it. Children of this process for which tracked is
// false are reaped: nobody else waits for them.
func (c cgroup) waitEmpty(ctx context.Context, tracked func(pid int) bool) error {
	for {
		pids, err := c.pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		fd, _, err := openProcess(pids[0])
		if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
			// Gone since the list was made, unless its last threads are still leaving the cgroup.
			err = pause(ctx)
		} else if err == nil {
			err = c.waitMember(ctx, fd, pids[0], tracked)
		}
		if err != nil {
			return err
		}
	}
}

func (c cgroup) waitMember(ctx context.Context, fd *pidfd, pid int, tracked func(int) bool) error {
	defer func() { _ = fd.close() }()
	if !c.has(pid) {
		return pause(ctx) // the pid is another process's by now
	}
	if fd.ended() {
		return pause(ctx) // dead, but not out of the list
	}
	if err := fd.wait(ctx, unix.POLLIN); err != nil {
		state := ""
		if st, serr := readStat(pid); serr == nil {
			state = fmt.Sprintf(" (state %c)", st.state)
		}
		return fmt.Errorf("process %d%s does not end after SIGKILL: %w", pid, state, err)
	}
	if !tracked(pid) {
		// An error is ECHILD: somebody else's child.
		_, _, _ = fd.reap(pid)
	}
	return nil
}

// pause lets a moment pass in which the kernel gets done what it does not report.
func pause(ctx context.Context) error {
	t := time.NewTimer(2 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remove takes away the cgroup and those below it, in all hierarchies. The kernel refuses that for a while after the last
// process has gone.
func (c cgroup) remove(ctx context.Context) error {
	if err := c.guard(); err != nil {
		return err
	}
	for _, dir := range c.dirs {
		for {
			err := tree(dir, rmdir)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return err
			}
			if perr := pause(ctx); perr != nil {
				return errors.Join(err, perr)
			}
		}
	}
	return nil
}

func rmdir(dir string) error {
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove cgroup %s: %w", dir, err)
	}
	return nil
}

// removeIfEmpty takes away the cgroup itself where nothing is in it, in the hierarchies for which in says so.
func (c cgroup) removeIfEmpty(in func(hierarchy) bool) error {
	if err := c.guard(); err != nil {
		return err
	}
	var errs []error
	for h, dir := range c.dirs {
		if !in(h) {
			continue
		}
		if err := rmdir(dir); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// describe names the first processes of a list, for an error.
func describe(pids []int) string {
	var b strings.Builder
	for i, pid := range pids {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more", len(pids)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(pid))
	}
	return b.String()
}
