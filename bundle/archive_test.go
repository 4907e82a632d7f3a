package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// exportLike is what docker export writes of a small container.
func exportLike(t testing.TB) []byte {
	t.Helper()
	owned := file("srv/web/index.html", "hello")
	owned.Uid, owned.Gid, owned.Mode = 33, 34, 0o640
	owned.ModTime = time.Unix(1_600_000_000, 0)
	ping := file("bin/ping", "ELF")
	ping.Mode = 0o755
	// cap_net_raw=ep, as setcap(8) writes it.
	ping.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	su := file("bin/su", "ELF")
	su.Mode = 0o4755
	su2 := hardlink("bin/su2", "bin/su")
	su2.Mode = su.Mode
	null := entry{Header: tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}}
	return tarOf(t, directory("bin/"), directory("dev/"), directory("etc/"), file("etc/passwd", passwdText),
		file("etc/group", groupText), directory("usr/"), directory("usr/lib/"), symlink("lib", "/usr/lib"),
		file("lib/libc.so", "through an absolute link"), file(".wh.kept", "no white-out in an export"),
		ping, su, su2, null, directory("srv/"), owned)
}

func archiveOptions(path string) Options {
	return Options{Name: "c1", RootfsArchive: path, Command: []string{"/bin/true"}}
}

func TestArchiveFormats(t *testing.T) {
	plain := exportLike(t)
	for name, data := range map[string][]byte{
		"tar": plain, "gzip": gzipped(t, plain), "zstd": zstandard(t, plain),
		"gzip in parts": append(gzipped(t, plain[:1000]), gzipped(t, plain[1000:])...),
		"zstd in parts": append(zstandard(t, plain[:1000]), zstandard(t, plain[1000:])...),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			old := syscall.Umask(0o077) // that of a careful service
			defer syscall.Umask(old)
			rootfs := filepath.Join(install(t, prepare(t, b, archiveOptions(archiveFile(t, data)))), "rootfs")
			if got := read(t, rootfs+"/usr/lib/libc.so"); got != "through an absolute link" {
				t.Errorf("usr/lib/libc.so is %q", got)
			}
			if got := read(t, rootfs+"/.wh.kept"); got == "" {
				t.Error("a file whose name looks like a white-out is gone")
			}
			for path, want := range map[string]string{
				"":                   "directory 755 0:0",
				"srv/web":            "directory 755 0:0", // implied
				"srv/web/index.html": "regular file 640 33:34",
				"bin/su":             "regular file 4755 0:0",
				"bin/su2":            "regular file 4755 0:0",
				"dev/null":           "character special file 666 0:0",
				"lib":                "symbolic link 777 0:0",
			} {
				if got := strings.TrimSpace(command(t, "stat", "-c", "%F %a %u:%g", filepath.Join(rootfs, path))); got != want {
					t.Errorf("%s is %s, want %s", path, got, want)
				}
			}
			info, err := os.Stat(rootfs + "/srv/web/index.html")
			if err != nil || info.ModTime().Unix() != 1_600_000_000 {
				t.Errorf("time of modification: %v, %v", info, err)
			}
			xattr := make([]byte, 64)
			if n, err := unix.Lgetxattr(rootfs+"/bin/ping", "security.capability", xattr); err != nil || n != 20 {
				t.Errorf("file capabilities: %d bytes, %v", n, err)
			}
		})
	}
}

