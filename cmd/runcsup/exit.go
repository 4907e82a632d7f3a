package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/runcsup/runcsup/internal/control"
)

// The exit codes.
const (
	exitDone            = 0
	exitFailed          = 1
	exitUsage           = 2
	exitNotRunning      = 3
	exitNoSuchContainer = 4
	exitNoDaemon        = 5
	exitInterrupted     = 130 // as a shell has it for SIGINT
)

var exitMeanings = map[int]string{
	exitDone:            "done",
	exitFailed:          "failed; standard error says why",
	exitUsage:           "wrong usage",
	exitNotRunning:      "the container is not running",
	exitNoSuchContainer: "no such container",
	exitNoDaemon:        "the daemon is not there",
}

// exitStatus is the end of a verb's help. Codes 0 and 2 are everybody's.
func exitStatus(codes ...int) string {
	var b strings.Builder
	b.WriteString("\n\nEXIT STATUS\n")
	for code := exitDone; code <= exitNoDaemon; code++ {
		common := code == exitDone || code == exitUsage
		for _, c := range codes {
			common = common || c == code
		}
		if common {
			fmt.Fprintf(&b, "  %d  %s\n", code, exitMeanings[code])
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// usageError is a command line that makes no sense.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

// exitError ends the program with a code when all was said already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exit prints err and returns the exit code for it.
func (p *program) exit(ctx context.Context, err error) int {
	p.complain(err)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return exitInterrupted
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var quiet exitError
	var usage *usageError
	var answer *control.Error
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &quiet):
		return int(quiet)
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &answer):
		switch answer.Code {
		case control.CodeUsage:
			return exitUsage
		case control.CodeNoSuchContainer:
			return exitNoSuchContainer
		case control.CodeNoDaemon:
			return exitNoDaemon
		}
	}
	return exitFailed
}

// complain prints an error and what to do about it, if that was not done.
func (p *program) complain(err error) {
	if _, quiet := errors.AsType[exitError](err); quiet || err == nil {
		return
	}
	var usage *usageError
	var answer *control.Error
	hint := ""
	switch {
	case errors.As(err, &usage):
		hint = usage.hint
	case errors.As(err, &answer):
		hint = answer.Hint
	}
	text := "runcsup: " + printable(err.Error()) + "\n"
	if hint != "" {
		text += "hint: " + printable(hint) + "\n"
	}
	_, _ = fmt.Fprint(p.stderr, text) // there is nobody else to tell
}
