package e2e

import (
	"testing"
	"time"
)

// A container that takes its time to stop because its definition is gone holds up no other change, and when its
// definition is back before it is down it runs in the end.
func TestSlowRemoval(t *testing.T) {
	n := newNode(t)
	stubborn := `command: [sh, -c, 'trap "" TERM; echo up; while :; do sleep 1; done']
stop: {timeout: 12s}
`
	n.define("stubborn", stubborn)
	n.define("other", "command: [idle, '1']")
	n.start()
	first := n.waitState("stubborn", "running")
	n.waitOutput("stubborn", "up")
	before := n.waitState("other", "running").Pid

	n.undefine("stubborn")
	n.waitState("stubborn", "stopping")
	began := time.Now()
	n.define("other", "command: [idle, '2']")
	n.waitFor("other", "restarted", func(c container) bool { return c.State == "running" && c.Pid != before })
	if n.get("stubborn").State != "stopping" {
		t.Fatalf("the other change was applied %s later, and the removal was over then: nothing was shown", time.Since(began))
	}
	n.define("stubborn", stubborn)
	n.waitFor("stubborn", "replaced", func(c container) bool { return c.State == "running" && c.Pid != first.Pid })
	if changes, code := n.reload(); code != 0 || changes["stubborn"].Action != "unchanged" {
		t.Errorf("reload after all that: exit code %d, %+v", code, changes)
	}
	n.undefine("stubborn")
	n.waitGone("stubborn")
}