// Whatever an archive says, nothing outside of its root file system is written, and after a refusal nothing is left.
func TestHostileArchives(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	up := strings.Repeat("../", 30) + strings.TrimPrefix(outside, "/")
	huge := entry{tar.Header{Name: "huge", Typeflag: tar.TypeReg, Mode: 0o644}, "little"}
	hugeTar := tarOf(t, huge)
	copy(hugeTar[124:136], "77777777777\x00") // size: 8 GiB
	fixChecksum(hugeTar[:512])
	negative := tarOf(t, huge)
	copy(negative[124:136], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	fixChecksum(negative[:512])

	tests := map[string]struct {
		data    []byte
		refused bool
	}{
		"dot-dot name":                    {tarOf(t, file(up+"/victim", "x")), true},
		"dot-dot inside a name":           {tarOf(t, file("a/../../../../../../../../.."+victim, "x")), true},
		"absolute name":                   {tarOf(t, file(victim, "x")), false}, // lands inside
		"through a relative link":         {tarOf(t, symlink("a", up), file("a/victim", "x")), true},
		"through an absolute link":        {tarOf(t, symlink("a", outside), file("a/victim", "x")), false},
		"through a chain of links":        {tarOf(t, symlink("a", up), symlink("b", "a"), file("b/victim", "x")), true},
		"through a link that is replaced": {tarOf(t, directory("a"), symlink("a", up), file("a/victim", "x")), true},
		"write over a link":               {tarOf(t, symlink("a", victim), file("a", "x")), false},
		"hard link to the outside":        {tarOf(t, hardlink("a", up+"/victim"), file("a", "x")), true},
		"hard link through a link":        {tarOf(t, symlink("l", up), hardlink("a", "l/victim")), true},
		"absolute hard link":              {tarOf(t, hardlink("a", victim)), true},
		"directory over a link":           {tarOf(t, symlink("a", up), directory("a"), file("a/victim", "x")), false},
		"mode of what a link leads to":    {tarOf(t, symlink("a", victim), hardlink("b", "a")), false},
		"device through a link": {tarOf(t, symlink("a", up), entry{Header: tar.Header{
			Name: "a/victim2", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}), true},
		"huge size":      {hugeTar, true},
		"negative size":  {negative, true},
		"link to itself": {tarOf(t, symlink("a", "a"), file("a/x", "x")), true},
		"root replaced":  {tarOf(t, symlink(".", outside), file("victim", "x")), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
				t.Fatal(err)
			}
			b := newBuilder(t)
			plan, err := b.Plan(t.Context(), archiveOptions(archiveFile(t, test.data)))
			if err != nil {
				t.Fatal(err)
			}
			p, err := b.Prepare(t.Context(), plan)
			if (err != nil) != test.refused {
				t.Errorf("error %v, refused should be %v", err, test.refused)
			}
			if err != nil {
				wantError(t, err, "rootfs-archive: ", plan.options.RootfsArchive)
				if left := names(t, b.cfg.BundlesDir); left != "" {
					t.Errorf("left: %s", left)
				}
			} else if err := p.Discard(); err != nil {
				t.Error(err)
			}
			info, err := os.Stat(victim)
			if err != nil || info.Mode() != 0o600 || read(t, victim) != "untouched" || names(t, outside) != "victim" {
				t.Errorf("the outside was changed: %v, %v, %s", info, err, names(t, outside))
			}
		})
	}
}

