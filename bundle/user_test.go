package bundle

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestUsers(t *testing.T) {
	rootfs := func(change func(etc string)) string {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "etc/passwd"), passwdText)
		write(t, filepath.Join(dir, "etc/group"), groupText)
		change(filepath.Join(dir, "etc"))
		return dir
	}
	plain := rootfs(func(string) {})
	hostile := func(plant func(path string) error) string {
		return rootfs(func(etc string) {
			if err := os.Remove(etc + "/passwd"); err != nil {
				t.Fatal(err)
			}
			if err := plant(etc + "/passwd"); err != nil {
				t.Fatal(err)
			}
		})
	}
	inside := hostile(func(path string) error {
		write(t, filepath.Join(filepath.Dir(path), "../usr/share/passwd"), "abs:x:77:77::/abs:/bin/sh\n")
		return os.Symlink("/usr/share/passwd", path)
	})
	outside := filepath.Join(t.TempDir(), "passwd")
	write(t, outside, "evil:x:66:66::/evil:/bin/sh\n")
	escape := hostile(func(path string) error { return os.Symlink(outside, path) })
	dots := hostile(func(path string) error { return os.Symlink(strings.Repeat("../", 30)+outside[1:], path) })
	fifo := hostile(func(path string) error { return syscall.Mkfifo(path, 0o600) })
	magic := hostile(func(path string) error { return os.Symlink("/proc/self/fd/0", path) })

	for name, test := range map[string]struct {
		rootfs, user string
		uid, gid     uint32
		groups       []uint32
		home         string
	}{
		"nothing":            {plain, "", 0, 0, nil, "/root"},
		"name":               {plain, "web", 33, 33, []uint32{4}, "/srv/web"},
		"number with a name": {plain, "33", 33, 33, []uint32{4}, "/srv/web"},
		"number without":     {plain, "1234", 1234, 0, nil, "/"},
		"name and group":     {plain, "web:log", 33, 4, nil, "/srv/web"},
		"numbers":            {plain, "1234:5678", 1234, 5678, nil, "/"},
		"no passwd":          {t.TempDir(), "1000:1000", 1000, 1000, nil, "/"},
		"link inside":        {inside, "abs", 77, 77, nil, "/abs"},
		"magic link":         {magic, "1:1", 1, 1, nil, "/"},
	} {
		t.Run(name, func(t *testing.T) {
			s := generated(t, newBuilder(t), Options{Rootfs: test.rootfs, User: test.user})
			u := s.Process.User
			if u.UID != test.uid || u.GID != test.gid || !slices.Equal(u.AdditionalGids, test.groups) ||
				!slices.Contains(s.Process.Env, "HOME="+test.home) {
				t.Errorf("%+v, %v", u, s.Process.Env)
			}
		})
	}
	for name, test := range map[string]struct{ rootfs, user, want string }{
		"unknown":         {plain, "nobody", `user: "nobody": `},
		"unknown group":   {plain, "web:nogroup", `user: "web:nogroup": `},
		"out of range":    {plain, "99999999999", `user: "99999999999": `},
		"link to outside": {escape, "evil", `user: "evil": `},
		"dots to outside": {dots, "evil", `user: "evil": `},
		"FIFO":            {fifo, "web", "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			_, err := b.Plan(t.Context(), Options{Name: "c1", Rootfs: test.rootfs, User: test.user, Command: []string{"x"}})
			wantError(t, err, test.want)
		})
	}
}
