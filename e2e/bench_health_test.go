package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listenInside listens in the network namespace of a process: a socket stays in the one in which it was made.
func listenInside(pid int, address string) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		var netns *os.File
		if netns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
			return
		}
		defer netns.Close()
		if err = unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err == nil {
			l, err = net.Listen("tcp4", address)
		}
	}()
	<-done
	return l, err
}

// arrivals are when requests came to each of many servers.
type arrivals struct {
	mu sync.Mutex
	at [][]time.Time
}

// answer serves requests, each on a connection of its own, and notes when they came.
func (a *arrivals) answer(server int, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		now := time.Now()
		a.mu.Lock()
		a.at[server] = append(a.at[server], now)
		a.mu.Unlock()
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
		}
		_ = conn.Close()
	}
}

// lateness is how much later than its own beat each request came since, sorted. A server's beat is that of its most punctual
// request.
func (a *arrivals) lateness(period time.Duration, since time.Time) (late []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range a.at {
		var off []time.Duration
		for _, t := range at {
			if t.After(since) {
				off = append(off, t.Sub(since)%period)
			}
		}
		if len(off) == 0 {
			continue
		}
		// The largest gap on the circle ends at the most punctual one.
		slices.Sort(off)
		first, gap := 0, period-off[len(off)-1]+off[0]
		for i := 1; i < len(off); i++ {
			if g := off[i] - off[i-1]; g > gap {
				first, gap = i, g
			}
		}
		for _, o := range off {
			late = append(late, (o-off[first]+period)%period)
		}
	}
	slices.Sort(late)
	return late
}

// BenchmarkProbes has 200 containers, each in a network namespace of its own, asked by HTTP once a second for a minute.
func BenchmarkProbes(b *testing.B) {
	const count, period, watched = 200, time.Second, time.Minute
	const wantLate, wantCPU = 100 * time.Millisecond, 10.0
	n := realisticNode(b)
	names := identical(n, count, fmt.Sprintf("health: {liveness: {http: {port: 80}, period: %s, failures: 1000}}\n", period))
	ready := readyFrom(n)
	n.start()
	<-ready
	servers := &arrivals{at: make([][]time.Time, count)}
	for i, name := range names {
		c := n.waitState(name, "running")
		l, err := listenInside(c.Pid, "127.0.0.1:80")
		check(b, err)
		defer l.Close()
		go servers.answer(i, l)
	}
	for _, name := range names {
		n.waitHealth(name, "healthy")
	}
	since, before := time.Now(), activityOf(n)
	<-time.After(watched)
	did := activityOf(n).minus(before)
	late := servers.lateness(period, since)
	used := memoryOf(n)
	n.stop()

	if len(late) < count {
		b.Fatalf("%d probes came", len(late))
	}
	p50, p99, worst := late[len(late)/2], late[len(late)*99/100], late[len(late)-1]
	cpu := 100 * did.cpu.Seconds() / watched.Seconds()
	b.ReportMetric(float64(p99.Microseconds())/1000, "p99-late-ms")
	b.ReportMetric(cpu, "%CPU")
	report(b, fmt.Sprintf("  %d probes by HTTP in %s, of %d containers: %d came\n"+
		"  late, p50, p99, worst                     %s, %s, %s   wanted p99 < %s: %s\n"+
		"  daemon, of one core                       %.1f %%   wanted < %.0f: %s\n"+
		"  daemon, memory (PSS, private dirty)       %d KB, %d KB, %d threads",
		count*int(watched/period), watched, count, len(late), p50.Round(10*time.Microsecond), p99.Round(10*time.Microsecond), worst.Round(10*time.Microsecond),
		wantLate, verdict(p99 < wantLate), cpu, wantCPU, verdict(cpu < wantCPU), used.pss, used.dirty, did.threads))
}

// machineCPU is how long all CPUs of the machine have worked since boot.
func machineCPU(b *testing.B) (busy time.Duration) {
	b.Helper()
	for i, f := range strings.Fields(oneLine("/proc/stat")) {
		// user, nice, system, then irq, softirq: not idle and waiting.
		if i >= 1 && i <= 3 || i == 6 || i == 7 {
			v, err := strconv.ParseInt(f, 10, 64)
			check(b, err)
			busy += time.Duration(v) * 10 * time.Millisecond
		}
	}
	return busy
}

