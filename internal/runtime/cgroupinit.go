package runtime

import (
	"os"
	"strconv"
	"strings"
)

// initInCgroup is the init process of a container of which no file can be believed: the one in its cgroup that is process 1 of a
// pid namespace of its own or, in the host's, the one that nobody else there has made. ok is false when that is not clear.
func (r *Runtime) initInCgroup(id string) (init initRecord, ok bool) {
	pids, err := r.cgroupOf(id).pids()
	if err != nil {
		return initRecord{}, false
	}
	there := map[int]bool{}
	for _, pid := range pids {
		there[pid] = true
	}
	var firsts, roots []initRecord
	for _, pid := range pids {
		st, err := readStat(pid)
		if err != nil || st.state == 'Z' {
			continue
		}
		if isNamespaceInit(pid) {
			firsts = append(firsts, initRecord{pid, st.start})
		}
		if !there[st.ppid] {
			roots = append(roots, initRecord{pid, st.start})
		}
	}
	if len(firsts) == 0 {
		firsts = roots
	}
	// What the container has made itself, namespaces too, has its parent there.
	if len(firsts) > 1 {
		outer := firsts[:0:0]
		for _, f := range firsts {
			if st, err := readStat(f.pid); err == nil && !there[st.ppid] {
				outer = append(outer, f)
			}
		}
		firsts = outer
	}
	if len(firsts) != 1 {
		return initRecord{}, false
	}
	return firsts[0], true
}

// isNamespaceInit tells whether a process is number 1 of a pid namespace below this process's.
func isNamespaceInit(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "NSpid:"); found {
			f := strings.Fields(rest)
			return len(f) > 1 && f[len(f)-1] == "1"
		}
	}
	return false
}
