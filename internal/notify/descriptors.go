package notify

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxDescriptorName is systemd's limit (FDNAME_MAX).
const maxDescriptorName = 255

// Descriptors are open files by name that outlive the daemon: they lie in the service manager's descriptor store
// (sd_notify(3), FDSTORE=1), from where the next daemon gets them, and are handed on when the daemon executes another program in
// its place. Without a service manager they do only the latter. A nil Descriptors keeps nothing. Its methods may be called
// from any goroutine.
//
// A service manager that does not take a descriptor costs nothing but the descriptor: the trouble is logged once, until it is
// over, and what was not stored is offered again with the next one.
type Descriptors struct {
	notifier *Notifier
	log      *slog.Logger

	mu      sync.Mutex
	kept    map[string]*keptDescriptor
	limit   int  // of the service manager's store, -1 if it is not known
	full    bool // and that was logged
	failing bool // the service manager could not be told, and that was logged
	closed  bool
}

type keptDescriptor struct {
	fd      int  // its own
	left    bool // by an earlier daemon, and nobody has taken it
	stored  bool // the service manager has it, as far as that is known
	offered bool // it may have it
}

// NewDescriptors returns the Descriptors of a daemon. left is what an earlier one left: the files' names are those under which
// they were kept. They are closed; what of them has no name that Keep would take is forgotten. Of several with one name the
// first counts, which is the newest in systemd's store.
func NewDescriptors(n *Notifier, left []*os.File, log *slog.Logger) *Descriptors {
	d := &Descriptors{notifier: n, log: log, kept: map[string]*keptDescriptor{}, limit: -1}
	for _, f := range left {
		name := f.Name()
		fd, err := duplicate(f)
		_ = f.Close() // of no use any more
		switch {
		case err != nil:
			log.Warn("a descriptor of an earlier daemon cannot be used", "name", name, "error", err)
		case checkDescriptorName(name) != nil, d.kept[name] != nil:
			_ = unix.Close(fd)
		default:
			d.kept[name] = &keptDescriptor{fd: fd, left: true, stored: n != nil, offered: n != nil}
		}
	}
	return d
}

// Keep remembers a file under a name, in place of the one that had it. The caller still owns f. The name is one of 1 to 255
// printable ASCII characters without a colon. An error means that f is not kept, not even for a new program in this process.
func (d *Descriptors) Keep(name string, f *os.File) error {
	if d == nil {
		return nil
	}
	if err := checkDescriptorName(name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	fd, err := duplicate(f)
	if err != nil {
		return fmt.Errorf("cannot keep %s: %w", name, err)
	}
	if old := d.kept[name]; old != nil {
		if sameFile(old.fd, fd) {
			old.left = false
			return unix.Close(fd)
		}
		d.forget(name, old)
	}
	d.kept[name] = &keptDescriptor{fd: fd}
	d.store()
	return nil
}

// Drop forgets what is kept under a name, which may be nothing.
func (d *Descriptors) Drop(name string) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.kept[name]; old != nil && !d.closed {
		d.forget(name, old)
		d.store() // there is room now
	}
	return nil
}

// Take returns what an earlier daemon left under a name, nil if that is nothing or was taken before. The caller closes it. It
// stays kept until it is dropped.
func (d *Descriptors) Take(name string) *os.File {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kept[name]
	if k == nil || !k.left {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(k.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		d.log.Warn("a descriptor of an earlier daemon cannot be used", "name", name, "error", err)
		return nil
	}
	k.left = false
	return os.NewFile(uintptr(fd), name)
}

// Names are those of all that is kept, taken or not, sorted.
func (d *Descriptors) Names() []string {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.kept))
}

// SetLimit tells how many descriptors the service manager stores (FileDescriptorStoreMax=), of which it says nothing itself
// when there are more.
func (d *Descriptors) SetLimit(n int) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = n
	stored := 0
	for _, k := range d.kept {
		if k.stored {
			stored++
		}
	}
	if stored > n {
		// Some were refused, and nobody said which: begin anew, so that it is known who is there.
		for name, k := range d.kept {
			if k.stored && !k.left {
				d.told(d.notifier.send("FDSTOREREMOVE=1", "FDNAME="+name))
				k.stored, k.offered = false, false
			}
		}
	}
	d.store()
}

