package attach

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pipes stand between the standard files of this program and those of a command.
type Pipes struct {
	// The command's ends. Stdin is nil when it gets none; Stderr is Stdout when both go to the same file here, so that what
	// is written to them stays in order.
	Stdin, Stdout, Stderr *os.File

	in      *os.File
	stdin   io.Reader
	outputs []*output
}

// output is one pipe that is copied from.
type output struct {
	rd   *os.File
	to   io.Writer
	done sync.WaitGroup
	err  error // before done
}

// NewPipes makes pipes for a command whose output goes to stdout and stderr, and whose input comes from stdin if that is not
// nil. Close takes them away.
func NewPipes(stdin io.Reader, stdout, stderr io.Writer) (_ *Pipes, err error) {
	p := &Pipes{stdin: stdin}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if stdin != nil {
		if p.in, p.Stdin, err = pipe(writing); err != nil {
			return nil, err
		}
	}
	if p.Stdout, err = p.output(stdout); err != nil {
		return nil, err
	}
	p.Stderr = p.Stdout
	if !sameFile(stdout, stderr) {
		p.Stderr, err = p.output(stderr)
	}
	return p, err
}

func (p *Pipes) output(to io.Writer) (*os.File, error) {
	own, other, err := pipe(reading)
	if err != nil {
		return nil, err
	}
	p.outputs = append(p.outputs, &output{rd: own, to: to})
	return other, nil
}

const (
	reading = 0
	writing = 1
)

// pipe makes a pipe of which own is the end for that. The other one blocks, as programs expect of what they are given.
func pipe(use int) (own, other *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	if err := unix.SetNonblock(fds[use], true); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot make a pipe: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[use]), "pipe"), os.NewFile(uintptr(fds[1-use]), "pipe"), nil
}

func sameFile(a, b io.Writer) bool {
	if a == b {
		return true
	}
	fa, oka := a.(*os.File)
	fb, okb := b.(*os.File)
	if !oka || !okb {
		return false
	}
	sa, erra := fa.Stat()
	sb, errb := fb.Stat()
	return erra == nil && errb == nil && os.SameFile(sa, sb)
}

// Start is for when the command has its ends: they are closed here, and copying begins.
func (p *Pipes) Start() {
	p.closeEnds()
	if p.in != nil {
		go func() { // as long as somebody types: nobody can wait for that
			_, _ = io.Copy(p.in, p.stdin) // an error is that the command does not read any more
			_ = p.in.Close()
		}()
	}
	for _, o := range p.outputs {
		o.done.Go(func() {
			o.err = o.copy()
		})
	}
}

func (o *output) copy() error {
	_, err := io.Copy(o.to, o.rd)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		_ = o.rd.Close() // so that the command hears of it
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}

// Finish is for when the command has ended: what it wrote is copied. What it left behind, and still writes, is not waited
// for. The error is of writing the output.
func (p *Pipes) Finish() error {
	var errs []error
	for _, o := range p.outputs {
		_ = o.rd.SetReadDeadline(time.Now())
		o.done.Wait()
		if o.err == nil {
			o.err = drain(o.rd, o.to)
		}
		errs = append(errs, o.err)
	}
	p.Close()
	return errors.Join(errs...)
}

// Close takes the pipes away.
func (p *Pipes) Close() {
	p.closeEnds()
	if p.in != nil {
		_ = p.in.Close()
	}
	for _, o := range p.outputs {
		_ = o.rd.Close()
	}
}

func (p *Pipes) closeEnds() {
	for _, f := range []*os.File{p.Stdin, p.Stdout, p.Stderr} {
		if f != nil {
			_ = f.Close() // twice for one that is both
		}
	}
}

// drain copies what a pipe holds at this moment.
func drain(rd *os.File, to io.Writer) error {
	rc, err := rd.SyscallConn()
	if err != nil {
		return nil // closed
	}
	var failed error
	buf := make([]byte, 64<<10)
	_ = rc.Control(func(fd uintptr) {
		held, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ) // FIONREAD
		for left := held; err == nil && left > 0; {
			var n int
			n, err = unix.Read(int(fd), buf[:min(left, len(buf))])
			if errors.Is(err, unix.EINTR) {
				err = nil
				continue
			}
			if n <= 0 || err != nil {
				return
			}
			left -= n
			if _, failed = to.Write(buf[:n]); failed != nil {
				return
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("cannot write the output: %w", failed)
	}
	return nil
}
