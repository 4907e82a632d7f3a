package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxUserFile bounds what is read of a container's passwd and group, which are not to be trusted.
const maxUserFile = 8 << 20

// lookupUser resolves USER[:GROUP] with the passwd and group that a container sees, mounts included.
func lookupUser(init int, name string) (specs.User, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", init), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return specs.User{}, fmt.Errorf("cannot look into the container: %w", err)
	}
	defer func() { _ = unix.Close(root) }()
	passwd, err := openInside(root, "etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	group, err := openInside(root, "etc/group")
	if err != nil {
		return specs.User{}, err
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
	found, err := user.GetExecUser(name, nil, passwdReader, groupReader)
	if err != nil {
		return specs.User{}, fmt.Errorf("user %q: %w (looked up in /etc/passwd and /etc/group of the container)", name, err)
	}
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	for _, gid := range found.Sgids {
		u.AdditionalGids = append(u.AdditionalGids, uint32(gid))
	}
	return u, nil
}

// openInside opens a regular file as a process of the container would, and returns nil when there is none.
func openInside(root int, path string) (*os.File, error) {
	// O_PATH: opening a device node or a FIFO for real could do something, or block.
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open /%s of the container: %w", path, err)
	}
	place := os.NewFile(uintptr(fd), path)
	defer place.Close() // only a place
	info, err := place.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read /%s of the container: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read /%s of the container: not a regular file", path)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("cannot open /%s of the container: %w", path, err)
	}
	return f, nil
}
