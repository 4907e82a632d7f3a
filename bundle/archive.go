package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/go-archive"
)

// maxZstdWindow is how much memory an archive may ask for: what zstd itself takes without --long.
const maxZstdWindow = 128 << 20

// fileID changes whenever a file's content may have.
type fileID struct {
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // nanoseconds
	Ctime int64  `json:"ctime"`
}

func idOf(info fs.FileInfo) (fileID, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, errors.New("no inode number")
	}
	return fileID{Dev: st.Dev, Inode: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}, nil
}

// archiveDigest is the content of an archive and, when that can be relied on, the file it was read from.
type archiveDigest struct {
	Digest string  `json:"digest"` // SHA-256
	File   *fileID `json:"file,omitempty"`
}

// digestOf returns the digest of an archive. It reads the file only if neither this Builder nor known, which is what an
// earlier one remembers, have seen it as it is now.
func (b *Builder) digestOf(ctx context.Context, path string, known *archiveDigest) (*archiveDigest, error) {
	f, id, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	if known != nil && known.File != nil && *known.File == id {
		return known, nil
	}
	b.mu.Lock()
	digest, ok := b.digests[id]
	b.mu.Unlock()
	if ok {
		return &archiveDigest{digest, &id}, nil
	}
	began := time.Now()
	sum := sha256.New()
	if _, err := io.Copy(sum, &ctxReader{ctx, f}); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if after, err := idOf(info); err != nil || after != id {
		return nil, fmt.Errorf("%s: was written to while it was read", path)
	}
	result := &archiveDigest{Digest: hex.EncodeToString(sum.Sum(nil))}
	// A file that changed just before could change again without its times telling.
	if began.Sub(time.Unix(0, id.Ctime)) > time.Second {
		result.File = &id
		b.mu.Lock()
		b.digests[id] = result.Digest
		b.mu.Unlock()
	}
	return result, nil
}

func openRegular(path string) (*os.File, fileID, error) {
	// Not blocking: the path may be a FIFO.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileID{}, missing(path, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	var id fileID
	if err == nil {
		id, err = idOf(info)
	}
	if err != nil {
		return nil, fileID{}, errors.Join(err, f.Close())
	}
	return f, id, nil
}

// extract unpacks an archive into dest, which exists and is empty, and makes sure that it was read to its end, was whole
// and had the content of digest. What is in dest after an error is the caller's to remove.
func extract(ctx context.Context, path, digest, dest string) error {
	f, _, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	sum := sha256.New()
	raw := io.TeeReader(&ctxReader{ctx, f}, sum)
	plain, done, err := decompress(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer done()
	tarball := &endReader{r: plain}
	err = archive.Unpack(tarball, dest, &archive.TarOptions{})
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot unpack %s: %w", path, ctx.Err())
	case err == nil && tarball.ended:
		err = errors.New("no end-of-archive mark")
	}
	if err == nil {
		// What follows the end mark has the checksums of the compressed formats.
		_, err = io.Copy(io.Discard, tarball)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, raw)
	}
	if err != nil {
		return unpackError(path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("%s: was written to while it was read", path)
	}
	return checkRootfs(path, dest)
}

func unpackError(path string, err error) error {
	var pathError *fs.PathError
	var syscallError syscall.Errno
	switch {
	case errors.As(err, &syscallError), errors.As(err, &pathError):
		return fmt.Errorf("cannot unpack %s: %w", path, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the archive is cut off: %w", path, err)
	default:
		return fmt.Errorf("%s: not a good tar archive (damaged, cut off, or something else): %w", path, err)
	}
}

// decompress tells the compression by the content.
func decompress(r io.Reader) (plain io.Reader, done func(), err error) {
	buffered := bufio.NewReaderSize(r, 1<<20)
	head, err := buffered.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("cannot read: %w", err)
	}
	switch {
	case len(head) == 0:
		return nil, nil, errors.New("empty file")
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, fmt.Errorf("damaged gzip: %w", err)
		}
		return z, func() {}, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("damaged zstd: %w", err)
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, nil, errors.New("compressed with bzip2 or xz: use gzip, zstd or nothing")
	}
	return buffered, func() {}, nil
}

// checkRootfs refuses archives that are no root file system.
func checkRootfs(path, dest string) error {
	entries, err := os.ReadDir(dest)
	if err != nil {
		return fmt.Errorf("cannot look at what was unpacked: %w", err)
	}
	if len(entries) == 0 {
		return fmt.Errorf("%s: there is nothing in the archive", path)
	}
	if exists(filepath.Join(dest, "manifest.json")) && (exists(filepath.Join(dest, "repositories")) ||
		exists(filepath.Join(dest, "index.json"))) {
		return fmt.Errorf("%s: is an image (docker save), not a root file system: make it with docker export", path)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// ctxReader fails as soon as its context has ended.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// endReader remembers whether its end was reached. A tar reader that stops at the end mark never gets there.
type endReader struct {
	r     io.Reader
	ended bool
}

func (e *endReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if n > 0 && errors.Is(err, io.EOF) {
		return n, nil // the end is reported by the next call
	}
	e.ended = e.ended || errors.Is(err, io.EOF)
	return n, err
}
