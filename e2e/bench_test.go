package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The benchmarks compare with bare `runc run -d` in the same run, on the very bundles that runcsup has built, and print
// ratios: absolute times say more about the machine than about the program. With and without runcsup take turns.

// identical defines containers that only sleep.
func identical(n *node, count int, settings string) (names []string) {
	n.Helper()
	for i := range count {
		name := fmt.Sprintf("s%03d", i)
		n.define(name, "command: [sleep, \"1000000\"]\nstop: {timeout: 0s}\nrestart: {policy: always, delay: 0s, jitter: 0%}\n"+settings)
		names = append(names, name)
	}
	return names
}

// realisticNode is a node whose run directory is on a tmpfs, as /run is, and where bare runc has its state as well.
func realisticNode(b *testing.B) *node {
	b.Helper()
	n := newNode(b, "--log-level", "info")
	dir := memoryDisk(n, "32m")
	check(b, os.Mkdir(filepath.Join(dir, "run"), 0o755))
	check(b, os.Symlink(filepath.Join(dir, "run"), n.run))
	check(b, os.Symlink(dir, filepath.Join(n.dir, "tmpfs")))
	return n
}

func report(b *testing.B, table string) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	fmt.Printf("\n%s: %s\n%s\n", b.Name(), thisMachine(), table)
}

func thisMachine() string {
	var u syscall.Utsname
	_ = syscall.Uname(&u)
	release := make([]byte, 0, len(u.Release))
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	load, _, _ := strings.Cut(oneLine("/proc/loadavg"), " ")
	return fmt.Sprintf("%d CPUs, Linux %s, load %s", runtime.NumCPU(), release, load)
}

func oneLine(file string) string {
	data, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}

// BenchmarkStart takes the time from the command to 50 running containers, and from the daemon's start to the same, and
// that of 50 bare `runc run -d`, each with twice as many at once as there are CPUs, which is what the daemon does.
func BenchmarkStart(b *testing.B) {
	const count, rounds, want = 50, 7, 1.1
	n := realisticNode(b)
	names := identical(n, count, "")
	ready := readyFrom(n)
	n.start()
	<-ready
	bare := newBareRunc(n, n.list())
	var byCommand, byDaemon paired
	for range rounds {
		n.must("stop", "--all")
		breathe()
		began := time.Now()
		n.must(append([]string{"start"}, names...)...)
		byCommand.with = append(byCommand.with, time.Since(began))
		n.stop()

		breathe()
		took := bare.startAll(names, 2*runtime.NumCPU())
		bare.removeAll(names)
		byCommand.bare, byDaemon.bare = append(byCommand.bare, took), append(byDaemon.bare, took)

		breathe()
		began = time.Now()
		n.launch()
		select {
		case <-ready:
		case <-time.After(patience):
			b.Fatal("the daemon does not get ready")
		}
		byDaemon.with = append(byDaemon.with, time.Since(began))
	}
	n.stop()
	r1, r2 := byCommand.ratio(), byDaemon.ratio()
	b.ReportMetric(r1, "start/bare")
	b.ReportMetric(r2, "daemon-start/bare")
	report(b, fmt.Sprintf("  %d starts, bare runc run -d, %d at once   %s\n"+
		"  runcsup start, to all running            %s\n"+
		"  runcsup daemon, to READY=1               %s\n"+
		"  ratio to bare: runcsup start             %.2f   wanted ≤ %.1f: %s\n"+
		"  ratio to bare: runcsup daemon            %.2f",
		count, 2*runtime.NumCPU(), median(byCommand.bare), median(byCommand.with), median(byDaemon.with), r1, want, verdict(r1 <= want), r2))
}

// breathe gives the kernel time for what it does after the end of containers: it takes their namespaces and cgroups apart
// in the background, and whoever is measured next would pay for that.
func breathe() { <-time.After(500 * time.Millisecond) }

