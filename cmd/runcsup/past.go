package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
)

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
