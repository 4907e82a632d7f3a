package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const busybox = "/bin/busybox"

// applets are the commands in every busybox root file system.
const applets = "awk basename cat chmod chown cut date dd df echo env false find free grep head hostname httpd id ip kill killall ln ls md5sum " +
	"mkdir mkfifo mknod mount mv nc nproc printf ps pwd readlink rm seq setsid sh sleep sort stat stty sync tail tee test timeout touch " +
	"tr trap true ulimit umount uname unshare vi wc wget whoami yes"

// sharedBusybox is one copy of busybox in baseDir, which all root file systems link to.
var sharedBusybox = sync.OnceValues(func() (string, error) {
	data, err := os.ReadFile(busybox)
	if err != nil {
		return "", err
	}
	file := filepath.Join(baseDir, "busybox")
	return file, os.WriteFile(file, data, 0o755)
})

// idle is a program that runs until SIGTERM, which init processes ignore unless they handle it. After that it exits with 0;
// USR1 makes it exit with its first argument, or 1.
const idle = "#!/bin/sh\ntrap 'exit 0' TERM\ntrap \"exit ${1:-1}\" USR1\nsleep 1000000 &\nwait\n"

// makeRootfs makes a root file system of busybox in dir, with /bin/idle and users root, app (1000:1000) and nobody.
func makeRootfs(t testing.TB, dir string) {
	t.Helper()
	shared, err := sharedBusybox()
	if err != nil {
		t.Fatalf("cannot copy busybox (is busybox-static installed?): %v", err)
	}
	for _, d := range []string{"bin", "dev", "etc", "home/app", "proc", "run", "sys", "tmp", "var"} {
		check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	check(t, os.Chmod(filepath.Join(dir, "tmp"), 0o777))
	check(t, os.Link(shared, filepath.Join(dir, "bin/busybox")))
	for name := range strings.FieldsSeq(applets) {
		check(t, os.Symlink("busybox", filepath.Join(dir, "bin", name)))
	}
	writeFile(t, filepath.Join(dir, "bin/idle"), idle)
	check(t, os.Chmod(filepath.Join(dir, "bin/idle"), 0o755))
	writeFile(t, filepath.Join(dir, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	writeFile(t, filepath.Join(dir, "etc/group"), "root:x:0:\napp:x:1000:\nextra:x:2000:app\nnogroup:x:65534:\n")
}

// check ends the test if err is one.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeFile writes a file, whose directory it makes if needed.
func writeFile(t testing.TB, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

// replaceFile writes a file beside and renames it into place.
func replaceFile(t testing.TB, path, text string) {
	t.Helper()
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	writeFile(t, beside, text)
	check(t, os.Rename(beside, path))
}

// readFile returns a file's text.
func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return string(data)
}

// pack makes a tar of a directory. GNU tar would complain of busybox, whose number of links changes all the time.
func pack(t testing.TB, dir, archive string) {
	t.Helper()
	run(t, busybox, "tar", "-C", dir, "-cf", archive, ".")
}
