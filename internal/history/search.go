package history

import (
	"bytes"
	"fmt"
	"time"
)

// search looks for entries from the newest to the oldest, so that of long files only the end is decoded.
type search struct {
	q     Query
	limit int
	found []Entry // newest first
	// done: what is older is not wanted.
	done bool
	// Of the file: its name, whose it is, and when it was written.
	name, container string
	written         time.Time
	// newer is the good entry that was met last, wanted or not; damaged counts the lines since that cannot be read.
	newer   Entry
	damaged int
}

// lines goes through the lines of a file.
func (s *search) lines(data []byte) {
	// What follows the last newline is torn, even if it looks like an entry.
	cut := bytes.LastIndexByte(data, '\n')
	if cut < len(data)-1 {
		s.damaged++
	}
	for data = data[:cut+1]; len(data) > 0 && !s.done; {
		data = data[:len(data)-1]
		begin := bytes.LastIndexByte(data, '\n') + 1
		line := data[begin:]
		data = data[:begin]
		e, ok := decode(line)
		switch {
		case ok:
			s.tellDamage(&e)
			s.newer = e
			s.take(&e)
		case len(line) > 0:
			s.damaged++
		}
	}
	s.tellDamage(nil)
}

// tellDamage puts an entry in the place of lines that cannot be read, which follow the entry older if there is one.
func (s *search) tellDamage(older *Entry) {
	if s.damaged == 0 {
		return
	}
	e := Entry{ID: s.newer.ID - 1, At: s.newer.At, Container: s.container, Type: TypeDamaged}
	switch {
	case older != nil:
		e.ID, e.At = older.ID, older.At
	case s.newer.ID == 0:
		e.ID, e.At = s.written.UnixMicro(), s.written.UTC()
	}
	e.Why = fmt.Sprintf("%d lines of %s cannot be read", s.damaged, s.name)
	if s.damaged == 1 {
		e.Why = fmt.Sprintf("one line of %s cannot be read", s.name)
	}
	s.damaged = 0
	s.take(&e)
}

func (s *search) take(e *Entry) {
	if len(s.found) >= s.limit || s.q.After > 0 && e.ID <= s.q.After && e.Type != TypeDamaged {
		s.done = true
		return
	}
	if s.q.Wants(e) {
		s.found = append(s.found, *e)
	}
}
