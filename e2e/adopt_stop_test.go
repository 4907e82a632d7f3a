package e2e

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A daemon that is told to stop while it still starts containers, builds bundles, or takes over what an earlier daemon has
// left, leaves none, and those that it takes over get their stop signal as ever.
func TestStopDuringBoot(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprintf("c%02d", i))
		n.define(names[i], "command: [sh, -c, 'trap \"echo orderly; exit 0\" TERM; echo started; sleep 1000000 & wait']\nstop: {timeout: 2s}\n")
	}
	archive := filepath.Join(n.dir, "heavy.tar")
	heavyArchive(n, archive)
	for _, adopting := range []bool{true, false} {
		for round, after := range []time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond} {
			if adopting {
				n.start()
				for _, name := range names {
					n.waitOutput(name, "started\n$")
					n.waitState(name, "running")
				}
				n.kill()
			}
			var heavy []string
			for i := range 4 { // new ones, to be built before they can start, keep it busy
				heavy = append(heavy, fmt.Sprintf("%c-%t-%d", 'a'+i, adopting, round))
				n.define(heavy[i], "rootfs-archive: "+archive+"\ncommand: [idle]\nstop: {timeout: 2s}\n")
			}
			n.start()
			<-time.After(after)
			n.signal(syscall.SIGTERM)
			if code := n.daemon.wait(t); code != 0 {
				t.Errorf("told to stop %s after its first answer, adopting %t, the daemon ended with code %d", after, adopting, code)
			}
			n.checkGone()
			for _, name := range names {
				if out := n.output(name); adopting && !strings.HasSuffix(out, "orderly\n") {
					t.Errorf("told to stop %s after its first answer, the daemon gave %s no stop signal; output: %q", after, name, out)
				}
			}
			if t.Failed() {
				t.FailNow()
			}
			for _, name := range heavy {
				n.undefine(name)
			}
		}
	}
}

// heavyArchive writes a root file system that takes a while to extract.
func heavyArchive(n *node, file string) {
	n.Helper()
	f, err := os.Create(file)
	check(n, err)
	defer func() { _ = f.Close() }()
	w := tar.NewWriter(f)
	add := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		check(n, w.WriteHeader(&h))
		_, err := w.Write([]byte(content))
		check(n, err)
	}
	for _, dir := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", "data"} {
		add(tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, readFile(n, busybox))
	for _, name := range []string{"sh", "sleep"} {
		add(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, "")
	}
	add(tar.Header{Name: "bin/idle", Typeflag: tar.TypeReg, Mode: 0o755}, idle)
	content := strings.Repeat("something to write\n", 1000)
	for i := range 3000 {
		add(tar.Header{Name: fmt.Sprintf("data/%d", i), Typeflag: tar.TypeReg, Mode: 0o644}, content)
	}
	check(n, w.Close())
}
