package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkLogs has a container write the same lines to the log of runcsup and to that of conmon (as podman uses it, log
// driver k8s-file, which has the same format), in turns, on a tmpfs. It is the time until the last line is there, and the
// CPU time of the daemon, or of conmon.
func BenchmarkLogs(b *testing.B) {
	if _, err := exec.LookPath("conmon"); err != nil {
		b.Fatal("conmon is missing: apt-get install conmon")
	}
	const megabytes, rounds = 128, 5
	n := newNode(b, "--log-level", "info")
	n.logs = memoryDisk(n, "1g")
	line := strings.Repeat("x", 99) + "\n"
	writeFile(b, filepath.Join(n.rootfs, "lines"), strings.Repeat(line, megabytes<<20/len(line))+"end\n")
	n.define("writer", "command: [sh, -c, 'cat /lines; exec sleep 1000000']\nstop: {timeout: 0s}\nlog: {maxSize: 2GiB}\nenabled: false\n")
	d := n.start()
	var ours, theirs struct{ took, cpu []time.Duration }
	n.must("build", "writer")
	for range rounds {
		log := filepath.Join(n.logs, "writer.log")
		_ = os.Remove(log)
		before := processCPU(b, d.pid)
		begin := time.Now()
		n.must("start", "writer")
		waitEnd(n, log)
		ours.took = append(ours.took, time.Since(begin))
		ours.cpu = append(ours.cpu, processCPU(b, d.pid)-before)
		n.must("stop", "writer")

		took, cpu := conmonRun(n, n.get("writer").Bundle)
		theirs.took, theirs.cpu = append(theirs.took, took), append(theirs.cpu, cpu)
	}
	mid := func(d []time.Duration) float64 { return slices.Sorted(slices.Values(d))[len(d)/2].Seconds() }
	table := ""
	for _, row := range []struct {
		name      string
		took, cpu float64
	}{{"runcsup", mid(ours.took), mid(ours.cpu)}, {"conmon", mid(theirs.took), mid(theirs.cpu)}} {
		table += fmt.Sprintf("%-8s %6.0f MB/s, from the start of the container to its last line; %6.2f ms CPU per MB\n",
			row.name, megabytes/row.took, 1000*row.cpu/megabytes)
	}
	good := mid(ours.took) <= mid(theirs.took) && mid(ours.cpu) < mid(theirs.cpu)
	report(b, table+verdict(good))
	b.ReportMetric(megabytes/mid(ours.took), "MB/s")
	b.ReportMetric(mid(theirs.took)/mid(ours.took), "speed/conmon")
	b.ReportMetric(mid(ours.cpu)/mid(theirs.cpu), "CPU/conmon")
}

// waitEnd waits for the last line in a log, without reading all of it again and again.
func waitEnd(n *node, log string) {
	n.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	tail := make([]byte, 4)
	for time.Now().Before(deadline) {
		<-tick.C
		f, err := os.Open(log)
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Size() > 4 {
			_, _ = f.ReadAt(tail, info.Size()-4)
		}
		_ = f.Close()
		if string(tail) == "end\n" {
			return
		}
	}
	n.Fatalf("the last line did not come to %s", log)
}

// conmonRun runs the bundle under conmon as podman does, and returns how long it took and conmon's own CPU time.
func conmonRun(n *node, bundle string) (took, cpu time.Duration) {
	n.Helper()
	dir, err := os.MkdirTemp(n.dir, "conmon")
	check(n, err)
	defer func() { _ = os.RemoveAll(dir) }() // in the node, which is demolished anyway
	var config map[string]any
	check(n, json.Unmarshal([]byte(readFile(n, filepath.Join(bundle, "config.json"))), &config))
	config["linux"].(map[string]any)["cgroupsPath"] = "/" + cgroupPrefix(n.run) + "/conmon"
	text, err := json.Marshal(config)
	check(n, err)
	check(n, os.Mkdir(filepath.Join(dir, "bundle"), 0o755))
	writeFile(n, filepath.Join(dir, "bundle", "config.json"), string(text))
	log := filepath.Join(n.logs, "conmon.log")
	_ = os.Remove(log)
	root := filepath.Join(dir, "root")
	const id = "bench-conmon"
	runc, err := exec.LookPath("runc")
	check(n, err)
	cmd := exec.Command("conmon", "--api-version", "1", "-c", id, "-u", id, "-n", id, "-r", runc, "--runtime-arg", "--root="+root,
		"-b", filepath.Join(dir, "bundle"), "-p", filepath.Join(dir, "pidfile"),
		"--exit-dir", dir, "-l", "k8s-file:"+log, "--sync", "--socket-dir-path", dir)
	begin := time.Now()
	check(n, cmd.Start())
	defer func() {
		_ = exec.Command("runc", "--root", root, "delete", "--force", id).Run()
		_ = cmd.Wait()
	}()
	eventually(n, patience, "conmon has made the container", func() error {
		if out, err := exec.Command("runc", "--root", root, "start", id).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	waitEnd(n, log)
	return time.Since(begin), processCPU(n, cmd.Process.Pid) // with --sync it is no daemon
}

// processCPU is the CPU time of a process so far, in the kernel's ticks of 10 ms.
func processCPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	text := readFile(t, fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+2:])
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	check(t, errUser)
	check(t, errSystem)
	return time.Duration(user+system) * 10 * time.Millisecond
}
