package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/notify"
)

// handoverEnv has the number of the descriptor from which a daemon reads what the one before in its process has left it.
const handoverEnv = "RUNCSUP_HANDOVER"

// handoverVersion is that of the Handover that this program writes. It reads those from 1 on.
const handoverVersion = 1

// Handover is what a daemon leaves to the program that is executed in its place: descriptors, by their numbers, which are as
// good as it is after execve(2), and what else is not on disk.
type Handover struct {
	Version int `json:"version"`
	// Reexecs counts the handovers in this process; Error is why the last one led back to the same program.
	Reexecs int    `json:"reexecs"`
	Error   string `json:"error,omitempty"`
	// Listener is the control socket's, -1 if it could not be kept.
	Listener int `json:"listener"`
	// Locks are those of directories.
	Locks       map[string]int `json:"locks"`
	Descriptors []notify.Kept  `json:"descriptors"`
}

// TakeHandover returns what an earlier daemon in this process has left, nil if there was none. No child inherits any of it. It
// is for the daemon's first moments, as notify.TakeEnvironment is.
func TakeHandover() (*Handover, error) {
	value, there := os.LookupEnv(handoverEnv)
	if !there {
		return nil, nil
	}
	h, err := readHandover(value)
	if err = errors.Join(err, os.Unsetenv(handoverEnv)); err != nil {
		return nil, fmt.Errorf("cannot take over from the daemon before: %w", err)
	}
	return h, nil
}

func readHandover(value string) (*Handover, error) {
	fd, err := strconv.Atoi(value)
	if err != nil || fd <= 2 {
		return nil, fmt.Errorf("%s is %q, which is no descriptor", handoverEnv, value)
	}
	f := os.NewFile(uintptr(fd), "handover")
	defer func() { _ = f.Close() }() // it was read
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 64<<20))
	if err != nil {
		return nil, err
	}
	h := &Handover{}
	if err := json.Unmarshal(data, h); err != nil {
		return nil, err
	}
	if h.Version < 1 || h.Version > handoverVersion {
		return nil, fmt.Errorf("what it has left is of version %d, and this program reads 1 to %d", h.Version, handoverVersion)
	}
	for _, fd := range h.fds() {
		unix.CloseOnExec(fd)
	}
	return h, nil
}

// fds are all descriptors in it.
func (h *Handover) fds() (fds []int) {
	if h.Listener >= 0 {
		fds = append(fds, h.Listener)
	}
	for _, fd := range h.Locks {
		fds = append(fds, fd)
	}
	for _, k := range h.Descriptors {
		fds = append(fds, k.FD)
	}
	return fds
}

// takeLock gives the lock of a directory to the caller, nil if it was not handed over.
func (h *Handover) takeLock(dir string) *os.File {
	fd, there := h.Locks[dir]
	if !there {
		return nil
	}
	delete(h.Locks, dir)
	return os.NewFile(uintptr(fd), dir+"/lock")
}

// takeListener gives the control socket to the caller, nil if it was not handed over.
func (h *Handover) takeListener() *os.File {
	if h.Listener < 0 {
		return nil
	}
	f := os.NewFile(uintptr(h.Listener), "control.sock")
	h.Listener = -1
	return f
}

// close gives back what nobody took.
func (h *Handover) close() {
	for _, fd := range h.fds() {
		_ = unix.Close(fd)
	}
	h.Listener, h.Locks, h.Descriptors = -1, nil, nil
}

// exec executes a program in the place of this one, with the same pid, children and locks. It returns only with an error, and
// then nothing has changed.
func (h *Handover) exec(p Program, env notify.Environment) error {
	state, err := h.write()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(state) }()
	environ := append(os.Environ(), handoverEnv+"="+strconv.Itoa(state))
	if env.Socket != "" {
		environ = append(environ, "NOTIFY_SOCKET="+env.Socket)
	}
	if env.Watchdog > 0 {
		environ = append(environ, "WATCHDOG_USEC="+strconv.FormatInt(int64(env.Watchdog/time.Microsecond), 10))
	}
	// No child that is being started may inherit what only this execve is to hand on.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	fds := append(h.fds(), state)
	defer func() {
		for _, fd := range fds {
			unix.CloseOnExec(fd)
		}
	}()
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot hand descriptor %d over: %w", fd, err)
		}
	}
	return fmt.Errorf("cannot execute %s: %w", p.Path, syscall.Exec(p.Path, p.Args, environ))
}

// write puts it into a file in memory.
func (h *Handover) write() (fd int, err error) {
	data, err := json.Marshal(h)
	if err != nil {
		return -1, fmt.Errorf("cannot write down what is handed over: %w", err)
	}
	fd, err = unix.MemfdCreate("runcsup-handover", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("cannot make a file for what is handed over: %w", err)
	}
	for at := 0; at < len(data); {
		n, err := unix.Pwrite(fd, data[at:], int64(at))
		if err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("cannot write down what is handed over: %w", err)
		}
		at += n
	}
	return fd, nil
}
