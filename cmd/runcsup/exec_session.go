package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/attach"
	"github.com/runcsup/runcsup/internal/control"
)

const (
	exitNotExecutable = 126 // as a shell has it
	exitNotFound      = 127
)

// execSession is one command with what is connected to it.
type execSession struct {
	p       *program
	client  *control.Client
	name    string
	options control.ExecOptions
	stdin   io.Reader // nil: none
}

// attached is a command's terminal or pipes.
type attached interface{ Finish() error }

func (s *execSession) run(ctx context.Context) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)
	start := s.withPipes
	if s.options.Terminal != nil {
		start = s.withTerminal
	}
	running, files, err := start(ctx)
	if err != nil {
		return execFailed(s.p, err)
	}
	defer func() { _ = running.Close() }() // the command hears of it, if it has not ended
	exit, err := waitExec(ctx, running, signals)
	if ferr := files.Finish(); err == nil {
		err = ferr
	}
	switch {
	case err != nil:
		return err
	case exit.Signal != "":
		return exitError(signalExit(exit.Signal))
	case exit.Code < 0:
		return &control.Error{Code: control.CodeNoDaemon, Message: "the daemon went away, and nobody else can tell how the command ended"}
	case exit.Code != exitDone:
		return exitError(exit.Code)
	}
	return nil
}

func (s *execSession) withPipes(ctx context.Context) (*control.RunningExec, attached, error) {
	pipes, err := attach.NewPipes(s.stdin, s.p.stdout, s.p.stderr)
	if err != nil {
		return nil, nil, err
	}
	running, err := s.client.StartExec(ctx, s.name, s.options, control.ExecFiles{Stdin: pipes.Stdin, Stdout: pipes.Stdout, Stderr: pipes.Stderr})
	if err != nil {
		pipes.Close() // and with them what the runtime said there, which is in the error as well
		return nil, nil, err
	}
	pipes.Start()
	return running, pipes, nil
}

func (s *execSession) withTerminal(ctx context.Context) (*control.RunningExec, attached, error) {
	running, err := s.client.StartExec(ctx, s.name, s.options, control.ExecFiles{})
	if err != nil {
		return nil, nil, err
	}
	terminal, err := attach.Attach(running.Terminal, s.stdin, s.p.stdout)
	if err != nil {
		return nil, nil, errors.Join(err, running.Close())
	}
	return running, terminal, nil
}

// patience is how many signals to end exec passes on before it ends itself.
const patience = 2

// waitExec passes signals on until the command has ended.
func waitExec(ctx context.Context, running *control.RunningExec, signals <-chan os.Signal) (control.Exit, error) {
	// Not ctx, which ends with the first SIGINT.
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	type result struct {
		exit control.Exit
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		exit, err := running.Wait(wctx)
		ended <- result{exit, err}
	}()
	times := map[os.Signal]int{}
	for {
		select {
		case r := <-ended:
			return r.exit, r.err
		case sig := <-signals:
			name := strings.TrimPrefix(unix.SignalName(sig.(syscall.Signal)), "SIG")
			times[sig]++
			final := sig == unix.SIGINT || sig == unix.SIGTERM
			if err := running.Signal(name); err != nil || sig == unix.SIGHUP || final && times[sig] > patience {
				cancel()
				<-ended
				return control.Exit{Code: -1, Signal: name}, nil
			}
		}
	}
}

// signalExit is the exit code for a command that a signal has ended, as shells have it.
func signalExit(name string) int {
	sig, err := control.ParseSignal(name)
	if err != nil {
		return exitFailed
	}
	return 128 + int(sig)
}

// execFailed is the exit for a command that was not started.
func execFailed(p *program, err error) error {
	answer, ok := errors.AsType[*control.Error](err)
	if !ok {
		return err
	}
	codes := map[control.Code]exitError{
		control.CodeConflict: exitNotRunning, control.CodeCommandNotFound: exitNotFound, control.CodeNotExecutable: exitNotExecutable,
	}
	if code, known := codes[answer.Code]; known {
		p.complain(err)
		return code
	}
	return err
}
