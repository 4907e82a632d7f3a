package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/health"
	"github.com/runcsup/runcsup/internal/notify"
)

// keeper is what keeps descriptors for the next daemon.
type keeper interface {
	Keep(name string, f *os.File) error
	Drop(name string) error
	Take(name string) *os.File
}

// notifySockets are the sockets through which containers tell how they are. Each instance has one of its own, made before
// its start: what an earlier instance said is not taken for its word. The descriptor store has it too, so that what is said
// while no daemon runs is heard by the next one.
type notifySockets struct {
	dir  func(name string) string // where a container's socket is
	kept keeper
	log  *slog.Logger

	mu   sync.Mutex
	open map[string]*notify.ContainerSocket
}

func newNotifySockets(dir func(string) string, kept keeper, log *slog.Logger) *notifySockets {
	return &notifySockets{dir: dir, kept: kept, log: log, open: map[string]*notify.ContainerSocket{}}
}

// notifyPrefix is how the names of the sockets in the descriptor store begin.
const notifyPrefix = "notify."

// renew makes a container's socket anew.
func (s *notifySockets) renew(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.make(name)
	return err
}

// make is renew with the lock held.
func (s *notifySockets) make(name string) (*notify.ContainerSocket, error) {
	if err := s.close(name); err != nil {
		s.log.Warn("cannot close an old notify socket", "container", name, "error", err)
	}
	one, err := notify.ListenContainer(s.dir(name), bundle.NotifySocket)
	if err != nil {
		return nil, err
	}
	s.open[name] = one
	f, err := one.File()
	if err == nil {
		err = errors.Join(s.kept.Keep(notifyPrefix+name, f), f.Close())
	}
	if err != nil {
		s.log.Warn("what the container tells while no daemon runs will be lost", "container", name, "error", err)
	}
	return one, nil
}

// close lets go of a socket, if there is one. The lock is held.
func (s *notifySockets) close(name string) error {
	one := s.open[name]
	if one == nil {
		return nil
	}
	delete(s.open, name)
	return errors.Join(one.Close(), s.kept.Drop(notifyPrefix+name))
}

// hear hands on what a running container tells until stop is called. Without a socket, which an earlier daemon had and
// nobody kept, there is a new one: the container finds it in the old one's place.
func (s *notifySockets) hear(name string, owns func(pid int) bool, take func(health.Notification)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.open[name], error(nil)
	if one == nil {
		one, err = s.adopt(name)
	}
	if err != nil {
		s.log.Error("cannot hear what the container tells", "container", name, "error", err)
		return func() {}
	}
	return one.Serve(owns, take)
}

func (s *notifySockets) adopt(name string) (*notify.ContainerSocket, error) {
	f := s.kept.Take(notifyPrefix + name)
	if f == nil {
		return s.make(name)
	}
	defer f.Close()
	one, err := notify.AdoptContainer(f, s.dir(name))
	if err != nil {
		s.log.Warn("what the container told while no daemon ran is lost", "container", name, "error", err)
		return s.make(name)
	}
	s.open[name] = one
	return one, nil
}

// remove takes away all that there is for a container that has ended.
func (s *notifySockets) remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(s.close(name), s.kept.Drop(notifyPrefix+name))
	return errors.Join(err, os.RemoveAll(s.dir(name)))
}

// closeAll gives this process's descriptors back. The next daemon finds those that were kept.
func (s *notifySockets) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, one := range s.open {
		delete(s.open, name)
		if err := one.Close(); err != nil {
			s.log.Warn("cannot close a notify socket", "container", name, "error", err)
		}
	}
}

// watchedBundle is a bundle whose instances tell how they are.
type watchedBundle struct {
	*bundle.Prepared
	name   string
	notify bool // there is a socket in it
	m      *monitor
}

// Install implements supervisor.Bundle.
func (b *watchedBundle) Install(ctx context.Context) (dir string, err error) {
	if dir, err = b.Prepared.Install(ctx); err != nil || !b.notify {
		return dir, err
	}
	if err := b.m.sockets.renew(b.name); err != nil {
		return "", errors.Join(fmt.Errorf("cannot start %q: %w", b.name, err), b.Prepared.Released())
	}
	return dir, nil
}

// Released implements supervisor.Bundle.
func (b *watchedBundle) Released() error {
	return errors.Join(b.Prepared.Released(), b.m.sockets.remove(b.name), b.m.states.forget(b.name))
}
