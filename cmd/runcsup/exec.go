package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/attach"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

type execOptions struct {
	interactive, tty, noTTY bool
	user, dir               string
	env                     []string
}

func newExecCommand(p *program) *cobra.Command {
	var o execOptions
	c := &cobra.Command{
		Use:     "exec NAME COMMAND [ARGUMENT…]",
		Short:   "Execute a command in a running container",
		GroupID: groupAct,
		Long: "Execute a command in a running container, beside its own process and with its environment, capabilities and\n" +
			"limits. When standard input and output are terminals the command gets one, of the same size, as with -it;\n" +
			"otherwise its input is empty unless -i is given. Flags come before NAME: what follows is the command's.\n" +
			"\n" +
			"Signals are passed on (TERM, INT, HUP, QUIT, USR1, USR2); a third INT or TERM ends exec itself. When exec ends or is\n" +
			"killed before the command, that gets SIGHUP, as of a terminal that hangs up; with nohup it goes on. A restart of\n" +
			"the daemon does not disturb it. The end of the container ends it." +
			execExitStatus,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return wrongUsage(c, "exec needs the name of a container and a command")
			}
			return nil
		},
		ValidArgsFunction: p.completeNames(1, func(s supervisor.Snapshot) bool { return s.Pid != 0 }),
		RunE: func(c *cobra.Command, args []string) error {
			name, command := args[0], args[1:]
			if command[0] == "--" && len(command) > 1 { // as kubectl has it
				command = command[1:]
			}
			if o.tty && o.noTTY {
				return wrongUsage(c, "--tty and --no-tty exclude each other")
			}
			if o.tty && o.interactive && !attach.IsTerminal(p.stdin) {
				return wrongUsage(c, "the input is not a terminal: leave --tty away")
			}
			return runExec(c.Context(), p, o, name, command)
		},
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&o.interactive, "interactive", "i", false, "pass standard input on to the command")
	f.BoolVarP(&o.tty, "tty", "t", false, "give the command a terminal")
	f.BoolVarP(&o.noTTY, "no-tty", "T", false, "give it none, whatever standard input and output are")
	f.StringVarP(&o.user, "user", "u", "", "run as this `user[:group]`, names or numbers, in place of the container's")
	f.StringVarP(&o.dir, "workdir", "w", "", "run in this `directory`")
	f.StringArrayVarP(&o.env, "env", "e", nil, "set `key=value` in its environment; KEY alone takes the value from here, if there is one")
	return c
}

const execExitStatus = `

EXIT STATUS
  0  done
  1  failed; standard error says why
  2  wrong usage
  3  the container is not running
  4  no such container
  5  the daemon is not there
  126  the command cannot be executed
  127  the container has no such command

Else it is that of the command, or 128 and the number of the signal that ended it. An error of runcsup's own is told by
"runcsup: " on standard error.`

func runExec(ctx context.Context, p *program, o execOptions, name string, command []string) error {
	if !o.noTTY && !o.tty && !o.interactive && attach.IsTerminal(p.stdin) && attach.IsTerminal(p.stdout) {
		o.tty, o.interactive = true, true
	}
	options := control.ExecOptions{Args: command, Dir: o.dir, User: o.user}
	if o.tty {
		rows, columns := attach.Size(p.stdin, p.stdout)
		options.Terminal = &control.TerminalSize{Rows: rows, Columns: columns}
		if term := p.getenv("TERM"); term != "" {
			options.Env = append(options.Env, "TERM="+term)
		}
	}
	for _, kv := range o.env {
		if !strings.Contains(kv, "=") {
			value := p.getenv(kv)
			if value == "" {
				continue
			}
			kv += "=" + value
		}
		options.Env = append(options.Env, kv)
	}
	c := p.client()
	defer c.Close()
	s := &execSession{p: p, client: c, name: name, options: options}
	if o.interactive {
		s.stdin = p.stdin
	}
	return s.run(ctx)
}
