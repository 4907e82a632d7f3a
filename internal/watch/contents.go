package watch

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// maxHashed is the largest file that is read; a larger one is judged by its status.
	maxHashed = 4 << 20
	// maxHashedPerLook bounds what one look reads of files that changed.
	maxHashedPerLook = 64 << 20
	// settled is how old a file's last change has to be, for its status to stand for its content: file systems keep time
	// in steps, and two writes within one leave the same status.
	settled = 2 * time.Second
)

// sum stands for a content, or for there being none.
type sum [sha256.Size]byte

// status is what stat(2) says of a file that changes when it is written or replaced.
type status struct {
	dev, ino     uint64
	size         int64
	mode         uint32
	mtime, ctime syscall.Timespec
}

// known is the content of a file as it was read last.
type known struct {
	status status
	sum    sum
	final  bool // status was settled when the content was read
	looked bool // in this look
}

// contents remembers sums by path, so that a file whose status has not changed is not read again.
type contents map[string]*known

// sums returns what the paths hold now and forgets files that are no longer there.
func (c contents) sums(paths []string) map[string]sum {
	for _, k := range c {
		k.looked = false
	}
	budget := int64(maxHashedPerLook)
	sums := make(map[string]sum, len(paths))
	for _, p := range paths {
		info, err := os.Stat(p)
		switch {
		case err != nil:
			sums[p] = sumOfError(err)
		case info.IsDir():
			sums[p] = c.directory(p, &budget)
		default:
			sums[p] = c.file(p, info, &budget)
		}
	}
	for p, k := range c {
		if !k.looked {
			delete(c, p)
		}
	}
	return sums
}

// directory sums the names in a directory, and what files among them hold.
func (c contents) directory(dir string, budget *int64) sum {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return sumOfError(err)
	}
	h := sha256.New()
	write(h, "directory")
	for _, e := range entries {
		if isNoise(e.Name()) {
			continue
		}
		write(h, e.Name())
		path := filepath.Join(dir, e.Name())
		var s sum
		info, err := os.Stat(path)
		switch {
		case err != nil:
			s = sumOfError(err)
		case info.IsDir():
			s = sumOfText("directory")
		default:
			s = c.file(path, info, budget)
		}
		h.Write(s[:])
	}
	return finish(h)
}

// file sums what a file holds; of one that is not regular or too large, its status.
func (c contents) file(path string, info fs.FileInfo, budget *int64) sum {
	st := statusOf(info)
	if !info.Mode().IsRegular() || st.size > maxHashed || st.size > *budget {
		return sumOfStatus(st)
	}
	if k := c[path]; k != nil && k.final && k.status == st {
		k.looked = true
		return k.sum
	}
	*budget -= st.size
	k, err := read(path)
	if err != nil {
		return sumOfError(err)
	}
	k.looked = true
	c[path] = k
	return k.sum
}

// read sums a regular file's content. Its status is that of before: what is written meanwhile changes it.
func read(path string) (*known, error) {
	// A FIFO may have taken the file's place: without O_NONBLOCK that would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st := statusOf(info)
	if !info.Mode().IsRegular() {
		return &known{status: st, sum: sumOfStatus(st)}, nil
	}
	age := time.Since(time.Unix(st.ctime.Unix()))
	h := sha256.New()
	write(h, "file")
	if _, err := io.Copy(h, io.LimitReader(f, maxHashed)); err != nil {
		return nil, err
	}
	return &known{status: st, sum: finish(h), final: age > settled}, nil
}

func statusOf(info fs.FileInfo) status {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return status{size: info.Size(), mode: uint32(info.Mode()), mtime: syscall.NsecToTimespec(info.ModTime().UnixNano())}
	}
	return status{
		dev: st.Dev, ino: st.Ino, size: st.Size, mode: st.Mode, mtime: st.Mtim, ctime: st.Ctim,
	}
}

// sumOfStatus leaves out what changes without the content: owner, links, and the time of such changes.
func sumOfStatus(st status) sum {
	h := sha256.New()
	write(h, "status")
	for _, n := range []uint64{
		st.dev, st.ino, uint64(st.size), uint64(st.mode & syscall.S_IFMT), uint64(st.mtime.Sec), uint64(st.mtime.Nsec),
	} {
		h.Write(binary.BigEndian.AppendUint64(nil, n))
	}
	return finish(h)
}

// sumOfError tells that there is nothing, or nothing that can be read, apart from contents and from each other.
func sumOfError(err error) sum {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return sumOfText("error " + errno.Error())
	}
	return sumOfText("error " + err.Error())
}

func sumOfText(text string) sum {
	h := sha256.New()
	write(h, text)
	return finish(h)
}

// write adds a text with its length, so that no two lists of texts are alike.
func write(h hash.Hash, text string) {
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
	h.Write([]byte(text))
}

func finish(h hash.Hash) sum {
	var s sum
	h.Sum(s[:0])
	return s
}
