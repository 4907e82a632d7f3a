package runtime

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 77 78 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 155836 10 20 30"
	want := procStat{state: 'S', ppid: 1, pgrp: 77, session: 78, start: 155836}
	for _, comm := range []string{"sh", "a b", ") Z 9 (", "(()", ""} {
		if got, err := parseStat([]byte("77 (" + comm + ")" + rest + "\n")); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", comm, got, err)
		}
	}
	for _, bad := range []string{"", "77 sh S 1", "77 (sh)", "77 (sh) S 1 77", "77 (sh) SS" + rest[2:], strings.Replace("77 (sh)"+rest, "155836", "x", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, got)
		}
	}
	st, err := readStat(os.Getpid())
	if err != nil || st.ppid != os.Getppid() || st.pgrp != unix.Getpgrp() {
		t.Errorf("own: got %+v, %v", st, err)
	}
	if at := startedAt(st.start); at.After(time.Now()) || time.Since(at) > time.Hour {
		t.Errorf("this process started at %v", at)
	}
}

func TestNoProcessIsNoProcess(t *testing.T) {
	// A session that outlives its leader keeps the number in use.
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo $!")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{cmd.Process.Pid, 4194303, 0, -1} {
		if _, _, err := openProcess(pid); !errors.Is(err, unix.ESRCH) {
			t.Errorf("process %d: %v", pid, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("77 (sh) S 1 77 78 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 155836 10"))
	f.Add([]byte("1 (a) b) Z 1"))
	f.Add([]byte(")\x00 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if st, err := parseStat(data); err == nil && st.state == 0 {
			t.Errorf("no state from %q", data)
		}
	})
}

func TestLastErrorLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"rubbish\n":                      "",
		`{"level":"error","msg":"a"}`:    "a",
		`{"level":"warning","msg":"a"}`:  "",
		`{"level":"error","msg":"a\nb"}`: "a b",
		`{"level":"error","msg":"\u001b[31mred"}`:                                                              "[31mred",
		`{"level":"error","msg":"a"}` + "\n" + `{"level":"info","msg":"b"}` + "\n" + `{"level":"error","msg":`: "a",
		`{"level":"error","msg":"a"}` + "\n" + `{"level":"fatal","msg":"b"}` + "\nx":                           "b",
		`{"level":"error","msg":7}`:       "",
		`{"level":"error","msg":"  "}`:    "",
		`null` + "\n" + `[]` + "\n" + `5`: "",
	} {
		if got := lastErrorLine([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzLastErrorLine(f *testing.F) {
	f.Add([]byte(`{"level":"error","msg":"a"}` + "\n" + `{"level":"error`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := lastErrorLine(data); len(got) > 510 || strings.ContainsAny(got, "\n\x1b\x00") {
			t.Errorf("got %q", got)
		}
	})
}

// The records are of Linux 6.18 and 6.1, and of somebody who would like to be believed.
func TestParseLogRecord(t *testing.T) {
	for _, tt := range []struct {
		in     string
		at     time.Duration
		killed int
		ok     bool
	}{
		{"3,7779,2930753465,-;Memory cgroup out of memory: Killed process 3944 (dd) total-vm:104668kB, anon-rss:16128kB", 2930753465 * time.Microsecond, 3944, true},
		{"3,7779,5,-,caller=T1;Out of memory: Killed process 12 (a b) total-vm:1kB\n SUBSYSTEM=x\n", 5 * time.Microsecond, 12, true},
		{"6,1,5,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=dd,pid=3944,uid=0", 5 * time.Microsecond, 0, true},
		{"6,1,5,-;x\n KEY=Killed process 3 (", 5 * time.Microsecond, 0, true},
		{"12,1,5,-;Memory cgroup out of memory: Killed process 3944 (dd)", 0, 0, false},
		{"3,1,5,-;Killed process 99999999999999999999 (x)", 5 * time.Microsecond, 0, true},
		{"3,1,99999999999999999999,-;x", 0, 0, false},
		{"3,1;x", 0, 0, false},
		{"", 0, 0, false},
	} {
		if at, killed, ok := parseLogRecord([]byte(tt.in)); at != tt.at || killed != tt.killed || ok != tt.ok {
			t.Errorf("%q: got %v, %d, %v", tt.in, at, killed, ok)
		}
	}
}

func FuzzParseLogRecord(f *testing.F) {
	f.Add([]byte("3,7779,2930753465,-;Memory cgroup out of memory: Killed process 3944 (dd) total-vm:104668kB"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if at, killed, ok := parseLogRecord(data); at < 0 || killed < 0 || !ok && killed != 0 {
			t.Errorf("got %v, %d, %v", at, killed, ok)
		}
	})
}

// The directories are those of runc and crun; expandSlice's are systemd.slice(5)'s.
func TestCgroupPath(t *testing.T) {
	for _, tt := range []struct {
		path    cgroupPath
		dir     string
		systemd bool
	}{
		{"/runcsup/npd", "/runcsup/npd", false},
		{"/a:b:c", "/a:b:c", false},
		{"runcsup.slice:runcsup:npd", "/runcsup.slice/runcsup-npd.scope", true},
		{"runcsup.slice:runcsup-0a1b2c3d:npd", "/runcsup.slice/runcsup-0a1b2c3d-npd.scope", true},
		{"foo-bar-baz.slice:p:n", "/foo.slice/foo-bar.slice/foo-bar-baz.slice/p-n.scope", true},
		{":p:n", "/system.slice/p-n.scope", true},
		{"-.slice:p:n", "/p-n.scope", true},
		{"a.slice:p:b.slice", "/a.slice/b.slice", true},
	} {
		if got := tt.path.dir(); got != tt.dir {
			t.Errorf("%s: got %s, want %s", tt.path, got, tt.dir)
		}
		if tt.path.systemd() != tt.systemd {
			t.Errorf("%s: systemd is not %v", tt.path, tt.systemd)
		}
		if err := tt.path.check(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []cgroupPath{"", "/", "/..", "a", "a/b", "a:b", "a:b:c:d"} {
		if bad.check() == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestCgroupsPathOfContainers(t *testing.T) {
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "/runcsup/npd"},
		{Config{InstanceID: "0a1b2c3d"}, "/runcsup-0a1b2c3d/npd"},
		{Config{SystemdCgroup: true}, "runcsup.slice:runcsup:npd"},
		{Config{SystemdCgroup: true, InstanceID: "0a1b2c3d"}, "runcsup.slice:runcsup-0a1b2c3d:npd"},
	} {
		r := &Runtime{cfg: tt.cfg}
		if got := r.CgroupsPath("npd"); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestOwnCgroupDirectory(t *testing.T) {
	const self = "9:name=systemd:/init.scope\n4:cpu,cpuacct:/docker/abc/x\n3:memory:/docker/abc\n0::/user.slice\n"
	for _, tt := range []struct {
		h    hierarchy
		want string
	}{
		{hierarchy{dir: "/c/systemd", root: "/", options: []string{"rw", "xattr", "name=systemd"}}, "/c/systemd/init.scope"},
		{hierarchy{dir: "/c/cpu", root: "/docker/abc", options: []string{"rw", "cpu", "cpuacct"}}, "/c/cpu/x"},
		{hierarchy{dir: "/c/memory", root: "/docker/abc", options: []string{"rw", "memory"}}, "/c/memory"},
		{hierarchy{dir: "/c/memory", root: "/other", options: []string{"rw", "memory"}}, ""},
		{hierarchy{dir: "/c/unified", root: "/", v2: true, options: []string{"rw"}}, "/c/unified/user.slice"},
		{hierarchy{dir: "/c/pids", root: "/", options: []string{"rw", "pids"}}, ""},
	} {
		if got := tt.h.own(self); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.h.dir, got, tt.want)
		}
	}
}

func TestDetectCgroupManager(t *testing.T) {
	comm, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		t.Fatal(err)
	}
	if want := string(comm) == "systemd\n"; DetectCgroupManager() != want {
		t.Errorf("process 1 is %q, and that is not what was found", comm)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, cfg := range []Config{
		{Root: dir, CallDir: dir},
		{Command: "runc", CallDir: dir},
		{Command: "runc", Root: "relative", CallDir: dir},
		{Command: "runc", Root: dir, CallDir: "/proc/nope"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}

func TestNestedPid(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tx\nNSpid:\t5\n":       0,
		"Name:\tx\nNSpid:\t5\t1\n":    1,
		"NSpid:\t5\t9\t77\nNSsid:\t3": 77,
		"NSpid:\t5\tx\n":              0,
		"Name:\tNSpid:\t5\t6\n":       0,
		"":                            0,
	} {
		if got := nestedPid([]byte(status)); got != want {
			t.Errorf("%q: got %d, want %d", status, got, want)
		}
	}
}
