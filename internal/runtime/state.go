package runtime

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// initRecord is a container's init process as somebody wrote it down.
type initRecord struct {
	pid   int
	start uint64 // clock ticks after boot
}

// recordedInit reads runc's state.json or crun's status. ok is false when there is neither, or nothing of use in it.
func (r *Runtime) recordedInit(id string) (init initRecord, ok bool) {
	var runc struct {
		Pid   int    `json:"init_process_pid"`
		Start uint64 `json:"init_process_start"`
	}
	if r.readState(id, "state.json", &runc) {
		return initRecord{runc.Pid, runc.Start}, runc.Pid > 1 && runc.Start > 0
	}
	var crun struct {
		Pid   int    `json:"pid"`
		Start uint64 `json:"process-start-time"`
	}
	if r.readState(id, "status", &crun) {
		return initRecord{crun.Pid, crun.Start}, crun.Pid > 1 && crun.Start > 0
	}
	return initRecord{}, false
}

// isCrun tells by its files whether crun made a container.
func (r *Runtime) isCrun(id string) bool {
	_, err := os.Stat(filepath.Join(r.stateDir(id), "status"))
	return err == nil
}

func (r *Runtime) readState(id, name string, into any) bool {
	data, err := os.ReadFile(filepath.Join(r.stateDir(id), name))
	return err == nil && json.Unmarshal(data, into) == nil
}

// halfMade tells that the runtime was killed before it wrote down what it made, for the runtimes whose files are known.
func (r *Runtime) halfMade(id string) bool {
	entries, err := os.ReadDir(r.stateDir(id))
	return err == nil && len(entries) == 0
}
