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

// Account is who a container's process runs as.
type Account struct {
	User specs.User
	Home string // "/" where none is known
}

// LookupUser resolves a user as `user:` has it (USER[:GROUP], names or numbers) with the passwd and group of a container's root
// file system, whose symbolic links are followed as the container would. root is a directory, or a link to one as
// /proc/PID/root. A user that is not there is an error that names him. It needs openat2(2), Linux 5.6.
func LookupUser(root, spec string) (Account, error) {
	// O_PATH: a place to start from; it can be one that must not be read.
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Account{}, fmt.Errorf("cannot open the root file system %s: %w", root, err)
	}
	defer func() { _ = unix.Close(dir) }()
	passwd, err := openInside(dir, root, "/etc/passwd")
	if err != nil {
		return Account{}, err
	}
	group, err := openInside(dir, root, "/etc/group")
	if err != nil {
		return Account{}, err
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
		return Account{}, fmt.Errorf("user: %q: %w (looked up in /etc/passwd and /etc/group of the container)", spec, err)
	}
	a := Account{User: specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}, Home: found.Home}
	for _, gid := range found.Sgids {
		a.User.AdditionalGids = append(a.User.AdditionalGids, uint32(gid))
	}
	if a.Home == "" {
		a.Home = "/"
	}
	return a, nil
}

// openInside opens a regular file of a root file system as a process chrooted there would, and returns nil when there is
// none.
func openInside(dir int, root, path string) (*os.File, error) {
	// O_PATH: opening a device node or a FIFO for real could do something, or block.
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s in %s: %w", path, root, err)
	}
	place := os.NewFile(uintptr(fd), path)
	defer place.Close() // only a place
	info, err := place.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s in %s: %w", path, root, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read %s in %s: not a regular file", path, root)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("cannot open %s in %s: %w", path, root, err)
	}
	return f, nil
}
