package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// notifySocket stands in for the service manager.
type notifySocket struct {
	testing.TB
	mu       sync.Mutex
	messages []notification
}

// notification is one message: its assignments, and when it came.
type notification struct {
	at     time.Time
	fields map[string]string
}

// newNotifySocket lets a node's daemons talk to a service manager.
func newNotifySocket(n *node) *notifySocket {
	n.Helper()
	path := filepath.Join(n.dir, "notify.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	check(n, err)
	n.Cleanup(func() { _ = conn.Close() })
	n.env = append(n.env, "NOTIFY_SOCKET="+path)
	s := &notifySocket{TB: n.TB}
	go func() {
		buf := make([]byte, 65536)
		for {
			length, err := conn.Read(buf)
			if err != nil {
				return
			}
			m := notification{at: time.Now(), fields: map[string]string{}}
			for line := range strings.SplitSeq(strings.TrimRight(string(buf[:length]), "\n"), "\n") {
				name, value, _ := strings.Cut(line, "=")
				m.fields[name] = value
			}
			s.mu.Lock()
			s.messages = append(s.messages, m)
			s.mu.Unlock()
		}
	}()
	return s
}

// all returns what came so far.
func (s *notifySocket) all() []notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// find returns the first message after the first skip ones that has an assignment, like READY=1, or, without "=", one of
// that name. The index is -1 if there is none.
func (s *notifySocket) find(skip int, assignment string) (index int, m notification) {
	name, value, exact := strings.Cut(assignment, "=")
	for i, m := range s.all() {
		if got, there := m.fields[name]; i >= skip && there && (!exact || got == value) {
			return i, m
		}
	}
	return -1, notification{}
}

// wait waits for such a message.
func (s *notifySocket) wait(skip int, assignment string) (index int, m notification) {
	s.Helper()
	eventually(s, patience, "the service manager is told "+assignment, func() error {
		if index, m = s.find(skip, assignment); index < 0 {
			return fmt.Errorf("it was told %s", s)
		}
		return nil
	})
	return index, m
}

func (s *notifySocket) String() string {
	var b strings.Builder
	for i, m := range s.all() {
		fmt.Fprintf(&b, "\n%d: %v", i, m.fields)
	}
	return b.String()
}
