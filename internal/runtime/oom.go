package runtime

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// oomKills is how many processes the kernel killed for want of memory in the cgroup and those below it since they were
// made. ok is false when there is no such count: the cgroup is gone, or none that accounts memory.
func (c cgroup) oomKills() (sum uint64, ok bool) {
	for h, dir := range c.dirs {
		switch {
		case h.v2: // counts for those below as well
			n, found := oomCount(filepath.Join(dir, "memory.events"))
			sum, ok = sum+n, ok || found
		case h.hasMemory():
			// An error means that it is being removed.
			_ = tree(dir, func(dir string) error {
				n, found := oomCount(filepath.Join(dir, "memory.oom_control"))
				sum, ok = sum+n, ok || found
				return nil
			})
		}
	}
	return sum, ok
}

// oomCount finds nothing where the file is not: on a hybrid machine memory is in one version's tree only.
func oomCount(file string) (n uint64, found bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// oomKilled tells whether a process that ended by SIGKILL was killed for want of memory. kills and counted are what
// oomKills says now, before what it said earlier.
//
// The count is the whole cgroup's. Whom the kernel killed it only says in its log; and systemd removes the cgroup of a
// container that has ended, the count with it, sometimes before it can be read.
func (r *Runtime) oomKilled(ctx context.Context, pid int, start, kills uint64, counted bool, before uint64) bool {
	// With fewer kills than before it is a new cgroup.
	grew := kills > before || kills < before && kills > 0
	if counted && !grew {
		return false
	}
	v := r.oomLog(pid, start)
	if v == victimOther {
		// The kernel kills first and writes then.
		if pause(ctx) == nil {
			v = r.oomLog(pid, start)
		}
	}
	switch v {
	case victimThis:
		return true
	case victimOther:
		return false
	}
	return counted && grew
}

// victim is what the kernel's log says of a process.
type victim int

const (
	victimUnknown victim = iota // the log cannot be read, or does not reach back far enough
	victimThis
	victimOther // if any
)

// oomLog looks for the process in the kernel's log. Pids there are those of the initial namespace.
func (r *Runtime) oomLog(pid int, start uint64) victim {
	if !r.initialPids {
		return victimUnknown
	}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return victimUnknown
	}
	defer func() { _ = unix.Close(fd) }()
	since, slack := logTime(start)
	covered := false
	buf := make([]byte, 8<<10) // the most that one record takes
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EPIPE): // EPIPE: records were overwritten meanwhile
			continue
		case errors.Is(err, unix.EAGAIN): // the end
			if covered {
				return victimOther
			}
			return victimUnknown
		case err != nil || n == 0:
			return victimUnknown
		}
		at, killed, ok := parseLogRecord(buf[:n])
		if !ok {
			continue
		}
		if at < since-slack {
			covered = true
		} else if killed == pid {
			return victimThis
		}
	}
}

// logTime is a process's start on the clock of the kernel's log, which stands still in suspend and may run some parts in
// a thousand faster or slower than the others.
func logTime(start uint64) (at, slack time.Duration) {
	var boot, mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return 0, 0
	}
	suspended := time.Duration(boot.Nano() - mono.Nano())
	return ticks(start) - suspended, time.Second + time.Duration(mono.Nano()/1000)
}

var killedProcess = regexp.MustCompile(`\bKilled process (\d+) \(`)

// parseLogRecord reads "priority,sequence,microseconds,flags;text" (Documentation/ABI/testing/dev-kmsg). killed is 0 for a
// record of anything but an OOM kill. ok is false for what is not from the kernel itself: everybody may write to the log.
func parseLogRecord(data []byte) (at time.Duration, killed int, ok bool) {
	head, text, found := bytes.Cut(data, []byte(";"))
	if !found {
		return 0, 0, false
	}
	f := strings.Split(string(head), ",")
	if len(f) < 4 {
		return 0, 0, false
	}
	priority, err := strconv.Atoi(f[0])
	if err != nil || priority < 0 || priority > 7 { // 3 bits of level below the facility, which is 0 for the kernel
		return 0, 0, false
	}
	usec, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || usec < 0 || usec > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return 0, 0, false
	}
	text, _, _ = bytes.Cut(text, []byte("\n")) // what follows is key=value
	if m := killedProcess.FindSubmatch(text); m != nil {
		if killed, err = strconv.Atoi(string(m[1])); err != nil {
			killed = 0
		}
	}
	return time.Duration(usec) * time.Microsecond, killed, true
}

// inInitialPidNamespace tells whether pids here are those that the kernel's log uses (PROC_PID_INIT_INO).
func inInitialPidNamespace() bool {
	ns, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && ns == "pid:[4026531836]"
}
