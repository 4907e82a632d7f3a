package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// A container with log: journald writes numbered lines while journald is restarted five times and the daemon is killed five
// times: each line is in the journal once and whole, for journalctl and for runcsup logs.
func TestLogsToJournald(t *testing.T) {
	t.Parallel()
	m := service(t)
	// Ends when there is a file /stop; says a long line and one on stderr, too.
	m.write("/srv/rootfs/write", `i=0
while [ ! -e /stop ]; do i=$((i+1)); echo $i; [ $((i % 100)) != 0 ] || echo $i >&2; done
head -c 20000 /dev/zero | tr '\0' x; echo; printf 'bad \377 byte\n'; echo end; exec idle
`)
	m.write("/etc/runcsup/containers.d/npd.yaml", "rootfs: /srv/rootfs\ncommand: [sh, /write]\nlog: journald\n")
	m.must("systemctl", "start", "runcsup")
	pid := m.waitAll("running")["npd"].Pid
	lines := func() int { // the newest line; to count all takes longer than it takes to write as many again
		last := strings.TrimSpace(m.must("journalctl", "-q", "-o", "cat", "-n", "1", "CONTAINER_NAME=npd", "PRIORITY=6"))
		if last == "" {
			return 0
		}
		n, err := strconv.Atoi(last)
		check(t, err)
		return n
	}
	grows := func() {
		before := lines()
		eventually(t, patience, "the journal grows", func() error {
			if n := lines(); n < before+200 {
				return fmt.Errorf("%d lines, before %d", n, before)
			}
			return nil
		})
	}
	for range 5 {
		grows()
		m.must("systemctl", "restart", "systemd-journald")
		grows()
		m.must("systemctl", "kill", "-s", "KILL", "runcsup")
	}
	m.write("/srv/rootfs/stop", "")
	eventually(t, patience, "the last line is there", func() error {
		if out := m.must("journalctl", "-q", "-o", "cat", "-n", "1", "CONTAINER_NAME=npd", "PRIORITY=6"); out != "end" {
			return fmt.Errorf("it is %q", out)
		}
		return nil
	})
	if c := m.waitAll("running")["npd"]; c.Pid != pid {
		t.Fatalf("it was restarted: %s", c.brief())
	}
	for _, args := range [][]string{{"journalctl", "-q", "-o", "cat", "CONTAINER_NAME=npd", "PRIORITY=6"}, {"runcsup", "logs", "--stream", "stdout", "npd"}} {
		text, tail, found := strings.Cut(m.must(args[0], args[1:]...), "xxx")
		count := 0
		for line := range strings.Lines(text) {
			if count++; line != fmt.Sprintf("%d\n", count) {
				t.Fatalf("%s: line %d is %.60q", args[0], count, line)
			}
		}
		if !found || count < 2000 || !strings.HasSuffix(tail, "\nend") {
			t.Fatalf("%s: %d lines, and then %.100q", args[0], count, tail)
		}
		t.Logf("%s: %d lines", args[0], count)
	}
	out := m.must("runcsup", "logs", "-o", "json", "-n", "3", "--stream", "stdout", "npd")
	if !strings.Contains(out, `"data":"YmFkIP8gYnl0ZQ=="`) || !strings.Contains(out, `"cursor":"s=`) {
		t.Errorf("logs -o json: %s", out)
	}
	if n := m.must("sh", "-c", "journalctl -q -o cat CONTAINER_NAME=npd CONTAINER_PARTIAL_MESSAGE=true | wc -c"); strings.TrimSpace(n) != strconv.Itoa(16<<10+1) {
		t.Errorf("the part of the long line has %s bytes", n)
	}
}
