package bundle

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if archive := os.Getenv("BUNDLE_TEST_BUILD"); archive != "" {
		os.Exit(buildUntilKilled(archive))
	}
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test gives files away and runs containers: run it as root")
	}
}

// testHost is a machine that does not change with the one the tests run on.
func testHost(t testing.TB) Host {
	t.Helper()
	etc := t.TempDir()
	write(t, filepath.Join(etc, "resolv.conf"), "nameserver 192.0.2.1\n")
	write(t, filepath.Join(etc, "hosts"), "127.0.0.1 localhost\n192.0.2.7 registry\n")
	return Host{LastCap: 40, SwapLimit: true, Etc: etc, Hostname: func() (string, error) { return "node7", nil }}
}

func newBuilder(t testing.TB, change ...func(*BuilderConfig)) *Builder {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	cfg := BuilderConfig{
		BundlesDir: filepath.Join(dir, "bundles"), RunDir: filepath.Join(dir, "run"), Host: testHost(t),
		CgroupsPath: func(name string) string { return "/runcsup-test/" + name },
	}
	for _, f := range change {
		f(&cfg)
	}
	b, err := NewBuilder(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const (
	passwdText = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv/web:/bin/sh\n"
	groupText  = "root:x:0:\nweb:x:33:\nlog:x:4:web\ntty:x:5:\n"
)

// busyboxRootfs is a root file system in which things run.
func busyboxRootfs(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "rootfs")
	write(t, filepath.Join(dir, "etc/passwd"), passwdText)
	write(t, filepath.Join(dir, "etc/group"), groupText)
	write(t, filepath.Join(dir, "bin/busybox"), read(t, "/bin/busybox"))
	if err := os.Chmod(filepath.Join(dir, "bin/busybox"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "id", "stat", "hostname", "env", "sleep", "echo", "touch", "grep", "ls", "ip"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// entry is one of a tar archive.
type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body}
}

func symlink(name, to string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}}
}

func hardlink(name, to string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to, Mode: 0o644}}
}

func directory(name string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func archiveFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func prepare(t testing.TB, b *Builder, o Options) *Prepared {
	t.Helper()
	plan, err := b.Plan(t.Context(), o)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	p, err := b.Prepare(t.Context(), plan)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	return p
}

func install(t testing.TB, p *Prepared) string {
	t.Helper()
	dir, err := p.Install(t.Context())
	if err != nil {
		t.Fatalf("install: %v", err)
	}
	return dir
}

// names lists a directory, hidden files included.
func names(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q has no %q", err, part)
		}
	}
}
