package control

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxAddress is the longest path that fits into a unix socket's address (unix(7): sun_path, with its NUL).
const maxAddress = 107

// shortAddress returns a path for bind or connect that means the same and fits into an address. release is to be called
// when that is done.
func shortAddress(path string) (address string, release func(), err error) {
	if len(path) <= maxAddress {
		return path, func() {}, nil
	}
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	address = "/proc/self/fd/" + strconv.Itoa(fd) + "/" + filepath.Base(path)
	if len(address) > maxAddress {
		_ = unix.Close(fd)
		return "", nil, fmt.Errorf("the name of socket %s is too long", path)
	}
	return address, func() { _ = unix.Close(fd) }, nil
}
