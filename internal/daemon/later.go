package daemon

import (
	"errors"
	"syscall"
	"time"
)

// A definition that could not be applied for want of something that may be there in a moment, as space on the disk, is
// tried again by itself, after firstPatience at first and then after longer and longer.
const (
	firstPatience = 5 * time.Second
	mostPatience  = time.Minute
)

// passing are the errors of the system that say nothing about what was asked for.
var passing = []syscall.Errno{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ESTALE,
}

func isPassing(err error) bool {
	for _, errno := range passing {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// lookLater sees to another look at a container in a while, if its trouble may have passed then. It is called in the
// entry's turn.
func (d *Daemon) lookLater(e *entry, trouble error) {
	if !isPassing(trouble) {
		e.patience = 0
		return
	}
	if e.waiting {
		return
	}
	e.patience = min(max(2*e.patience, firstPatience), mostPatience)
	e.waiting = true
	after := time.NewTimer(e.patience)
	d.spawn(func() {
		defer after.Stop()
		select {
		case <-after.C:
		case <-d.building.Done():
			return
		}
		if e.take(d.building) != nil {
			return
		}
		e.waiting = false
		e.again.Store(true)
		d.giveBack(e)
	})
}

// keepCopy keeps the text of a definition that is in effect for a start with one that was broken meanwhile. It is called
// in the entry's turn.
func (d *Daemon) keepCopy(e *entry, text []byte) {
	err := d.definitions.Save(e.name, text)
	if err != nil && !e.uncopied {
		d.log.Warn("cannot keep a copy of the definition; a restart of the daemon with a broken one would have none to fall back on",
			"container", e.name, "error", err)
	}
	e.uncopied = err != nil
	if err != nil {
		d.lookLater(e, err)
	}
}
