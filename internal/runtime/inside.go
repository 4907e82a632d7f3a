package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// OpenNetns opens the network namespace of a container's init. It is nil where that is this process' own. An error wraps
// fs.ErrNotExist when the process has ended.
func OpenNetns(init supervisor.Identity) (*os.File, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(init.Pid) + "/ns/net")
	if err != nil {
		return nil, fmt.Errorf("cannot open a network namespace: %w", err)
	}
	// After the open: what was opened is then of this very process.
	if st, err := readStat(init.Pid); err != nil || st.start != init.StartTime {
		_ = f.Close()
		return nil, fmt.Errorf("cannot open a network namespace: process %d has ended: %w", init.Pid, fs.ErrNotExist)
	}
	var theirs, ours unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &theirs), unix.Stat("/proc/self/ns/net", &ours)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot tell network namespaces apart: %w", err)
	}
	if theirs.Ino == ours.Ino && theirs.Dev == ours.Dev {
		_ = f.Close()
		return nil, nil
	}
	return f, nil
}

// Owns tells whether a process is one of a container's. Of one that has ended nobody can tell, and it is true.
func (r *Runtime) Owns(id string, pid int) bool {
	if r.cgroupOf(id).has(pid) {
		return true
	}
	st, err := readStat(pid)
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || err == nil && st.state == 'Z'
}
