package e2e

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// redisTar writes Debian's redis with its libraries to a tar, as `docker export` of a small image has it.
func redisTar(t testing.TB, w io.Writer) {
	t.Helper()
	out := tar.NewWriter(w)
	add := func(h tar.Header, content []byte) {
		t.Helper()
		h.Size, h.ModTime = int64(len(content)), time.Unix(1700000000, 0)
		check(t, out.WriteHeader(&h))
		_, err := out.Write(content)
		check(t, err)
	}
	dir := func(name string, mode int64) {
		add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
	}
	file := func(name string, mode int64, content string) {
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, []byte(content))
	}
	link := func(name, to string) {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
	}
	file(".dockerenv", 0o755, "")
	for _, d := range []string{"dev", "dev/pts", "dev/shm", "etc", "proc", "sys", "usr", "usr/bin", "usr/lib", "usr/lib64", "var", "var/lib"} {
		dir(d, 0o755)
	}
	dir("tmp", 0o1777)
	add(tar.Header{Typeflag: tar.TypeDir, Name: "var/lib/redis/", Mode: 0o750, Uid: 101, Gid: 102}, nil)
	for _, name := range []string{"bin", "lib", "lib64"} {
		link(name, "usr/"+name)
	}
	file("dev/console", 0o755, "")
	file("etc/hosts", 0o755, "")
	file("etc/resolv.conf", 0o755, "")
	file("etc/hostname", 0o755, "")
	link("etc/mtab", "/proc/mounts")
	file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nredis:x:101:102::/var/lib/redis:/bin/false\n")
	file("etc/group", 0o644, "root:x:0:\nredis:x:102:\n")
	made := map[string]bool{}
	for _, program := range []string{"/usr/bin/redis-server", "/usr/bin/redis-cli"} {
		content, err := os.ReadFile(program) // redis-server may be a link to redis-check-rdb
		if err != nil {
			t.Fatalf("is redis-server installed? %v", err)
		}
		file(strings.TrimPrefix(program, "/"), 0o755, string(content))
		ldd, err := exec.Command("ldd", program).Output()
		check(t, err)
		for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(ldd), -1) {
			name := "usr/" + strings.TrimPrefix(strings.TrimPrefix(lib, "/usr"), "/")
			for parent := filepath.Dir(name); !made[parent] && parent != "usr/lib" && parent != "usr/lib64"; parent = filepath.Dir(parent) {
				made[parent] = true
				dir(parent, 0o755)
			}
			if made[name] {
				continue
			}
			made[name] = true
			content, err := os.ReadFile(lib)
			check(t, err)
			file(name, 0o755, string(content))
		}
	}
	check(t, out.Close())
}

// redisArchive makes a redis.tar, .tar.gz or .tar.zst in the node's directory.
func redisArchive(n *node, extension string) string {
	n.Helper()
	path := filepath.Join(n.dir, "redis"+extension)
	f, err := os.Create(path)
	check(n, err)
	var w io.WriteCloser = f
	switch filepath.Ext(extension) {
	case ".gz":
		w = gzip.NewWriter(f)
	case ".zst":
		w, err = zstd.NewWriter(f)
		check(n, err)
	}
	redisTar(n, w)
	if w != f {
		check(n, w.Close())
	}
	check(n, f.Close())
	return path
}

// ping asks a redis server on the host's network for an answer.
func ping(port int) error {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if line != "+PONG\r\n" {
		return fmt.Errorf("the answer is %q", line)
	}
	return nil
}

// pingInside asks a redis server in a network namespace of its own.
func pingInside(pid int) error {
	out, err := exec.Command("nsenter", "-t", fmt.Sprint(pid), "-n", "redis-cli", "-p", "6379", "ping").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if string(out) != "PONG\n" {
		return fmt.Errorf("the answer is %q", out)
	}
	return nil
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// survivesKill kills a container's init and checks that it comes back after its delay of 1s, and what is told of it.
func survivesKill(n *node, name string, ping func(pid int) error) {
	n.Helper()
	c := n.waitState(name, "running")
	eventually(n, patience, name+" answers PING", func() error { return ping(c.Pid) })
	killed := time.Now()
	check(n, syscall.Kill(c.Pid, syscall.SIGKILL))
	again := n.waitFor(name, "runs again", func(now container) bool { return now.State == "running" && now.Pid != c.Pid })
	if took := time.Since(killed); took < time.Second {
		n.Errorf("%s is back after %s, which is less than its delay", name, took)
	}
	eventually(n, patience, name+" answers PING again", func() error { return ping(again.Pid) })
	var s container
	n.mustJSON(&s, "status", name)
	if s.State != "running" || s.Restarts != 1 || s.LastExit.String() != "signaled/-1/KILL" || s.Adopted || s.Error != "" {
		n.Errorf("status of %s is %s", name, s.brief())
	}
	for _, want := range []string{"running", "signal KILL", "1"} {
		if text := n.must("status", name); !strings.Contains(text, want) {
			n.Errorf("status of %s does not say %q:\n%s", name, want, text)
		}
	}
}

func TestRedisFromArchive(t *testing.T) {
	for _, extension := range []string{".tar", ".tar.gz", ".tar.zst"} {
		t.Run(extension, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			port := freePort(t)
			n.define("redis", fmt.Sprintf(`
rootfs-archive: %s
command: [/usr/bin/redis-server, --bind, 127.0.0.1, --port, "%d", --dir, /var/lib/redis, --save, ""]
user: redis
network: host
restart: {delay: 1s, jitter: 0%%}
`, redisArchive(n, extension), port))
			n.start()
			survivesKill(n, "redis", func(int) error { return ping(port) })
			if out, err := exec.Command("redis-cli", "-p", fmt.Sprint(port), "set", "key", "value").CombinedOutput(); err != nil || string(out) != "OK\n" {
				t.Errorf("set: %v, %s", err, out)
			}
			n.stop()
		})
	}
}

// What runc's users have: a directory with an extracted tar, and the config.json of `runc spec`, edited.
func TestRedisFromHandMadeBundle(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	bundle := filepath.Join(n.dir, "redis")
	check(t, os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o755))
	archive := redisArchive(n, ".tar")
	if out, err := exec.Command("tar", "-C", filepath.Join(bundle, "rootfs"), "-xf", archive).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if out, err := exec.Command("runc", "spec", "-b", bundle).CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v\n%s", err, out)
	}
	config := filepath.Join(bundle, "config.json")
	edit := exec.Command("jq", `.process.terminal = false | .root.readonly = false | .process.cwd = "/tmp" |
		.process.args = ["redis-server", "--bind", "127.0.0.1", "--save", ""]`, config)
	edited, err := edit.Output()
	check(t, err)
	check(t, os.WriteFile(config, edited, 0o644))
	n.define("redis", "bundle: "+bundle+"\nrestart: {delay: 1s, jitter: 0%}")
	n.start()
	survivesKill(n, "redis", pingInside)
	if c := n.get("redis"); c.Bundle != bundle {
		t.Errorf("the bundle is %q, want the user's directory", c.Bundle)
	}
	if now := readFile(t, config); now != string(edited) {
		t.Error("the user's config.json was written")
	}
	n.stop()
	if _, err := os.Stat(config); errors.Is(err, os.ErrNotExist) {
		t.Error("the user's bundle is gone")
	}
}
