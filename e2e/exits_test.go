package e2e

import (
	"syscall"
	"testing"
)

// Every end is reported as what it was.
func TestExits(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	const once = "\nrestart: no"
	wants := map[string]string{}
	for _, tt := range []struct{ name, text, want string }{
		{"zero", `command: [sh, -c, "exit 0"]`, "exited/0/"},
		{"three", `command: [sh, -c, "exit 3"]`, "exited/3/"},
		{"looks-killed", `command: [sh, -c, "exit 137"]`, "exited/137/"}, // by itself: nobody killed it
		{"most", `command: [sh, -c, "exit 255"]`, "exited/255/"},
		// The kernel ends even an init process that runs out of stack.
		{"segfault", `command: [awk, "function f(n) { return f(n+1)+1 } BEGIN { print f(0) }"]`, "signaled/-1/SEGV"},
		{"memory", "command: [awk, 'BEGIN { for (s = \"x\";;) s = s s }']\nresources: {memory: 12MiB}", "oom/-1/KILL"},
		// A child was killed for memory, and the container ended by itself after that.
		{"child-memory", "command: [sh, -c, 'awk \"BEGIN { for (s = \\\"x\\\";;) s = s s }\"; exit 4']\nresources: {memory: 12MiB}", "exited/4/"},
		{"killed", `command: [idle]`, "signaled/-1/KILL"},
		// Without a pid namespace it is no init process, which would not be ended by what it does not handle.
		{"terminated", "command: [sleep, '1000000']\noci: {linux: {namespaces: [{type: mount}, {type: ipc}, {type: uts}]}}", "signaled/-1/TERM"},
	} {
		n.define(tt.name, tt.text+once)
		wants[tt.name] = tt.want
	}
	n.start()
	check(t, syscall.Kill(n.waitState("killed", "running").Pid, syscall.SIGKILL))
	check(t, syscall.Kill(n.waitState("terminated", "running").Pid, syscall.SIGTERM))
	for name, want := range wants {
		c := n.waitState(name, "exited")
		if c.LastExit.String() != want || c.Restarts != 0 || c.Pid != 0 || c.NextStartAt != nil {
			t.Errorf("%s: got %s, want last exit %s", name, c.brief(), want)
		}
	}
	n.stop()
}
