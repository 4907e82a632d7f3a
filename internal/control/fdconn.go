package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// fdConn carries lines of JSON, some of them with open files (unix(7), SCM_RIGHTS). One goroutine may send while another
// receives.
type fdConn struct {
	*net.UnixConn
	buf []byte // received, and not yet taken
	fds []*os.File
}

func (c *fdConn) send(value any, files ...*os.File) error {
	line, err := encodeLine(value)
	if err != nil {
		return fmt.Errorf("cannot encode a message: %w", err)
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(line, oob, nil)
	for err == nil && n < len(line) {
		var more int
		more, err = c.Write(line[n:])
		n += more
	}
	if err != nil {
		return fmt.Errorf("cannot send a message: %w", err)
	}
	return nil
}

// receive reads a line that comes without files.
func (c *fdConn) receive(into any) error {
	_, err := c.receiveWithFiles(into, 0)
	return err
}

// receiveWithFiles reads a line and the files that came with it, at most so many.
func (c *fdConn) receiveWithFiles(into any, most int) ([]*os.File, error) {
	for bytes.IndexByte(c.buf, '\n') < 0 {
		if len(c.buf) > maxLineBytes {
			return nil, errors.New("a message is too long")
		}
		if err := c.read(most); err != nil {
			c.drop()
			return nil, err
		}
	}
	line, rest, _ := bytes.Cut(c.buf, []byte("\n"))
	err := json.Unmarshal(line, into)
	c.buf = rest
	if err != nil {
		c.drop()
		return nil, fmt.Errorf("cannot read a message: %w", err)
	}
	fds := c.fds
	c.fds = nil
	return fds, nil
}

func (c *fdConn) read(most int) error {
	b, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*8))
	n, oobn, flags, _, err := c.ReadMsgUnix(b, oob) // close-on-exec
	if err != nil {
		return err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return fmt.Errorf("cannot read what came with a message: %w", err)
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // something else
		}
		for _, fd := range fds {
			c.fds = append(c.fds, os.NewFile(uintptr(fd), "received"))
		}
	}
	switch {
	case len(c.fds) > most || flags&unix.MSG_CTRUNC != 0:
		return errors.New("more files came than are wanted")
	case n == 0:
		return net.ErrClosed
	}
	c.buf = append(c.buf, b[:n]...)
	return nil
}

// drop closes files that nobody takes.
func (c *fdConn) drop() {
	for _, f := range c.fds {
		_ = f.Close()
	}
	c.fds = nil
}

func (c *fdConn) closeWrite() { _ = c.CloseWrite() }
