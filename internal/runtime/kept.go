package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
)

// Keeper keeps open files for the next daemon, by name (notify.Descriptors).
type Keeper interface {
	// Keep keeps a file, which the caller still owns. Under a name that is there already it replaces the one before.
	Keep(name string, f *os.File) error
	Drop(name string) error
	// Take gives what an earlier daemon left under a name, nil if that is nothing. The caller closes it.
	Take(name string) *os.File
	// Names are those of all that is kept.
	Names() []string
}

// noKeeper keeps nothing.
type noKeeper struct{}

func (noKeeper) Keep(string, *os.File) error { return nil }
func (noKeeper) Drop(string) error           { return nil }
func (noKeeper) Take(string) *os.File        { return nil }
func (noKeeper) Names() []string             { return nil }

const keptPrefix = "pidfd."

// keptName is the name under which an instance's pidfd is kept: pidfd.NAME.PID.STARTTIME. The boot is not in it: nothing
// that is kept outlives that.
func keptName(id string, init initRecord) string {
	return fmt.Sprintf("%s%s.%d.%d", keptPrefix, id, init.pid, init.start)
}

// parseKeptName reads what keptName wrote. A container's name may have dots in it.
func parseKeptName(name string) (id string, init initRecord, ok bool) {
	rest, ok := strings.CutPrefix(name, keptPrefix)
	if !ok {
		return "", initRecord{}, false
	}
	f := strings.Split(rest, ".")
	if len(f) < 3 {
		return "", initRecord{}, false
	}
	pid, err1 := strconv.Atoi(f[len(f)-2])
	start, err2 := strconv.ParseUint(f[len(f)-1], 10, 64)
	init = initRecord{pid, start}
	id = strings.Join(f[:len(f)-2], ".")
	return id, init, err1 == nil && err2 == nil && pid > 1 && checkID(id) == nil && name == keptName(id, init)
}

// keep keeps the pidfd of an instance for the next daemon. Where that does not work the instance is none the worse.
func (r *Runtime) keep(p *process) {
	name := keptName(p.id, initRecord{p.identity.Pid, p.identity.StartTime})
	if err := r.kept.Keep(name, p.fd.f); err != nil {
		r.log.Warn("cannot keep a container's pidfd for the next daemon", "container", p.id, "error", err)
	}
}

// keptOf are the instances of a container of which a pidfd is kept.
func (r *Runtime) keptOf(id string) (inits []initRecord) {
	for _, name := range r.kept.Names() {
		if of, init, ok := parseKeptName(name); ok && of == id {
			inits = append(inits, init)
		}
	}
	return inits
}

// keeps tells whether a process is an instance of some container that a later Find may ask for.
func (r *Runtime) keeps(init initRecord) bool {
	for _, name := range r.kept.Names() {
		if _, other, ok := parseKeptName(name); ok && other == init {
			return true
		}
	}
	return false
}

// drop lets go of the pidfd that is kept of an instance.
func (r *Runtime) drop(id string, init initRecord) {
	if err := r.kept.Drop(keptName(id, init)); err != nil {
		r.log.Warn("cannot let go of a kept pidfd", "container", id, "error", err)
	}
}

// dropOthers lets go of the pidfds of a container's earlier instances, which serve no purpose once it is known which one is
// the last: but is nil, or that one.
func (r *Runtime) dropOthers(id string, but *initRecord) {
	for _, init := range r.keptOf(id) {
		if but == nil || init != *but {
			r.drop(id, init)
		}
	}
}

// Forget implements supervisor.Runtime.
func (r *Runtime) Forget(id string, instance supervisor.Identity) {
	r.drop(id, initRecord{instance.Pid, instance.StartTime})
}

// DropKept lets go of what is kept of containers that do not exist, and of what nobody knows the use of: neither is worth a
// place in the store. others are prefixes of names that somebody else keeps for container NAME, as in PREFIX + NAME.
func (r *Runtime) DropKept(exists func(name string) bool, others ...string) {
	for _, name := range r.kept.Names() {
		id, _, ok := parseKeptName(name)
		for _, prefix := range others {
			if rest, is := strings.CutPrefix(name, prefix); is {
				id, ok = rest, true
			}
		}
		if ok && exists(id) {
			continue
		}
		r.log.Info("what an earlier daemon kept is of no use any more", "name", name)
		if err := r.kept.Drop(name); err != nil {
			r.log.Warn("cannot let go of it", "name", name, "error", err)
		}
	}
}

// endOf tells how an instance ended of which a pidfd was kept. It is ErrNotFound when none was, and when what was kept is not
// what it should be.
func (r *Runtime) endOf(ctx context.Context, id string, init initRecord) error {
	f := r.kept.Take(keptName(id, init))
	if f == nil {
		return supervisor.ErrNotFound
	}
	fd, err := keptPidfd(f)
	if err != nil {
		r.log.Warn("what was kept of a container is no pidfd", "container", id, "error", err)
		return supervisor.ErrNotFound
	}
	// Known by its name; the process itself may be gone.
	if !fd.ended() { // it would have been found
		_ = fd.close()
		return fmt.Errorf("process %d is not to be found, and yet it lives", init.pid)
	}
	return r.ended(ctx, r.watch(id, r.cgroupOf(id), init.pid, fd, procStat{start: init.start}, 0))
}

// ended closes a Process that has ended and says how as an EndedError.
func (r *Runtime) ended(ctx context.Context, p *process) error {
	status, err := p.Wait(ctx)
	if err := errors.Join(err, p.Close()); err != nil {
		return fmt.Errorf("cannot tell how it ended: %w", err)
	}
	return &supervisor.EndedError{Identity: p.identity, Status: status}
}

// keptPidfd makes a pidfd of a file that is one.
func keptPidfd(f *os.File) (*pidfd, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	var link string
	err = rc.Control(func(fd uintptr) {
		if err = unix.SetNonblock(int(fd), true); err == nil { // as it was opened; os asks for it only once
			link, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(int(fd)))
		}
	})
	if err == nil && link != "anon_inode:[pidfd]" && !strings.HasPrefix(link, "pidfd:[") {
		err = fmt.Errorf("it is %s", link)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &pidfd{f: f, rc: rc}, nil
}
