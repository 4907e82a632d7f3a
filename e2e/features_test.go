package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dockerCapabilities is docker's default set as the kernel prints it.
const dockerCapabilities = "00000000a80425fb"

// inside defines a container that runs a script once and returns what it has written.
func inside(n *node, name, script, more string) string {
	n.Helper()
	n.define(name, "command:\n- sh\n- -c\n- |\n  "+strings.ReplaceAll(strings.TrimSpace(script), "\n", "\n  ")+"\nrestart: no\n"+more)
	c := n.waitFor(name, "has ended", func(c container) bool { return c.State == "exited" || c.State == "backoff" || c.State == "failed" })
	if c.LastExit.String() != "exited/0/" {
		n.Errorf("%s: %s", name, c.brief())
	}
	r := n.runcsup("logs", name)
	if r.code != 0 {
		n.Errorf("logs %s: code %d, %s", name, r.code, r.stderr)
	}
	return r.stdout
}

// wantLines checks a container's output.
func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	if got != strings.Join(want, "\n")+"\n" {
		t.Errorf("the container says\n%swant\n%s", got, strings.Join(want, "\n"))
	}
}

// What a definition asks for is what the container sees.
func TestInsideAContainer(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.env = []string{"NOTIFY_SOCKET=", "DAEMON_ONLY=1"}
	n.start()

	t.Run("defaults", func(t *testing.T) {
		n := n.in(t)
		out := inside(n, "defaults", `
echo pid $$
id -u; id -g; pwd; hostname
grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
env | sort
unshare -U true 2>&1
echo x 2>&1 >/proc/sys/kernel/hostname
cat /proc/kcore | wc -c
touch /file && echo writable
cat /etc/hostname
grep -c localhost /etc/hosts
`, "")
		want := []string{
			"pid 1", "0", "0", "/", "defaults",
			"CapInh:\t0000000000000000", "CapPrm:\t" + dockerCapabilities, "CapEff:\t" + dockerCapabilities, "CapBnd:\t" + dockerCapabilities,
			"CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
		}
		if !strings.HasPrefix(out, strings.Join(want, "\n")+"\n") {
			t.Errorf("the container says\n%swant first\n%s", out, strings.Join(want, "\n"))
		}
		for _, not := range []string{"NOTIFY_SOCKET", "DAEMON_ONLY", n.dir} {
			if strings.Contains(out, not) {
				t.Errorf("the container sees %s:\n%s", not, out)
			}
		}
		for _, want := range []string{
			`(?m)^PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin$`, `(?m)^unshare: .*not permitted$`,
			`(?m)Read-only file system$`, `(?m)^0$`, `(?m)^writable\ndefaults$`,
		} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no match of %q:\n%s", want, out)
			}
		}
	})

	t.Run("descriptors", func(t *testing.T) {
		out := inside(n.in(t), "descriptors", `for fd in /proc/1/fd/*; do echo "${fd##*/} $(readlink $fd)"; done`, "")
		if !strings.HasPrefix(out, "0 /dev/null\n1 ") || strings.Count(out, "\n") > 4 {
			t.Errorf("the init process has other descriptors than its own:\n%s", out)
		}
	})

	t.Run("process", func(t *testing.T) {
		writeFile(t, filepath.Join(n.dir, "one.env"), "# a remark\nA=one\nB=one\nC=\"in quotes\"\n\nD=one\n")
		writeFile(t, filepath.Join(n.dir, "two.env"), "B=two\nD=two\n")
		out := inside(n.in(t), "process", `
id -u; id -g; id -G; pwd; hostname
echo $A $B $D
grep CapEff /proc/self/status
ulimit -n; ulimit -Hn; ulimit -u
cat /proc/self/oom_score_adj
sleep 0.1
cat /proc/sys/net/core/somaxconn
`, `
user: app
workdir: /home/app
hostname: box
env: {D: env}
envFile: [DIR/one.env, DIR/two.env]
rlimits: {nofile: {soft: 100, hard: 200}, nproc: 500}
oci: {process: {oomScoreAdj: 321}, linux: {sysctl: {net.core.somaxconn: "77"}}}
`)
		wantLines(t, out, "1000", "1000", "1000 2000", "/home/app", "box", "one two env", "CapEff:\t0000000000000000", "100", "200", "500", "321", "77")
	})

	t.Run("user by number", func(t *testing.T) {
		wantLines(t, inside(n.in(t), "number", "id -u; id -g", `user: "4711:4712"`), "4711", "4712")
	})

	t.Run("capabilities", func(t *testing.T) {
		out := inside(n.in(t), "capabilities", "grep -E 'Cap(Eff|Bnd)' /proc/self/status", "capabilities: {add: [NET_ADMIN], drop: [ALL]}")
		wantLines(t, out, "CapEff:\t0000000000001000", "CapBnd:\t0000000000001000")
	})

	t.Run("files", func(t *testing.T) {
		data, config := filepath.Join(n.dir, "data"), filepath.Join(n.dir, "config")
		writeFile(t, filepath.Join(config, "file"), "from the host\n")
		check(t, os.Mkdir(data, 0o777))
		check(t, os.Chmod(data, 0o777))
		out := inside(n.in(t), "files", `
touch /x 2>/dev/null || echo read-only
cat /config/file
touch /config/x 2>/dev/null || echo config is read-only
echo from inside >/data/file
df -k /tmp | tail -1 | awk '{print $2}'
dd if=/dev/zero of=/tmp/x bs=1M count=3 2>/dev/null || echo /tmp is full
stat -c %a /scratch
`, `
readOnly: true
mounts:
  - {source: DIR/config, target: /config, readOnly: true}
  - {source: DIR/data, target: /data}
  - {type: tmpfs, target: /tmp, size: 2MiB}
  - {type: tmpfs, target: /scratch, mode: "0700"}
`)
		wantLines(t, out, "read-only", "from the host", "config is read-only", "2048", "/tmp is full", "700")
		if got := readFile(t, filepath.Join(data, "file")); got != "from inside\n" {
			t.Errorf("the container wrote %q", got)
		}
	})

	t.Run("secrets", func(t *testing.T) {
		n := n.in(t)
		const secret = "s3cr3t-of-the-test"
		source := filepath.Join(n.dir, "token")
		writeFile(t, source, secret+"\n")
		check(t, os.Chmod(source, 0o600))
		out := inside(n, "secrets", `
stat -c '%a %u:%g' /var/run/secrets/token /wide
md5sum </var/run/secrets/token | cut -c1-4
touch /var/run/secrets/x 2>/dev/null || echo nothing else
`, `
user: app
secrets:
  - {source: DIR/token, target: /var/run/secrets/token, mode: "0400"}
  - {source: DIR/token, target: /wide, mode: "0440"}
`)
		wantLines(t, out, "400 1000:1000", "440 1000:1000", "911d", "nothing else")
		for _, file := range []string{filepath.Join(n.state, "bundles/secrets/config.json"), n.daemonLog} {
			if strings.Contains(readFile(t, file), secret) {
				t.Errorf("%s has the secret", file)
			}
		}
		if strings.Contains(n.must("show", "-o", "json", "secrets"), secret) {
			t.Error("show has the secret")
		}
	})

	t.Run("network", func(t *testing.T) {
		n := n.in(t)
		host, err := os.Readlink("/proc/self/ns/net")
		check(t, err)
		own := inside(n, "none", "readlink /proc/self/ns/net; ip -o link show lo | grep -c LOOPBACK,UP", "network: none")
		if strings.HasPrefix(own, host) || !strings.HasSuffix(own, "\n1\n") {
			t.Errorf("network none: %s", own)
		}
		hosts := inside(n, "host", "readlink /proc/self/ns/net; cat /etc/resolv.conf", "network: host")
		resolv, _ := os.ReadFile("/etc/resolv.conf")
		if hosts != host+"\n"+string(resolv) {
			t.Errorf("network host: %s", hosts)
		}
		n.define("server", "command: [httpd, -f, -p, '8080', -h, /etc]\nstop: {signal: KILL}")
		server := n.waitState("server", "running")
		shared, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", server.Pid))
		check(t, err)
		out := inside(n, "joined", "readlink /proc/self/ns/net; for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://127.0.0.1:8080/passwd && break; sleep 1; done", "network: container:server")
		if !strings.HasPrefix(out, shared+"\nroot:x:0:0") {
			t.Errorf("network container:server: %s", out)
		}
		// Without the other one there is nothing to join: it waits for that.
		n.define("lonely", "command: [idle]\nnetwork: container:none\nrestart: {delay: 1h}")
		c := n.waitState("lonely", "waiting")
		if !strings.Contains(c.Error, `"none", which exited with code 0`) {
			t.Errorf("lonely: %s", c.brief())
		}
		// The one that is joined takes the other with it, whose network is gone.
		n.define("server2", "command: [httpd, -f, -p, '8081', -h, /etc]\nrestart: {delay: 100ms}")
		n.define("joined2", "command: [idle]\nnetwork: container:server2")
		before := n.waitState("joined2", "running")
		n.must("kill", "-s", "KILL", "server2")
		eventually(t, 30*time.Second, "joined2 in the network of the new server2", func() error {
			c, server := n.get("joined2"), n.get("server2")
			if c.State != "running" || server.State != "running" || c.Pid == before.Pid {
				return fmt.Errorf("%s, %s", c.brief(), server.brief())
			}
			mine, err1 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.Pid))
			theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", server.Pid))
			if mine != theirs {
				return fmt.Errorf("joined2 is in %s, server2 in %s", mine, theirs)
			}
			return errors.Join(err1, err2)
		})
	})

	t.Run("cgroup", func(t *testing.T) {
		n := n.in(t)
		n.define("limited", "command: [idle]\nresources: {memory: 20MiB, cpus: 0.5, pids: 33}")
		c := n.waitState("limited", "running")
		membership := readFile(t, fmt.Sprintf("/proc/%d/cgroup", c.Pid))
		if !strings.Contains(membership, cgroupPrefix(n.run)+"/limited\n") && !strings.Contains(membership, cgroupPrefix(n.run)+"-limited.scope\n") {
			t.Errorf("it is in another cgroup:\n%s", membership)
		}
		for controller, want := range map[string]string{"memory": "20971520", "cpu": "50000", "pids": "33"} {
			if got := cgroupValue(n, "limited", controller); got != want {
				t.Errorf("%s is %s, want %s", controller, got, want)
			}
		}
	})

	t.Run("log none", func(t *testing.T) {
		n := n.in(t)
		inside(n, "silent", "echo said", "log: none")
		if _, err := os.Stat(filepath.Join(n.logs, "silent.log")); err == nil && n.output("silent") != "" {
			t.Errorf("its output was kept: %q", n.output("silent"))
		}
	})
	n.stop()
}

// What a container writes into its root file system stays over restarts and changes of its definition, and goes with
// another archive.
func TestArchiveKeepsWhatWasWritten(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	archive := filepath.Join(n.dir, "root.tar")
	pack(t, n.rootfs, archive)
	const text = "rootfs-archive: DIR/root.tar\ncommand: [sh, -c, 'echo x >>/count; wc -l </count; exec idle']\nstop: {timeout: 1s}\n"
	n.define("app", text)
	n.start()
	n.waitOutput("app", `^1\n`)
	n.must("restart", "app")
	n.waitOutput("app", `^1\n2\n`)
	n.define("app", text+"env: {A: b}\n")
	n.waitOutput("app", `^1\n2\n3\n`)
	writeFile(t, filepath.Join(n.rootfs, "new"), "new")
	pack(t, n.rootfs, archive)
	n.waitOutput("app", `^1\n2\n3\n1\n`)
	n.stop()
	// The same for the next daemon.
	n.start()
	n.waitOutput("app", `^1\n2\n3\n1\n2\n`)
	n.stop()
}
