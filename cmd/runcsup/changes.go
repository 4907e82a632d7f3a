package main

import (
	"fmt"
	"strings"

	"github.com/runcsup/runcsup/internal/control"
)

// didText and wouldText are a Change's action as reload and as diff say it.
var (
	didText = map[string]string{
		control.ActionUnchanged: "unchanged",
		control.ActionAdded:     "added, not started",
		control.ActionStarted:   "started",
		control.ActionRestarted: "restarted",
		control.ActionUpdated:   "updated without a restart",
		control.ActionChanged:   "changed, applies at the next start",
		control.ActionRemoved:   "removed",
		control.ActionRefused:   "refused",
	}
	wouldText = map[string]string{
		control.ActionUnchanged: "unchanged",
		control.ActionAdded:     "would be added, not started",
		control.ActionStarted:   "would be started",
		control.ActionRestarted: "would be restarted",
		control.ActionUpdated:   "would be updated without a restart",
		control.ActionChanged:   "changed, would apply at the next start",
		control.ActionRemoved:   "would be stopped and removed",
		control.ActionRefused:   "would be refused",
	}
)

// printChanges prints one line per container, and returns an error if one was refused or failed.
func (p *program) printChanges(changes []control.Change, words map[string]string) error {
	if p.format == formatJSON {
		if err := p.printJSON(changes); err != nil {
			return err
		}
	} else if err := p.print(changesText(changes, words)); err != nil {
		return err
	}
	for _, c := range changes {
		if c.Action == control.ActionRefused || c.Error != "" {
			return exitError(exitFailed)
		}
	}
	return nil
}

func changesText(changes []control.Change, words map[string]string) string {
	var b strings.Builder
	for _, c := range changes {
		text, known := words[c.Action]
		if !known { // of a newer daemon
			text = printable(c.Action)
		}
		fmt.Fprintf(&b, "%s: %s", c.Name, text)
		if len(c.Why) > 0 {
			fmt.Fprintf(&b, " (%s)", printable(strings.Join(c.Why, "; ")))
		}
		if c.Error != "" {
			fmt.Fprintf(&b, ": %s", indented(printable(c.Error), "    "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