// BenchmarkExecProbe takes what an exec probe costs, beside podman's `healthcheck run` of the same command in the same root
// file system. Both take turns. CPU is that of the whole machine, so nothing else should work.
func BenchmarkExecProbe(b *testing.B) {
	const rounds, each = 5, 20
	if _, err := exec.LookPath("podman"); err != nil {
		b.Skip("podman is not installed: apt-get install --no-install-recommends podman")
	}
	n := realisticNode(b)
	mark := filepath.Join(n.rootfs, "tmp/marks")
	probed := func() int {
		data, err := os.ReadFile(mark)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			b.Fatal(err)
		}
		return strings.Count(string(data), "\n")
	}
	const command = "echo >> /tmp/marks"
	settings := fmt.Sprintf("health: {liveness: {exec: [sh, -c, %q], period: 100ms, timeout: 30s, failures: 1000}}\n", command)
	identical(n, 1, settings)
	n.start()
	n.waitState("s000", "running")

	pod := newPodman(b)
	pod.must("run", "-d", "--name", pod.name, "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--health-cmd", command, "--health-interval", "disable", "--rootfs", n.rootfs, "sleep", "1000000")
	var ours, theirs, ourCPU, theirCPU []time.Duration
	for range rounds {
		n.must("start", "s000")
		breathe()
		from, cpu := probed(), machineCPU(b)
		eventually(b, patience, "probes", func() error {
			if probed() < from+each {
				return errors.New("not enough yet")
			}
			return nil
		})
		count := probed() - from
		ourCPU = append(ourCPU, (machineCPU(b)-cpu)/time.Duration(count))
		var took []time.Duration
		for _, r := range n.probes("s000")["liveness"].Results {
			took = append(took, time.Duration(r.Seconds*float64(time.Second)))
		}
		ours = append(ours, middle(took))
		n.must("stop", "s000")

		breathe()
		cpu, took = machineCPU(b), nil
		for range each {
			began := time.Now()
			pod.must("healthcheck", "run", pod.name)
			took = append(took, time.Since(began))
		}
		theirs = append(theirs, middle(took))
		theirCPU = append(theirCPU, (machineCPU(b)-cpu)/each)
	}
	pod.remove()
	n.stop()
	wall, cpu := paired{with: ours, bare: theirs}.ratio(), paired{with: ourCPU, bare: theirCPU}.ratio()
	b.ReportMetric(wall, "time/podman")
	b.ReportMetric(cpu, "CPU/podman")
	report(b, fmt.Sprintf("  exec probe of runcsup, and CPU of the machine   %s, %s\n"+
		"  podman healthcheck run, and the same            %s, %s\n"+
		"  ratio to podman: time, CPU                      %.2f, %.2f",
		median(ours), median(ourCPU), median(theirs), median(theirCPU), wall, cpu))
}

func middle(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

// podman is one with all its files in a directory of its own.
type podman struct {
	*testing.B
	name    string
	args    []string
	removed bool
}

func newPodman(b *testing.B) *podman {
	b.Helper()
	dir := filepath.Join(baseDir, "podman")
	p := &podman{B: b, name: "probed", args: []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "none",
	}}
	b.Cleanup(p.remove)
	return p
}

func (p *podman) must(args ...string) {
	p.Helper()
	if out, err := exec.Command("podman", slices.Concat(p.args, args)...).CombinedOutput(); err != nil {
		p.Fatalf("podman %s: %v\n%s", args[0], err, out)
	}
}

func (p *podman) remove() {
	if p.removed {
		return
	}
	p.removed = true
	if out, err := exec.Command("podman", slices.Concat(p.args, []string{"rm", "-f", "-t", "0", p.name})...).CombinedOutput(); err != nil {
		p.Errorf("podman rm: %v\n%s", err, out)
	}
}
