package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bareRunc starts containers as a shell script would: `runc run -d`, with nothing that watches over them. It is what the
// benchmarks compare with.
type bareRunc struct {
	*node
	dir    string
	cgroup string // above the containers' cgroups
}

// newBareRunc copies the config.json of the bundles of a node's containers, and changes nothing in them but the cgroup's
// path: the root file systems are the same directories.
func newBareRunc(n *node, containers []container) *bareRunc {
	n.Helper()
	b := &bareRunc{node: n, dir: filepath.Join(n.dir, "bare"), cgroup: cgroupPrefix(n.run) + "-bare"}
	n.Cleanup(b.cleanUp)
	for _, c := range containers {
		var config map[string]any
		decode(n, readFile(n, filepath.Join(c.Bundle, "config.json")), &config)
		config["linux"].(map[string]any)["cgroupsPath"] = "/" + b.cgroup + "/" + c.Name
		data, err := json.Marshal(config)
		check(n, err)
		writeFile(n, filepath.Join(b.bundle(c.Name), "config.json"), string(data))
	}
	return b
}

func (b *bareRunc) bundle(id string) string  { return filepath.Join(b.dir, "bundles", id) }
func (b *bareRunc) pidFile(id string) string { return filepath.Join(b.node.dir, "tmpfs", id+".pid") }
func (b *bareRunc) root() string             { return filepath.Join(b.node.dir, "tmpfs", "bare-root") }

// start starts one container.
func (b *bareRunc) start(id string) error {
	out, err := os.OpenFile(filepath.Join(b.bundle(id), "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command("runc", "--root", b.root(), "run", "-d", "--pid-file", b.pidFile(id), "--bundle", b.bundle(id), id)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("runc run %s: %w: %s", id, err, said)
	}
	return nil
}

// startAll starts containers, so many at a time, and says how long that took.
func (b *bareRunc) startAll(ids []string, atOnce int) time.Duration {
	b.Helper()
	turn, errs := make(chan struct{}, atOnce), make([]error, len(ids))
	var wg sync.WaitGroup
	begin := time.Now()
	for i, id := range ids {
		turn <- struct{}{}
		wg.Go(func() {
			errs[i] = b.start(id)
			<-turn
		})
	}
	wg.Wait()
	took := time.Since(begin)
	check(b, errors.Join(errs...))
	return took
}

func (b *bareRunc) pid(id string) (int, error) {
	data, err := os.ReadFile(b.pidFile(id))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// kill ends a container's init and returns when it has ended.
func (b *bareRunc) kill(id string) error {
	pid, err := b.pid(id)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0); err != nil {
		return err
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("process %d does not end after SIGKILL", pid)
		default:
			return nil
		}
	}
}

func (b *bareRunc) delete(id string, args ...string) error {
	out, err := exec.Command("runc", slices.Concat([]string{"--root", b.root(), "delete"}, args, []string{id})...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc delete %s: %w: %s", id, err, out)
	}
	return nil
}

// restart ends a container and starts it anew, as the ExecStartPre= and ExecStart= lines of a unit do.
func (b *bareRunc) restart(id string) error {
	if err := b.kill(id); err != nil {
		return err
	}
	if err := b.delete(id); err != nil {
		return err
	}
	return b.start(id)
}

// removeAll ends containers, and leaves nothing of them but their bundles.
func (b *bareRunc) removeAll(ids []string) {
	b.Helper()
	for _, id := range ids {
		check(b, b.kill(id))
		check(b, b.delete(id))
	}
	b.removeCgroups()
}

func (b *bareRunc) cleanUp() {
	entries, _ := os.ReadDir(b.root())
	for _, e := range entries {
		if err := b.delete(e.Name(), "--force"); err != nil {
			b.Error(err)
		}
	}
	b.removeCgroups()
}

// removeCgroups removes what is above the containers' cgroups, which runc leaves.
func (b *bareRunc) removeCgroups() {
	for _, dir := range cgroupsOf(b.run) {
		if filepath.Base(dir) == b.cgroup {
			removeCgroup(dir)
		}
	}
}

// paired is what the same thing took twice, close to each other in time: with runcsup and with bare runc.
type paired struct{ with, bare []time.Duration }

// ratio is the median of the ratios of the pairs. On a machine that is busy with other things too, that is steadier than
// the ratio of the medians.
func (p paired) ratio() float64 {
	var ratios []float64
	for i := range p.with {
		ratios = append(ratios, float64(p.with[i])/float64(p.bare[i]))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// median of durations, and between what values the middle half of them is.
func median(d []time.Duration) string {
	s := slices.Sorted(slices.Values(d))
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return fmt.Sprintf("%.1f ms (%.1f–%.1f)", ms(s[len(s)/2]), ms(s[len(s)/4]), ms(s[len(s)*3/4]))
}

// verdict is for the eye.
func verdict(good bool) string {
	if good {
		return "ok"
	}
	return "MISSED"
}
