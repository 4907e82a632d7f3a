package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// maxSecret keeps a wrong path from filling the run directory, which is memory.
const maxSecret = 4 << 20

// secretCopy is one secret as it is copied for an instance.
type secretCopy struct {
	Source hostPath `json:"source"`
	File   string   `json:"file"` // in RUN/secrets/NAME
	Mode   uint32   `json:"mode"`
	UID    uint32   `json:"uid"` // on the host
	GID    uint32   `json:"gid"`
}

// owner sets who may read the copies: the container's user, as the host sees it.
func (c *secretCopy) owner(s *specs.Spec) {
	c.UID, c.GID = s.Process.User.UID, s.Process.User.GID
	if s.Linux != nil {
		c.UID, c.GID = hostID(c.UID, s.Linux.UIDMappings), hostID(c.GID, s.Linux.GIDMappings)
	}
}

// hostID maps an id of a user namespace to the host's. One that is not mapped stays as it is: nobody inside can be it.
func hostID(id uint32, mappings []specs.LinuxIDMapping) uint32 {
	for _, m := range mappings {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + (id - m.ContainerID)
		}
	}
	return id
}

// copySecrets makes dir anew with the copies in it. After an error there is no dir.
func copySecrets(dir string, copies []secretCopy) (err error) {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove old copies of secrets: %w", err)
	}
	if len(copies) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make a directory for copies of secrets: %w", err)
	}
	for _, c := range copies {
		if err := c.copyTo(dir); err != nil {
			return fmt.Errorf("%s: %w", c.Source.Key, err)
		}
	}
	return nil
}

func (c secretCopy) copyTo(dir string) (err error) {
	// Not blocking: the source may be a FIFO.
	in, err := os.OpenFile(c.Source.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return missing(c.Source.Path, err)
	}
	defer in.Close() // only read
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", c.Source.Path, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", c.Source.Path)
	}
	content, err := io.ReadAll(io.LimitReader(in, maxSecret+1))
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", c.Source.Path, err)
	}
	if len(content) > maxSecret {
		return fmt.Errorf("%s: larger than %d MiB", c.Source.Path, maxSecret>>20)
	}
	path := filepath.Join(dir, c.File)
	if err := writeFile(path, content, os.FileMode(c.Mode)); err != nil {
		return err
	}
	if err := os.Chown(path, int(c.UID), int(c.GID)); err != nil {
		return fmt.Errorf("cannot give away the copy of %s: %w", c.Source.Path, err)
	}
	return nil
}
