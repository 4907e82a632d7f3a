package attach

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// IsTerminal tells whether a standard file is a terminal.
func IsTerminal(file any) bool {
	f, ok := file.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Size is that of the first of the files that is a terminal, or zero.
func Size(files ...any) (rows, columns uint16) {
	for _, file := range files {
		if f, ok := file.(*os.File); ok {
			if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
				return size.Row, size.Col
			}
		}
	}
	return 0, 0
}

// Terminal connects the master side of a command's terminal with this program's.
type Terminal struct {
	master  *os.File
	stdin   io.Reader
	stdout  io.Writer
	restore func()
	resized chan os.Signal
	work    sync.WaitGroup
	err     error // of copying the output, before work is done
}

// quiet is how long nothing has to come from the terminal of a command that has ended, if it left somebody behind who has
// it open: the kernel hands on what was written to it in its own time.
const quiet = 100 * time.Millisecond

// lateBytes is the most that is still read then.
const lateBytes = 1 << 20

// Attach begins to copy, and sets this program's terminal to pass everything on as it comes, if stdin is one. It takes the
// master over. Finish ends it.
func Attach(master *os.File, stdin io.Reader, stdout io.Writer) (*Terminal, error) {
	t := &Terminal{stdin: stdin, stdout: stdout, restore: func() {}}
	// Non-blocking, so that a read can be given up.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the command's terminal: %w", err)
	}
	t.master = os.NewFile(uintptr(fd), "terminal")
	if IsTerminal(stdin) {
		own := int(stdin.(*os.File).Fd())
		before, err := term.MakeRaw(own)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot set the terminal: %w", err), t.master.Close())
		}
		t.restore = func() { _ = term.Restore(own, before) }
	}
	t.resized = make(chan os.Signal, 1)
	signal.Notify(t.resized, unix.SIGWINCH)
	t.work.Go(func() {
		t.resize()
		for range t.resized {
			t.resize()
		}
	})
	if stdin != nil {
		go func() { _, _ = io.Copy(t.master, stdin) }() // as long as somebody types: nobody can wait for that
	}
	t.work.Go(func() { t.err = t.copy() })
	return t, nil
}

func (t *Terminal) resize() {
	rows, columns := Size(t.stdin, t.stdout)
	if rows == 0 || columns == 0 {
		return
	}
	rc, err := t.master.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

// copy ends with EIO when nobody has the command's side open any more.
func (t *Terminal) copy() error {
	_, err := io.Copy(t.stdout, t.master)
	if err == nil || errors.Is(err, syscall.EIO) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("cannot write the output: %w", err)
}

// Finish is for when the command has ended, or is left: what it wrote is copied, and this program's terminal is as before.
func (t *Terminal) Finish() error {
	defer t.restore()
	signal.Stop(t.resized)
	close(t.resized)
	_ = t.master.SetReadDeadline(time.Now().Add(quiet))
	t.work.Wait()
	err := t.err
	if err == nil {
		err = t.late()
	}
	return errors.Join(err, t.master.Close())
}

// late copies until the terminal is quiet.
func (t *Terminal) late() error {
	buf := make([]byte, 4096)
	for left := lateBytes; left > 0; {
		_ = t.master.SetReadDeadline(time.Now().Add(quiet))
		n, err := t.master.Read(buf)
		if _, werr := t.stdout.Write(buf[:n]); werr != nil {
			return fmt.Errorf("cannot write the output: %w", werr)
		}
		if err != nil {
			return nil
		}
		left -= n
	}
	return nil
}
