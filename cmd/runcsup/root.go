package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
)

const (
	defaultSocket = "/run/runcsup/control.sock"
	socketEnv     = "RUNCSUP_SOCKET"

	formatTable = "table"
	formatJSON  = "json"
)

// The groups of verbs in the help.
const (
	groupLook    = "look"
	groupAct     = "act"
	groupDefine  = "define"
	groupService = "service"
)

func newRootCommand(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:   "runcsup",
		Short: "Keep OCI containers running, without a container engine",
		Long: "runcsup is one service per machine that keeps containers running through an OCI runtime such as runc.\n" +
			"Containers are defined by files in /etc/runcsup/containers.d." +
			exitStatus(exitFailed, exitNotRunning, exitNoSuchContainer, exitNoDaemon) +
			"\n\nWith several containers it is the highest code that one of them got.",
		SilenceErrors:              true,
		SilenceUsage:               true,
		DisableSuggestions:         true, // unknownCommand has them, up to so many wrong letters:
		SuggestionsMinimumDistance: 2,
		PersistentPreRunE:          p.begin,
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return wrongUsage(c, err.Error()) })
	root.PersistentFlags().StringVar(&p.socket, "socket", "", "`path` of the daemon's control socket (default "+socketEnv+" or "+defaultSocket+")")
	root.PersistentFlags().StringVarP(&p.format, "format", "o", formatTable, "print in this `format`: table for people, json for programs")
	_ = root.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{formatTable, formatJSON}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(
		&cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupAct, Title: "Act:"},
		&cobra.Group{ID: groupDefine, Title: "Define:"},
		&cobra.Group{ID: groupService, Title: "The service:"},
	)
	root.SetHelpCommandGroupID(groupService)
	cobra.EnableCommandSorting = false
	// The help has them in this order, within their groups.
	root.AddCommand(
		newListCommand(p), newStatusCommand(p), newTopCommand(p), newShowCommand(p), newHistoryCommand(p), newEventsCommand(p),
		newLogsCommand(p), newGraphCommand(p),
		newStartCommand(p), newStopCommand(p), newRestartCommand(p), newKillCommand(p), newExecCommand(p),
		newEnableCommand(p), newDisableCommand(p), newResetFailedCommand(p),
		newCheckCommand(p), newDiffCommand(p), newReloadCommand(p), newBuildCommand(p), newImportCommand(p),
		newVersionCommand(p), newReexecCommand(p), newDaemonCommand(p), newDemoCommand(p), newPayloadCommand(p),
	)
	root.AddCommand(manCommands()...)
	tuneCompletionCommand(root)
	return root
}

// begin is called before every verb. An error before it is one of usage.
func (p *program) begin(c *cobra.Command, _ []string) error {
	_, dot := c.Annotations[formatDot]
	if p.format != formatTable && p.format != formatJSON && (p.format != formatDot || !dot) {
		return wrongUsage(c, fmt.Sprintf("unknown format %q: it is %s or %s", p.format, formatTable, formatJSON))
	}
	p.parsed = true
	return nil
}

// client returns a client of the daemon; the caller closes it.
func (p *program) client() *control.Client { return control.NewClient(p.socketPath()) }

func (p *program) socketPath() string {
	if p.socket != "" {
		return p.socket
	}
	if s := p.getenv(socketEnv); s != "" {
		return s
	}
	return defaultSocket
}

func wrongUsage(c *cobra.Command, message string) error {
	return &usageError{message: message, hint: c.CommandPath() + " --help says how"}
}

// unknownCommand turns an error of parsing the command line, which cobra gives as text, into one of usage.
func unknownCommand(root *cobra.Command, err error) error {
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	e := &usageError{message: err.Error(), hint: "runcsup --help lists the commands"}
	quoted, found := strings.CutPrefix(e.message, "unknown command ")
	if !found {
		return e
	}
	quoted, prefixErr := strconv.QuotedPrefix(quoted)
	word, unquoteErr := strconv.Unquote(quoted)
	if prefixErr != nil || unquoteErr != nil {
		return e
	}
	e.message = "unknown command " + quoted
	if similar := root.SuggestionsFor(word); len(similar) > 0 {
		e.hint = fmt.Sprintf("did you mean %q?", similar[0])
	}
	return e
}