// readyFrom makes the node's daemons tell when they are ready: one value for each READY=1.
func readyFrom(n *node) <-chan struct{} {
	n.Helper()
	path := filepath.Join(n.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	check(n, err)
	n.Cleanup(func() { _ = conn.Close() })
	n.env = append(n.env, "NOTIFY_SOCKET="+path)
	ready := make(chan struct{}, 64)
	go func() {
		buf := make([]byte, 4096)
		for {
			k, err := conn.Read(buf)
			if err != nil {
				return
			}
			if strings.Contains("\n"+string(buf[:k]), "\nREADY=1") {
				ready <- struct{}{}
			}
		}
	}()
	return ready
}

// BenchmarkRestart takes the time from the SIGKILL that ends a container's process to the first thing that the next one
// does, and the same of a program that does nothing but `runc delete` and `runc run -d`.
func BenchmarkRestart(b *testing.B) {
	const rounds, want = 40, 1.2
	n := realisticNode(b)
	fifo := filepath.Join(n.rootfs, "started")
	check(b, syscall.Mkfifo(fifo, 0o622))
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	check(b, err)
	defer func() { _ = f.Close() }()
	started := bufio.NewReader(f)
	n.define("c", "command: [sh, -c, 'echo >/started; exec sleep 1000000']\nstop: {timeout: 0s}\nrestart: {policy: always, delay: 0s, jitter: 0%}\n")
	n.start()
	awaitStart := func() time.Time {
		check(b, f.SetReadDeadline(time.Now().Add(patience)))
		_, err := started.ReadString('\n')
		check(b, err)
		return time.Now()
	}
	awaitStart()
	c := n.waitState("c", "running")
	bare := newBareRunc(n, []container{c})
	check(b, bare.start("c"))
	awaitStart()
	var times paired
	for range rounds {
		began := time.Now()
		check(b, syscall.Kill(c.Pid, syscall.SIGKILL))
		times.with = append(times.with, awaitStart().Sub(began))
		old := c.Pid
		c = n.waitFor("c", "runs again", func(c container) bool { return c.State == "running" && c.Pid != old })

		again := make(chan error, 1)
		began = time.Now()
		go func() { again <- bare.restart("c") }()
		times.bare = append(times.bare, awaitStart().Sub(began))
		check(b, <-again)
	}
	bare.cleanUp()
	n.stop()
	r := times.ratio()
	b.ReportMetric(r, "restart/bare")
	report(b, fmt.Sprintf("  SIGKILL to new process, runc delete + runc run -d   %s\n"+
		"  SIGKILL to new process, runcsup, delay 0            %s\n"+
		"  ratio to bare                                       %.2f   wanted ≤ %.1f: %s",
		median(times.bare), median(times.with), r, want, verdict(r <= want)))
}

// BenchmarkIdle takes the daemon's memory with 10 and with 200 running containers, at once and after a while without
// anything to do, and then what it does in that state: nothing, if all is well.
func BenchmarkIdle(b *testing.B) {
	const few, many, wantKB, wantSwitches = 10, 200, 100, 2.0
	const settle, watched = 30 * time.Second, 35 * time.Second // watched is long enough for one look at all files
	n := realisticNode(b)
	// What others do in /tmp would wake the daemon, which watches all directories above the definitions.
	quiet, err := os.MkdirTemp("/var/lib", "runcsup-bench-")
	check(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(quiet) })
	n.containers = quiet
	identical(n, few, "")
	n.start()
	allRun := func(count int) {
		eventually(b, 3*patience, fmt.Sprintf("%d containers run", count), func() error {
			list, err := n.tryList()
			if err != nil {
				return err
			}
			running := 0
			for _, c := range list {
				if c.State == "running" {
					running++
				}
			}
			if running != count {
				return fmt.Errorf("%d run", running)
			}
			return nil
		})
	}
	allRun(few)
	fewNow := memoryOf(n)
	<-time.After(settle)
	fewIdle := memoryOf(n)
	identical(n, many, "")
	n.must("reload")
	allRun(many)
	manyNow := memoryOf(n)
	<-time.After(settle)
	manyIdle := memoryOf(n)

	before := activityOf(n)
	<-time.After(watched)
	did := activityOf(n).minus(before)
	n.stop()

	perNow, perIdle := float64(manyNow.pss-fewNow.pss)/(many-few), float64(manyIdle.pss-fewIdle.pss)/(many-few)
	dirtyIdle := float64(manyIdle.dirty-fewIdle.dirty) / (many - few)
	switches := float64(did.switches) / watched.Seconds()
	b.ReportMetric(perNow, "KB/container-started")
	b.ReportMetric(perIdle, "KB/container-idle")
	b.ReportMetric(switches, "switches/s")
	report(b, fmt.Sprintf("  memory (PSS, private dirty) with %3d just started   %6d KB, %6d KB\n"+
		"                                        after %s      %6d KB, %6d KB\n"+
		"                              with %3d just started   %6d KB, %6d KB\n"+
		"                                        after %s      %6d KB, %6d KB\n"+
		"  per container: just started                         %.1f KB   wanted < %d: %s\n"+
		"                 idle (PSS, private dirty)            %.1f KB, %.1f KB   wanted < %d: %s\n"+
		"  idle with %d: context switches                     %.2f/s   wanted ≤ %.0f: %s\n"+
		"                 CPU                                  %s in %s, %d threads",
		few, fewNow.pss, fewNow.dirty, settle, fewIdle.pss, fewIdle.dirty, many, manyNow.pss, manyNow.dirty, settle, manyIdle.pss, manyIdle.dirty,
		perNow, wantKB, verdict(perNow < wantKB), perIdle, dirtyIdle, wantKB, verdict(perIdle < wantKB),
		many, switches, wantSwitches, verdict(switches <= wantSwitches), did.cpu, watched, did.threads))
}

// memory is in KB.
type memory struct{ pss, dirty int }

func memoryOf(n *node) memory {
	n.Helper()
	var m memory
	for line := range strings.Lines(readFile(n, fmt.Sprintf("/proc/%d/smaps_rollup", n.daemon.pid))) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		switch v, _ := strconv.Atoi(f[1]); f[0] {
		case "Pss:":
			m.pss = v
		case "Private_Dirty:":
			m.dirty = v
		}
	}
	if m.pss == 0 {
		n.Fatal("the kernel tells no PSS")
	}
	return m
}

// activity is what all threads of a process have done.
type activity struct {
	switches int
	cpu      time.Duration
	threads  int
}

func activityOf(n *node) (a activity) {
	n.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", n.daemon.pid))
	for _, task := range tasks {
		for line := range strings.Lines(readFile(n, filepath.Join(task, "status"))) {
			if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(f[0], "voluntary_ctxt_switches:") {
				v, err := strconv.Atoi(f[1])
				check(n, err)
				a.switches += v
			}
		}
		ran, _, _ := strings.Cut(readFile(n, filepath.Join(task, "schedstat")), " ")
		ns, err := strconv.ParseInt(ran, 10, 64)
		check(n, err)
		a.cpu += time.Duration(ns)
		a.threads++
	}
	return a
}

func (a activity) minus(b activity) activity {
	return activity{a.switches - b.switches, (a.cpu - b.cpu).Round(10 * time.Microsecond), a.threads}
}
