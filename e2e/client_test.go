package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runcsup runs a verb of the command line against the node's daemon.
func (n *node) runcsup(args ...string) result {
	n.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(cleanEnv(), "RUNCSUP_SOCKET="+n.socket)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		n.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a verb that has to succeed, and returns what it printed.
func (n *node) must(args ...string) string {
	n.Helper()
	r := n.runcsup(args...)
	if r.code != 0 {
		n.Fatalf("runcsup %s: code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// mustJSON runs a verb that has to succeed with -o json, and decodes what it printed.
func (n *node) mustJSON(into any, args ...string) {
	n.Helper()
	decode(n, n.must(append(args, "-o", "json")...), into)
}

// reload runs `reload -o json`, whatever its exit code, which is returned too.
func (n *node) reload(names ...string) (changes map[string]change, code int) {
	n.Helper()
	r := n.runcsup(append([]string{"reload", "-o", "json"}, names...)...)
	var list []change
	decode(n, r.stdout, &list)
	changes = map[string]change{}
	for _, c := range list {
		changes[c.Name] = c
	}
	return changes, r.code
}

func decode(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, text)
	}
}

// tryList asks the control socket for all containers.
func (n *node) tryList() ([]container, error) {
	answer, err := n.client.Get("http://runcsup/v1/containers")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", answer.Status, body)
	}
	var list []container
	return list, json.Unmarshal(body, &list)
}

// list returns all containers.
func (n *node) list() []container {
	n.Helper()
	list, err := n.tryList()
	check(n, err)
	return list
}

// get returns one container, and ends the test if there is none by that name.
func (n *node) get(name string) container {
	n.Helper()
	list := n.list()
	i := slices.IndexFunc(list, func(c container) bool { return c.Name == name })
	if i < 0 {
		n.Fatalf("there is no container %s", name)
	}
	return list[i]
}

// waitFor waits until a container is as it should be, and returns it.
func (n *node) waitFor(name, what string, is func(container) bool) container {
	n.Helper()
	return n.waitWithin(patience, name, what, is)
}

// waitWithin is waitFor with a deadline of its own.
func (n *node) waitWithin(d time.Duration, name, what string, is func(container) bool) (found container) {
	n.Helper()
	eventually(n, d, name+": "+what, func() error {
		list, err := n.tryList()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(c container) bool { return c.Name == name })
		if i < 0 {
			return errors.New("there is no such container")
		}
		if found = list[i]; !is(found) {
			return fmt.Errorf("it is %s", found.brief())
		}
		return nil
	})
	return found
}

func (c container) brief() string {
	return fmt.Sprintf("%s, pid %d, enabled %t, restarts %d, adopted %t, last exit %s, error %q", c.State, c.Pid, c.Enabled, c.Restarts, c.Adopted, c.LastExit, c.Error)
}

// waitState waits until a container is in a state.
func (n *node) waitState(name, state string) container {
	n.Helper()
	return n.waitFor(name, state, func(c container) bool { return c.State == state })
}

// waitGone waits until there is no container by that name.
func (n *node) waitGone(name string) {
	n.Helper()
	eventually(n, patience, name+" is gone", func() error {
		list, err := n.tryList()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(c container) bool { return c.Name == name }) {
			return errors.New("it is still there")
		}
		return nil
	})
}

// eventually calls f until it returns nil, and ends the test with its last error if that takes longer than d.
func eventually(t testing.TB, d time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for this: %s; but: %v", d, what, err)
		}
		<-tick.C
	}
}

// alive tells whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	f := bytes.Fields(rest)
	return len(f) > 0 && f[0][0] != 'Z' && f[0][0] != 'X'
}

// killProcess sends SIGKILL.
func killProcess(pid int) error {
	if pid <= 0 {
		return fmt.Errorf("no process to kill: pid %d", pid)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// run runs a program that has to succeed, and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