// Kept is one descriptor on its way to the next program in this process.
type Kept struct {
	Name   string `json:"name"`
	FD     int    `json:"fd"`
	Stored bool   `json:"stored"` // the service manager has it, too
}

// HandOver gives all that is kept to the caller, who owns the descriptors from then on. The Descriptors keep nothing any more.
func (d *Descriptors) HandOver() []Kept {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Kept
	for name, k := range d.kept {
		out = append(out, Kept{Name: name, FD: k.fd, Stored: k.stored})
	}
	clear(d.kept)
	d.closed = true
	return out
}

// ResumeDescriptors returns the Descriptors of a daemon that was executed in place of another one, and owns what that has handed
// over.
func ResumeDescriptors(n *Notifier, kept []Kept, log *slog.Logger) *Descriptors {
	d := NewDescriptors(n, nil, log)
	for _, k := range kept {
		d.kept[k.Name] = &keptDescriptor{fd: k.FD, left: true, stored: k.Stored, offered: true}
	}
	return d
}

// Close gives this process's own descriptors back. What the service manager has it keeps.
func (d *Descriptors) Close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for name, k := range d.kept {
		_ = unix.Close(k.fd)
		delete(d.kept, name)
	}
}

// forget closes a descriptor and has the service manager do so. mu is held.
func (d *Descriptors) forget(name string, k *keptDescriptor) {
	if k.offered {
		d.told(d.notifier.send("FDSTOREREMOVE=1", "FDNAME="+name))
	}
	_ = unix.Close(k.fd)
	delete(d.kept, name)
}

// store gives the service manager what it does not have yet. mu is held.
func (d *Descriptors) store() {
	if d.notifier == nil {
		return
	}
	stored := 0
	for _, k := range d.kept {
		if k.stored {
			stored++
		}
	}
	for name, k := range d.kept {
		if k.stored {
			continue
		}
		if d.limit >= 0 && stored >= d.limit {
			if !d.full {
				d.full = true
				d.log.Warn("the service manager's descriptor store is full: how containers end while no daemon runs may stay unknown",
					"limit", d.limit, "hint", "raise FileDescriptorStoreMax= of the unit")
			}
			return
		}
		if err := d.notifier.sendDescriptor(k.fd, "FDSTORE=1", "FDNAME="+name, "FDPOLL=0"); err != nil {
			d.told(err)
			return
		}
		d.told(nil)
		k.stored, k.offered = true, true
		stored++
	}
	d.full = false
}

// told logs the beginning and the end of trouble with the service manager. mu is held.
func (d *Descriptors) told(err error) {
	switch {
	case err != nil && !d.failing:
		d.log.Warn("cannot use the service manager's descriptor store", "error", err)
	case err == nil && d.failing:
		d.log.Info("the service manager's descriptor store can be used again")
	}
	d.failing = err != nil
}

// sendDescriptor sends assignments together with a descriptor, which the service manager duplicates. package net refuses
// descriptors on a datagram socket that is connected, and so has no use here.
func (n *Notifier) sendDescriptor(fd int, assignments ...string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot send the service manager a descriptor: %w", err)
		}
	}()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }() // all is sent or not
	timeout := unix.NsecToTimeval(int64(sendTimeout))
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
		return err
	}
	begin := time.Now()
	for {
		err := unix.Sendmsg(s, message(assignments), unix.UnixRights(fd), &unix.SockaddrUnix{Name: n.addr.Name}, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) || time.Since(begin) > sendTimeout {
			return err
		}
	}
}

func checkDescriptorName(name string) error {
	bad := name == "" || len(name) > maxDescriptorName
	for _, c := range []byte(name) {
		bad = bad || c <= ' ' || c > '~' || c == ':'
	}
	if bad {
		return fmt.Errorf("%q is no name for a kept descriptor", name)
	}
	return nil
}

// duplicate does not use f.Fd, which makes a file blocking.
func duplicate(f *os.File) (fd int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	if err := conn.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return -1, err
	}
	return fd, dupErr
}

// sameFile tells whether two descriptors are of one file. For kernels before 6.9 all pidfds are one; their names tell them
// apart.
func sameFile(a, b int) bool {
	var sa, sb unix.Stat_t
	return unix.Fstat(a, &sa) == nil && unix.Fstat(b, &sb) == nil && sa.Dev == sb.Dev && sa.Ino == sb.Ino
}
