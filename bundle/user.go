package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxUserFile bounds what is read of a container's passwd and group, which are not to be trusted.
const maxUserFile = 8 << 20

// account is who a container's process runs as.
type account struct {
	user specs.User
	home string
}

// lookupUser resolves `user:` with the passwd and group of a root file system, whose symbolic links are followed as the
// container would.
func lookupUser(rootfs, spec string) (account, error) {
	passwd, err := readInside(rootfs, "/etc/passwd")
	if err != nil {
		return account{}, err
	}
	group, err := readInside(rootfs, "/etc/group")
	if err != nil {
		return account{}, err
	}
	// Nil readers, not nil pointers in them: the library looks.
	var passwdReader, groupReader io.Reader
	if passwd != nil {
		defer passwd.Close() // only read
		passwdReader = io.LimitReader(passwd, maxUserFile)
	}
	if group != nil {
		defer group.Close() // only read
		groupReader = io.LimitReader(group, maxUserFile)
	}
	found, err := user.GetExecUser(spec, nil, passwdReader, groupReader)
	if err != nil {
		return account{}, fmt.Errorf("user: %q: %w (looked up in etc/passwd and etc/group of the root file system)", spec, err)
	}
	a := account{user: specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}, home: found.Home}
	for _, gid := range found.Sgids {
		a.user.AdditionalGids = append(a.user.AdditionalGids, uint32(gid))
	}
	if a.home == "" {
		a.home = "/"
	}
	return a, nil
}

// readInside opens a regular file of a root file system as a process chrooted there would, and returns nil when there is
// none. It needs openat2(2), Linux 5.6.
func readInside(rootfs, path string) (*os.File, error) {
	dir, err := os.Open(rootfs)
	if err != nil {
		return nil, fmt.Errorf("cannot open the root file system: %w", err)
	}
	defer dir.Close() // only a place to start from
	// O_PATH: opening a device node for real could do something.
	fd, err := unix.Openat2(int(dir.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s in %s: %w", path, rootfs, err)
	}
	place := os.NewFile(uintptr(fd), path)
	defer place.Close() // only a place
	info, err := place.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s in %s: %w", path, rootfs, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read %s in %s: not a regular file", path, rootfs)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("cannot open %s in %s: %w", path, rootfs, err)
	}
	return f, nil
}
