package runtime

import (
	"os"
	"path/filepath"
	"testing"
)

// The peak is there also of a container that ended at once, and of one that used more before its end than at its end.
func TestMemoryPeak(t *testing.T) {
	const mib = 1 << 20
	eachRuntime(t, func(t *testing.T, fl flavour) {
		if fl.systemd {
			t.Skip("systemd removes the cgroup of what has ended, sometimes before it can be read; the peak is unknown then")
		}
		r := fl.runtime(t)
		// dd's block is allocated, filled and freed again.
		p := start(t, r, "peak", shell("dd if=/dev/zero of=/dev/null bs=50M count=1 2>/dev/null; exit 3"))
		if !memoryPeakCounted(p) {
			t.Skip("the kernel does not count it: cgroup v2 before Linux 5.19")
		}
		st, err := p.Wait(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if st.MemoryPeak < 50*mib || st.MemoryPeak > 100*mib {
			t.Errorf("it used 50 MiB, the peak is %d", st.MemoryPeak)
		}
		remove(t, r, "peak")
	})
}

func memoryPeakCounted(p *process) bool {
	for _, dir := range p.cgroup.dirs {
		for _, file := range []string{"memory.peak", "memory.max_usage_in_bytes"} {
			if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
				return true
			}
		}
	}
	return false
}
