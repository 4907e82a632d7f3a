package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// A daemon that is told to stop while it still starts containers, or takes over those of an earlier daemon, leaves none.
func TestStopDuringBoot(t *testing.T) {
	t.Parallel()
	const count = 12
	n := newNode(t)
	for i := range count {
		n.define(fmt.Sprintf("c%02d", i), "command: [idle]\nstop: {timeout: 2s}\n")
	}
	for _, adopting := range []bool{false, true} {
		for _, after := range []time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond} {
			if adopting {
				n.start()
				for i := range count {
					n.waitState(fmt.Sprintf("c%02d", i), "running")
				}
				n.kill()
			}
			n.start()
			time.Sleep(after)
			n.signal(syscall.SIGTERM)
			if code := n.daemon.wait(t); code != 0 {
				t.Errorf("told to stop %s after its first answer, adopting %t, the daemon ended with code %d", after, adopting, code)
			}
			n.checkGone()
			if t.Failed() {
				t.FailNow()
			}
		}
	}
}
