package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
)

// reconnectEvery is how often a daemon that went away is looked for.
const reconnectEvery = 500 * time.Millisecond

// followEvents prints events until it is interrupted. A daemon that goes away is waited for.
func followEvents(ctx context.Context, p *program, q history.Query) error {
	c := p.client()
	defer c.Close()
	if q.Limit < 0 && q.Since.IsZero() { // should the daemon go away before the first event
		q.Since, q.Limit = p.now(), 0
	}
	connected, complained := false, false
	for {
		var failed error
		before := q.After
		err := c.Events(ctx, q, true, func(e history.Entry) error {
			complained, q.After, q.Limit = false, e.ID, 0
			failed = p.printEvent(e)
			return failed
		})
		var code control.Code
		if answer, ok := errors.AsType[*control.Error](err); ok {
			code = answer.Code
		}
		switch {
		case ctx.Err() != nil:
			return exitError(exitInterrupted)
		case failed != nil:
			return failed
		case code == control.CodeTooSlow && q.After != before:
			continue // what was missed is in the files
		case err == nil, code == control.CodeUnavailable, code == control.CodeTooSlow:
			connected = true
		case code == control.CodeNoDaemon && connected:
		default:
			return err
		}
		if !complained {
			_, _ = fmt.Fprintln(p.stderr, "the daemon went away; waiting for it")
			complained = true
		}
		if !pause(ctx, reconnectEvery) {
			return exitError(exitInterrupted)
		}
	}
}

// pause tells whether the time went by without the context ending.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
