package daemon

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/runcsup/runcsup/health"
	"github.com/runcsup/runcsup/supervisor"
)

// probeStates remembers what the probes of an instance have found, in a small file for each container: so that a container
// which is ready stays so when the daemon is restarted, and READY=1 is heard once.
type probeStates struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	known map[string]probeState
}

// probeState is what is in a file.
type probeState struct {
	Instance supervisor.Identity `json:"instance"`
	State    health.State        `json:"state"`
}

// newProbeStates keeps the files in dir, which belongs in the run directory: nothing of it is worth anything after a boot.
func newProbeStates(dir string, log *slog.Logger) *probeStates {
	return &probeStates{dir: dir, log: log, known: map[string]probeState{}}
}

func (s *probeStates) file(name string) string { return filepath.Join(s.dir, name+".json") }

// load returns the zero State for an instance of which nothing is known.
func (s *probeStates) load(name string, of supervisor.Identity) (state health.State, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, there := s.known[name]
	if !there {
		data, err := os.ReadFile(s.file(name))
		if err == nil {
			err = json.Unmarshal(data, &k)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("what the probes of a container found is lost, and found out anew", "container", name, "error", err)
		}
	}
	if k.Instance != of {
		return health.State{}, false
	}
	return k.State, true
}

// remember is save without a file, for whoever must not wait.
func (s *probeStates) remember(name string, of supervisor.Identity, state health.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[name] = probeState{Instance: of, State: state}
}

// save replaces what is known. It is not worth an fsync: what it is about does not outlive a crash of the machine.
func (s *probeStates) save(name string, of supervisor.Identity, state health.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := probeState{Instance: of, State: state}
	if s.known[name] == now {
		return
	}
	s.known[name] = now
	data, err := json.Marshal(now)
	if err == nil {
		err = s.write(name, data)
	}
	if err != nil {
		s.log.Warn("cannot note what the probes of a container found; the next daemon finds it out anew", "container", name, "error", err)
	}
}

func (s *probeStates) write(name string, data []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	beside := filepath.Join(s.dir, "."+name+".new")
	if err := os.WriteFile(beside, data, 0o600); err != nil {
		return err
	}
	return os.Rename(beside, s.file(name))
}

// forget removes what is known of a container that has ended.
func (s *probeStates) forget(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, name)
	if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