// fixChecksum makes a changed tar header a good one again.
func fixChecksum(header []byte) {
	copy(header[148:156], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

func TestDamagedArchives(t *testing.T) {
	body := make([]byte, 300_000)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(body)
	plain := tarOf(t, file("etc/passwd", passwdText), file("big", string(body)))
	zipped, zst := gzipped(t, plain), zstandard(t, plain)
	flip := func(data []byte, at int) []byte {
		data = bytes.Clone(data)
		data[at] ^= 0x55
		return data
	}
	tests := map[string]struct {
		data []byte
		want string
	}{
		"empty":                {nil, "empty file"},
		"text":                 {[]byte(strings.Repeat("hello world\n", 100)), "not a good tar archive"},
		"cut off in a file":    {plain[:100_000], "cut off"},
		"cut off in a header":  {plain[:1024+200], "cut off"},
		"cut off at an entry":  {plain[:1024], "no end-of-archive mark"},
		"half an end mark":     {plain[:len(plain)-512], "no end-of-archive mark"},
		"gzip cut off":         {zipped[:len(zipped)/2], "cut off"},
		"gzip without its sum": {zipped[:len(zipped)-8], "cut off"},
		"gzip flipped":         {flip(zipped, len(zipped)/2), "archive"},
		"gzip sum flipped":     {flip(zipped, len(zipped)-6), "archive"},
		"zstd cut off":         {zst[:len(zst)/2], "cut off"},
		"zstd flipped":         {flip(zst, len(zst)-2), "archive"},
		"xz":                   {[]byte("\xfd7zXZ\x00..........."), "use gzip, zstd or nothing"},
		"bzip2":                {[]byte("BZh91AY&SY.........."), "use gzip, zstd or nothing"},
		"nothing in it":        {tarOf(t), "nothing in the archive"},
		"docker save": {tarOf(t, file("manifest.json", "[]"), file("repositories", "{}")),
			"make it with docker export"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			plan, err := b.Plan(t.Context(), archiveOptions(archiveFile(t, test.data)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.Prepare(t.Context(), plan)
			wantError(t, err, `cannot build the bundle of "c1": rootfs-archive: `, plan.options.RootfsArchive, test.want)
			if left := names(t, b.cfg.BundlesDir); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

func TestArchiveIsMissing(t *testing.T) {
	_, err := newBuilder(t).Plan(t.Context(), archiveOptions("/nowhere/export.tar"))
	wantError(t, err, "rootfs-archive: /nowhere/export.tar: no such file or directory")
	if !errors.Is(err, ErrMissing) {
		t.Errorf("%v is not ErrMissing", err)
	}
	_, err = newBuilder(t).Plan(t.Context(), archiveOptions(t.TempDir()))
	wantError(t, err, "not a regular file")
}

func TestArchiveChangesBetweenPlanAndPrepare(t *testing.T) {
	b := newBuilder(t)
	path := archiveFile(t, exportLike(t))
	plan, err := b.Plan(t.Context(), archiveOptions(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, tarOf(t, file("other", "x")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = b.Prepare(t.Context(), plan)
	wantError(t, err, path+": was written to while it was read")
	if left := names(t, b.cfg.BundlesDir); left != "" {
		t.Errorf("left: %s", left)
	}
}

// countedContext ends when it was asked a number of times.
type countedContext struct {
	context.Context
	left int
}

func (c *countedContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestCancelledBuildLeavesNothing(t *testing.T) {
	var entries []entry
	for i := range 50 {
		entries = append(entries, file(fmt.Sprintf("f%d", i), strings.Repeat("x", 1<<20)))
	}
	path := archiveFile(t, tarOf(t, entries...))
	b := newBuilder(t)
	plan, err := b.Plan(t.Context(), archiveOptions(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, calls := range []int{0, 1, 2, 10, 30} {
		_, err := b.Prepare(&countedContext{t.Context(), calls}, plan)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after %d calls: %v", calls, err)
		}
		if left := names(t, b.cfg.BundlesDir); left != "" {
			t.Errorf("after %d calls left: %s", calls, left)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newBuilder(t).Plan(ctx, archiveOptions(path)); !errors.Is(err, context.Canceled) {
		t.Errorf("plan: %v", err)
	}
}

func TestDiskFull(t *testing.T) {
	needRoot(t)
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	b := newBuilder(t, func(c *BuilderConfig) { c.BundlesDir = filepath.Join(small, "bundles") })
	good := prepare(t, b, archiveOptions(archiveFile(t, tarOf(t, file("small", "x")))))
	install(t, good)
	plan, err := b.Plan(t.Context(), archiveOptions(archiveFile(t, tarOf(t, file("big", strings.Repeat("x", 1<<20))))))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Prepare(t.Context(), plan)
	wantError(t, err, "no space left on device")
	if left := names(t, b.cfg.BundlesDir); left != "c1" {
		t.Errorf("left: %s", left)
	}
	install(t, good)
}

// Gigabytes are not read again by every plan, nor by the next daemon, but a changed file is.
func TestDigestIsKept(t *testing.T) {
	b := newBuilder(t)
	path := archiveFile(t, exportLike(t))
	hour := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, hour, hour); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := idOf(info)
	if err != nil {
		t.Fatal(err)
	}
	for name, known := range map[string]*archiveDigest{
		"unknown":             nil,
		"another file":        {Digest: "known", File: &fileID{Size: 1}},
		"not to be relied on": {Digest: "known"},
	} {
		if got, err := b.digestOf(t.Context(), path, known); err != nil || got.Digest != sumOf([]byte(read(t, path))) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := b.digestOf(t.Context(), path, &archiveDigest{"known", &id}); err != nil || got.Digest != "known" {
		t.Errorf("known: %+v, %v", got, err)
	}
	// Its ctime is of just now, so the content could change without a trace: nothing is remembered.
	if len(b.digests) != 0 {
		t.Errorf("remembered too early: %v", b.digests)
	}
	b.digests[id] = "seen"
	if got, err := b.digestOf(t.Context(), path, nil); err != nil || got.Digest != "seen" || *got.File != id {
		t.Errorf("seen: %+v, %v", got, err)
	}
}
