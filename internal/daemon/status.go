package daemon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/supervisor"
)

// statusLine is what `systemctl status` shows, and knows when the daemon is ready.
type statusLine struct {
	d      *Daemon
	booted bool
	sent   string
}

// text counts the containers by state.
func (s *statusLine) text() string {
	count := map[supervisor.State]int{}
	var refused []string
	list := s.d.List()
	for _, c := range list {
		count[c.State]++
	}
	for _, e := range s.d.catalog.all() {
		if _, _, _, text, _ := e.view(); text != "" {
			refused = append(refused, e.name)
		}
	}
	parts := []string{fmt.Sprintf("%d of %d running", count[supervisor.StateRunning], len(list))}
	for _, state := range []supervisor.State{
		supervisor.StateWaiting, supervisor.StateStarting, supervisor.StateStopping, supervisor.StateBackoff,
		supervisor.StateFailed, supervisor.StateExited, supervisor.StateStopped,
	} {
		if n := count[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(refused) > 0 {
		parts = append(parts, fmt.Sprintf("%d refused: %s", len(refused), someOf(refused)))
	}
	if trouble := s.d.webTrouble(); trouble != "" {
		parts = append(parts, trouble)
	}
	if s.d.history.Err() != nil {
		parts = append(parts, "history cannot be written")
	}
	return strings.Join(parts, ", ")
}

// someOf names the first few.
func someOf(names []string) string {
	const few = 5
	slices.Sort(names)
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// send tells the service manager, if the line is another one.
func (s *statusLine) send() {
	if s.d.notifier == nil {
		return
	}
	if text := s.text(); text != s.sent {
		s.sent = text
		s.d.tell(s.d.notifier.Status(text))
	}
}

// ready tells whether all that is to run was started or has failed, or, if so set, whether all of it runs.
func (s *statusLine) ready() bool {
	if !s.booted || !s.d.supervisor.Settled() {
		return false
	}
	if s.d.settings.ReadyWhen != config.ReadyRunning {
		return true
	}
	for _, c := range s.d.List() {
		if !c.Enabled {
			continue
		}
		switch c.State {
		case supervisor.StateRunning, supervisor.StateStopped, supervisor.StateExited: // the last two: as it should be
		default:
			return false
		}
	}
	return true
}
