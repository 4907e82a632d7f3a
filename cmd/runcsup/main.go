// Command runcsup supervises OCI containers on one machine: the service (runcsup daemon) and the command line that talks
// to it over its control socket.
//
// Each verb is a file: help, flags and a run function that tests call. The verbs promise the exit codes of exit.go and to
// print nothing but the answer on standard output. They never touch containers themselves.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// What the linker is told of the source (-X main.version=… and so on); empty in a plain go build.
var (
	version string
	commit  string
	date    string // of the commit, RFC 3339
)

func main() {
	os.Exit(mainExit())
}

func mainExit() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, now: time.Now}
	return p.run(ctx, os.Args[1:])
}

// program is what every verb gets: where to print, and the global flags.
type program struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	now    func() time.Time // its location is that of printed times

	socket string // --socket
	format string // --format: formatTable or formatJSON

	// parsed is set when the command line is understood and a verb begins.
	parsed bool
}

// run is the whole program and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := newRootCommand(p)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !p.parsed {
		err = unknownCommand(root, err)
	}
	return p.exit(ctx, err)
}
