package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

// acted is what became of a verb for one container, in JSON.
type acted struct {
	Name      string               `json:"name"`
	Error     *control.Error       `json:"error"`
	Container *supervisor.Snapshot `json:"container"` // afterwards; null if that failed
}

// act does something with each of the named containers, all at once since much of it is waiting. Errors are printed in the
// order of the names, and the result is the highest exit code among them.
func (p *program) act(ctx context.Context, names []string, do func(*control.Client, string) (supervisor.Snapshot, error)) error {
	c := p.client()
	defer c.Close()
	return p.actInOrder(ctx, c, order{names: names}, do)
}

// actInOrder is act, where some come before others.
func (p *program) actInOrder(ctx context.Context, c *control.Client, o order, do func(*control.Client, string) (supervisor.Snapshot, error)) error {
	names := o.names
	snapshots, errs := make([]supervisor.Snapshot, len(names)), make([]error, len(names))
	done := map[string]chan struct{}{}
	for _, name := range names {
		done[name] = make(chan struct{})
	}
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			defer close(done[name])
			for _, other := range o.first(name) {
				<-done[other]
			}
			snapshots[i], errs[i] = do(c, name)
		})
	}
	all.Wait()
	if ctx.Err() != nil { // the same for all who waited
		return cmp.Or(errs...)
	}
	if p.format == formatJSON {
		results := make([]acted, len(names))
		for i, name := range names {
			results[i] = acted{Name: name}
			if errs[i] == nil {
				results[i].Container = &snapshots[i]
			} else {
				results[i].Error = jsonError(errs[i])
			}
		}
		if err := p.printJSON(results); err != nil {
			return err
		}
	}
	return p.failed(errs)
}

// failed prints what of errs is no nil, and returns the highest of their exit codes, or nil.
func (p *program) failed(errs []error) error {
	highest := exitDone
	for _, err := range errs {
		if err == nil {
			continue
		}
		code := exitCode(err)
		if code == exitNoDaemon {
			return err // the same for all
		}
		p.complain(err)
		highest = max(highest, code)
	}
	if highest != exitDone {
		return exitError(highest)
	}
	return nil
}

// jsonError gives every error the form that the control API has.
func jsonError(err error) *control.Error {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return e
	}
	return &control.Error{Code: control.CodeFailed, Message: err.Error()}
}

// printJSON prints v as indented JSON.
func (p *program) printJSON(v any) error {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("cannot encode the output: %w", err)
	}
	return p.print(buf.String())
}

func (p *program) print(text string) error {
	if _, err := fmt.Fprint(p.stdout, text); err != nil {
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}
