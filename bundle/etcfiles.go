package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	resolvConf   = "resolv.conf"
	hostsFile    = "hosts"
	hostnameFile = "hostname"
)

// etcNames are the files of /etc that a container gets. Without a network there is nobody to ask for names.
func etcNames(mode NetworkMode) []string {
	if mode == NetworkNone {
		return []string{hostsFile, hostnameFile}
	}
	return []string{resolvConf, hostsFile, hostnameFile}
}

// writeEtc writes the files of /etc into dir, as they are now on the host or, for hosts and hostname of a container with
// a network of its own, as its name asks for. Files that are right already are left alone.
func writeEtc(dir string, host Host, r *record) error {
	if len(r.Etc) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make directory: %w", err)
	}
	for _, name := range r.Etc {
		content, err := etcContent(name, host, r)
		if err != nil {
			return err
		}
		if err := writeIfDifferent(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

func etcContent(name string, host Host, r *record) ([]byte, error) {
	switch {
	case name == hostnameFile:
		return []byte(r.Hostname + "\n"), nil
	case name == hostsFile && !r.HostNetwork:
		return fmt.Appendf(nil, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n",
			r.Hostname), nil
	}
	content, err := os.ReadFile(filepath.Join(host.Etc, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the container sees an empty one
	}
	if err != nil {
		return nil, fmt.Errorf("cannot copy the host's file: %w", err)
	}
	return content, nil
}

func writeIfDifferent(path string, content []byte) error {
	// Not followed: the container could have written the file, never replaced it, so a link is nobody's right.
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm() == 0o644 {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
			return nil
		}
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("cannot replace file: %w", err)
	}
	return writeFile(path, content, 0o644)
}

// writeFile makes a new file with exactly this mode, whatever the umask.
func writeFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("cannot make file: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("cannot write %s: %w", path, closeErr)
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return fmt.Errorf("cannot set the mode of %s: %w", path, err)
	}
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
