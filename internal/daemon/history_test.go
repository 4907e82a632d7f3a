package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/supervisor"
)

// remembering is a daemon that does nothing but keep its history in dir, until end is called.
func remembering(t *testing.T, dir string) (d *Daemon, end func()) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	d = &Daemon{log: quiet, catalog: newCatalog(), history: history.Open(dir, quiet, func() {})}
	return d, d.keepHistory(t.Context())
}

// told are the entries since the last call of begin, in short.
func told(t *testing.T, d *Daemon) []string {
	t.Helper()
	entries, err := d.history.Read(history.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		text := e.Type
		for _, word := range []string{e.Container, e.BootID, e.Cause, e.By, e.Action, e.Why, e.Error} {
			if word != "" {
				text += "|" + word
			}
		}
		out = append(out, text)
	}
	return out
}

// A daemon's start says how the one before ended, and whether the machine was started since.
func TestBeginIsNoted(t *testing.T) {
	const killed = "the one before ended without being told to"
	for name, c := range map[string]struct {
		before func(d *Daemon)
		boot   string
		want   []string
	}{
		"the first":      {nil, "one", []string{"boot|one", "daemon-started|one"}},
		"after stop":     {func(d *Daemon) { d.noteEnd("told to", nil) }, "one", []string{"daemon-started|one"}},
		"after kill":     {func(*Daemon) {}, "one", []string{"daemon-started|one|" + killed}},
		"after an error": {func(d *Daemon) { d.noteEnd("", errors.New("no")) }, "one", []string{"daemon-started|one"}},
		"after a reboot": {func(d *Daemon) { d.noteEnd("told to", nil) }, "two", []string{"boot|two", "daemon-started|two"}},
		"after a reset": {func(*Daemon) {}, "two",
			[]string{"boot|two|the machine went down without the daemon being told to stop", "daemon-started|two"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			skip := 0
			if c.before != nil {
				d, end := remembering(t, dir)
				d.bootID = "one"
				d.noteBegin("one")
				c.before(d)
				end()
				skip = len(told(t, d))
			}
			d, end := remembering(t, dir)
			d.noteBegin(c.boot)
			end()
			if got := told(t, d)[skip:]; !slices.Equal(got, c.want) {
				t.Errorf("noted %q, want %q", got, c.want)
			}
		})
	}
}

func TestChangesAreNoted(t *testing.T) {
	d, end := remembering(t, t.TempDir())
	changes := []control.Change{
		{Name: "a", Action: control.ActionUnchanged},
		{Name: "b", Action: control.ActionRefused, Error: "no"}, // where it is new
		{Name: "c", Action: control.ActionRemoved},              // by the supervisor
		{Name: "d", Action: control.ActionRestarted, Why: []string{"env TZ changed", "command changed"}},
		{Name: "e", Action: control.ActionUpdated, Error: "not all of it"},
	}
	for _, c := range changes {
		d.noteChange(c)
	}
	d.noteReload(supervisor.OnBehalfOf(t.Context(), "alice"), changes, nil)
	d.noteReload(t.Context(), nil, errors.New("cannot read it"))
	end()
	want := []string{
		"applied|d|restarted|env TZ changed, command changed",
		"applied|e|updated|not all of it",
		"reload|hand|alice|1 refused, 1 removed, 1 restarted, 1 unchanged, 1 updated",
		"reload|hand|cannot read it",
	}
	if got := told(t, d); !slices.Equal(got, want) {
		t.Errorf("noted\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The history of what is not defined any more goes, as the container went.
func TestStrangersAreForgotten(t *testing.T) {
	d, end := remembering(t, t.TempDir())
	for _, name := range []string{"here", "gone"} {
		d.noteChange(control.Change{Name: name, Action: control.ActionAdded})
	}
	d.catalog.add("here", "here.yaml")
	end()
	d.forgetStrangers()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.history.Run(ctx)
	if got, want := told(t, d), []string{"applied|here|added"}; !slices.Equal(got, want) {
		t.Errorf("there is %q", got)
	}
}

// Trouble that may pass brings another look at the container, later and later; trouble with the definition does not.
func TestLookLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Daemon{catalog: newCatalog(), lookAgain: make(chan struct{}, 1)}
		d.building, d.stopBuilding = context.WithCancel(t.Context())
		e, err := d.catalog.take(t.Context(), "web", "web.yaml")
		if err != nil {
			t.Fatal(err)
		}
		d.lookLater(e, errors.New("a key is wrong"))
		full := fmt.Errorf("cannot build: %w", syscall.ENOSPC)
		for _, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
			begin := time.Now()
			d.lookLater(e, full)
			d.lookLater(e, full) // one look is enough
			d.giveBack(e)
			<-d.lookAgain
			if took := time.Since(begin); took != want {
				t.Errorf("looked again after %s, want %s", took, want)
			}
			if names := d.takeAgain(); len(names) != 1 || !names["web"] {
				t.Errorf("looked at %v", names)
			}
			if err := e.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		d.lookLater(e, errors.New("a key is wrong"))
		d.lookLater(e, full)
		if e.patience != firstPatience {
			t.Errorf("after other trouble it waits %s", e.patience)
		}
		d.stopBuilding()
		d.wg.Wait()
		select {
		case <-d.lookAgain:
			t.Error("it is looked at when the daemon ends")
		default:
		}
	})
}
