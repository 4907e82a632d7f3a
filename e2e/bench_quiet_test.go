package e2e

import (
	"fmt"
	"testing"
	"time"
)

// After many definitions have come at once, by reload and under the eyes of the watcher, the daemon comes to rest.
func TestQuietAfterReload(t *testing.T) {
	t.Parallel()
	const count, watched, limit = 60, 2 * time.Second, 100 * time.Millisecond
	n := newNode(t, "--log-level", "info")
	n.start()
	for i := range count {
		n.define(fmt.Sprintf("c%02d", i), "command: [idle]\nenabled: false\n")
	}
	n.must("reload")
	for i := range count {
		n.define(fmt.Sprintf("c%02d", i), "command: [idle, \"1\"]\nenabled: false\n")
	}
	n.must("reload")
	eventually(n, 30*time.Second, "the daemon rests", func() error {
		before := activityOf(n)
		<-time.After(watched)
		did := activityOf(n).minus(before)
		if did.cpu > limit {
			return fmt.Errorf("it used %s of CPU in %s", did.cpu, watched)
		}
		return nil
	})
	n.stop()
}
