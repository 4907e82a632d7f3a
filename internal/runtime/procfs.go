package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BootID is the kernel's identity of this boot (/proc/sys/kernel/random/boot_id).
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// BecomeSubreaper makes orphaned descendants, containers among them, children of this process (prctl(2),
// PR_SET_CHILD_SUBREAPER). It holds for the life of the process and across execve.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become child subreaper: %w", err)
	}
	return nil
}

// procStat is the part of /proc/PID/stat (proc_pid_stat(5)) that tells processes apart.
type procStat struct {
	state byte // 'Z' for a zombie
	ppid  int
	pgrp  int
	// session is the pid of the leader of its session.
	session int
	start   uint64 // clock ticks after boot
}

func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	st, err := parseStat(data)
	if err != nil {
		return procStat{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return st, nil
}

// parseStat reads "pid (comm) state ppid pgrp …"; comm may hold spaces and parentheses.
func parseStat(data []byte) (procStat, error) {
	i := bytes.LastIndexByte(data, ')')
	if i < 0 {
		return procStat{}, errors.New("no command in it")
	}
	f := bytes.Fields(data[i+1:])
	const startField = 22 - 3 // fields are numbered from 1, and the first here is number 3
	if len(f) <= startField {
		return procStat{}, errors.New("too short")
	}
	if len(f[0]) != 1 || f[0][0] < 'A' || f[0][0] > 'z' {
		return procStat{}, errors.New("no state in it")
	}
	ppid, err1 := strconv.Atoi(string(f[1]))
	pgrp, err2 := strconv.Atoi(string(f[2]))
	session, err3 := strconv.Atoi(string(f[3]))
	start, err4 := strconv.ParseUint(string(f[startField]), 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return procStat{}, err
	}
	return procStat{state: f[0][0], ppid: ppid, pgrp: pgrp, session: session, start: start}, nil
}

// openProcess opens a process and says who it is: the stat that is returned is that of the process behind the pidfd.
func openProcess(pid int) (*pidfd, procStat, error) {
	fd, err := openPidfd(pid)
	if err != nil {
		return nil, procStat{}, err
	}
	st, err := readStat(pid)
	if err == nil && !fd.unreaped() {
		err = unix.ESRCH // so what was read may be of another process
	}
	if err != nil {
		_ = fd.close()
		return nil, procStat{}, fmt.Errorf("cannot identify process %d: %w", pid, err)
	}
	return fd, st, nil
}

// bootTicks is the present moment as start times have it.
func bootTicks() (uint64, error) {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, fmt.Errorf("cannot read the clock: %w", err)
	}
	return uint64(boot.Nano()) / uint64(time.Second/100), nil
}

// startedAt turns a start time into one of Go's, by the process's age on the clock that the kernel took it from.
func startedAt(start uint64) time.Time {
	now := time.Now()
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return now // cannot fail: the clock is older than pidfds
	}
	return now.Add(-max(0, time.Duration(boot.Nano())-ticks(start)))
}

// ticks turns clock ticks, of which all architectures that Go and the runtimes run on show 100 in a second, into time.
func ticks(n uint64) time.Duration { return time.Duration(n) * (time.Second / 100) }

// children are the pids of this process's children, zombies included.
func children() ([]int, error) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, fmt.Errorf("cannot list own children: %w", err)
	}
	var pids []int
	for _, t := range tasks {
		data, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if err != nil {
			if _, gone := os.Stat("/proc/self/task/" + t.Name()); gone != nil {
				continue // the thread ended meanwhile; its children are another thread's now
			}
			return nil, fmt.Errorf("cannot list own children: %w", err)
		}
		for _, f := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return nil, fmt.Errorf("cannot list own children: %w", err)
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isContainerMember tells whether a process, living or zombie, is in a pid namespace below this process's, and not its init.
func isContainerMember(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	return nestedPid(data) > 1
}

// nestedPid is the pid in the innermost of several pid namespaces (proc_pid_status(5), NSpid), else 0.
func nestedPid(status []byte) int {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("NSpid:"))
		if !ok {
			continue
		}
		pids := bytes.Fields(rest)
		if len(pids) < 2 {
			return 0
		}
		pid, err := strconv.Atoi(string(pids[len(pids)-1]))
		if err != nil {
			return 0
		}
		return pid
	}
	return 0
}
