package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
)

// pastOptions say how much of what happened is wanted.
type pastOptions struct {
	lines    int // -1: not said
	since    string
	stateDir string
}

func (o *pastOptions) addFlags(c *cobra.Command, lines string) {
	c.Flags().IntVarP(&o.lines, "lines", "n", -1, lines)
	c.Flags().StringVar(&o.since, "since", "", "only what happened since this `time`: 10m, 2d, 03:00, 2026-11-25, \"2026-11-25 03:00\", RFC 3339")
	c.Flags().StringVar(&o.stateDir, "state-dir", "", "without a daemon: the `directory` with its state (default: as in the daemon's settings)")
	_ = c.MarkFlagDirname("state-dir")
}

// query is what the options ask for, limited to lines where they do not say how many.
func (o *pastOptions) query(p *program, c *cobra.Command, lines int) (q history.Query, err error) {
	if c.Flags().Changed("lines") {
		if o.lines < 0 {
			return q, wrongUsage(c, "--lines cannot be negative")
		}
		lines = o.lines
		if lines == 0 {
			lines = -1
		}
	}
	q.Limit = lines
	if o.since != "" {
		if q.Since, err = parseSince(o.since, p.now()); err != nil {
			return q, wrongUsage(c, "wrong --since: "+err.Error())
		}
		if !c.Flags().Changed("lines") {
			q.Limit = 0
		}
	}
	return q, nil
}

// noDaemon tells whether an error is that there is none.
func noDaemon(err error) bool {
	e, ok := errors.AsType[*control.Error](err)
	return ok && e.Code == control.CodeNoDaemon
}

// readHistory reads the files of a daemon that is not there. missing is the error that says so: it stays when it is not
// known where the files are.
func (p *program) readHistory(o pastOptions, q history.Query, missing error) ([]history.Entry, error) {
	dir := o.stateDir
	if dir == "" {
		s, err := config.LoadSettings(config.DefaultSettingsFile, false)
		if err != nil || filepath.Join(s.RunDir, "control.sock") != p.socketPath() {
			return nil, &control.Error{Code: control.CodeNoDaemon, Message: missing.Error(), Hint: "start it, or name its state directory with --state-dir"}
		}
		dir = s.StateDir
	}
	dir = filepath.Join(dir, "history")
	if _, err := os.Stat(dir); err != nil {
		return nil, &control.Error{Code: control.CodeNoDaemon, Message: fmt.Sprintf("%v, and its history cannot be read: %v", missing, err),
			Hint: "start it, or name its state directory with --state-dir; its files are root's"}
	}
	entries, err := history.Read(dir, q)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(p.stderr, "%v; this is from its files in %s\n", missing, dir)
	return entries, nil
}
