package history

import (
	"context"
	"errors"
	"slices"
)

// ErrTooSlow is what Follow returns when its yield has fallen behind by more than is kept for it. To follow again with
// Query.After of the last entry brings what was missed.
var ErrTooSlow = errors.New("cut off: the reader is slower than the events come")

// ErrEnded is what Follow returns when the log does.
var ErrEnded = errors.New("the history has ended")

// maxBehind is how many entries a follower may be behind.
const maxBehind = 256

// hub hands entries to those who follow. It is guarded by the Log's mutex and never waits for anybody.
type hub struct {
	followers []*follower
	closed    bool
}

type follower struct {
	q       Query
	entries chan Entry // closed by the hub
	slow    bool       // why it was closed; read after that
}

func (h *hub) publish(e *Entry) {
	kept := h.followers[:0]
	for _, f := range h.followers {
		if !f.q.Wants(e) {
			kept = append(kept, f)
			continue
		}
		select {
		case f.entries <- *e:
			kept = append(kept, f)
		default:
			f.slow = true
			close(f.entries)
		}
	}
	clear(h.followers[len(kept):])
	h.followers = kept
}

func (h *hub) leave(f *follower) {
	h.followers = slices.DeleteFunc(h.followers, func(other *follower) bool { return other == f })
}

func (h *hub) close() {
	for _, f := range h.followers {
		close(f.entries)
	}
	h.followers, h.closed = nil, true
}

// Follow calls yield with what there is, oldest first, and then with what happens, each entry once, until ctx ends (then
// the error is its cause), yield fails (the error is yield's), the log ends (ErrEnded) or yield is too slow (ErrTooSlow).
func (l *Log) Follow(ctx context.Context, q Query, yield func(Entry) error) error {
	f := &follower{q: q, entries: make(chan Entry, maxBehind)}
	l.mu.Lock()
	if l.hub.closed {
		l.mu.Unlock()
		return ErrEnded
	}
	l.hub.followers = append(l.hub.followers, f)
	newest, queued := l.lastID, l.queued(q)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.hub.leave(f)
	}()
	before, err := l.readBehind(q, queued)
	if err != nil {
		return err
	}
	for _, e := range before {
		if e.ID > newest {
			break // it comes by the channel as well
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	for {
		select {
		case e, open := <-f.entries:
			switch {
			case open:
				if err := yield(e); err != nil {
					return err
				}
			case f.slow:
				return ErrTooSlow
			default:
				return ErrEnded
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
