package logs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// journalSocket is where journald listens.
const journalSocket = "/run/systemd/journal/socket"

// journalSink sends a container's lines to journald, with the fields that docker and podman give them. Each container has a
// connection of its own: it waits for journald by itself, and a connected socket is woken when there is room again, which
// an unconnected one (as go-systemd's journal.Send has it) is not.
//
// A message has the ordinal of its piece, so that the one that a killed daemon may or may not have sent can be looked for.
// journald may still lose what it was sent and has not written when it is killed itself.
type journalSink struct {
	name   string
	socket string
	ctx    context.Context
	conn   *net.UnixConn
	buf    []byte
}

// sendTimeout is for one message; journald that takes nothing for so long is in trouble.
const sendTimeout = 5 * time.Second

// store implements sink.
func (s *journalSink) store(b *batch, p *position, _ *workspace) error {
	p.begin(b, recordJournal)
	return s.send(b, p, 0)
}

// redo implements sink.
func (s *journalSink) redo(b *batch, p *position, _ *workspace) error {
	from := int(p.sent)
	there, err := s.has(p.ordinal + uint64(from) + 1)
	if err != nil {
		return err
	}
	if there {
		from++
	}
	return s.send(b, p, from)
}

// send sends the pieces of a batch from one on. After an error the batch is what was sent.
func (s *journalSink) send(b *batch, p *position, from int) error {
	c := clock{}
	c.set(b.time)
	end, i := 0, 0
	for text, whole := range pieces(b.data) {
		if i >= from {
			s.buf = s.message(s.buf[:0], b.stream, text, !whole, p.ordinal+uint64(i)+1, c.text)
			if err := s.write(s.buf); err != nil {
				b.cut(b.data[:end])
				return err
			}
			p.sent = uint32(i + 1)
		}
		end += len(text)
		if whole {
			end++
		}
		i++
		c.step()
	}
	return nil
}

func (s *journalSink) write(message []byte) error {
	fail := func(err error) error { return fmt.Errorf("cannot send to journald: %w", errors.Join(err, s.close())) }
	if s.conn == nil {
		socket := s.socket
		if socket == "" {
			socket = journalSocket
		}
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			return fail(err)
		}
		s.conn = conn
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return fail(err)
	}
	if _, err := s.conn.Write(message); err != nil {
		return fail(err)
	}
	return nil
}

func (s *journalSink) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

// Priorities of syslog(3), as docker and podman choose them.
const (
	priorityInfo  = "6" // stdout
	priorityError = "3" // stderr
)

// message appends one in journald's native protocol, https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
func (s *journalSink) message(out []byte, stream int, text []byte, partial bool, ordinal uint64, stamp []byte) []byte {
	priority := priorityInfo
	if Streams[stream] == Stderr {
		priority = priorityError
	}
	out = append(out, "MESSAGE\n"...) // with its length, because it can hold anything
	out = binary.LittleEndian.AppendUint64(out, uint64(len(text)))
	out = append(out, text...)
	out = append(out, "\nPRIORITY="...)
	out = append(out, priority...)
	for _, field := range []string{"CONTAINER_NAME", "CONTAINER_ID", "CONTAINER_ID_FULL", "CONTAINER_TAG", "SYSLOG_IDENTIFIER"} {
		out = append(out, '\n')
		out = append(out, field...)
		out = append(out, '=')
		out = append(out, s.name...)
	}
	out = append(out, "\nSYSLOG_TIMESTAMP="...)
	out = append(out, stamp...)
	out = append(out, "\nCONTAINER_LOG_ORDINAL="...)
	out = strconv.AppendUint(out, ordinal, 10)
	if partial {
		out = append(out, "\nCONTAINER_PARTIAL_MESSAGE=true"...)
	}
	return append(out, '\n')
}

// syncTimeout bounds the question of whether a message has arrived.
const syncTimeout = 20 * time.Second

// has tells whether journald has this boot's message with an ordinal.
func (s *journalSink) has(ordinal uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(s.ctx, syncTimeout)
	defer cancel()
	// What is still in journald's socket is to be in the journal.
	if out, err := exec.CommandContext(ctx, "journalctl", "--sync").CombinedOutput(); err != nil {
		return false, fmt.Errorf("journalctl --sync: %w: %s", err, strings.TrimSpace(string(out)))
	}
	out, err := exec.CommandContext(ctx, "journalctl", "--quiet", "--boot", "--output=cat", "--output-fields=CONTAINER_LOG_ORDINAL", "--lines=1",
		"CONTAINER_NAME="+s.name, "CONTAINER_LOG_ORDINAL="+strconv.FormatUint(ordinal, 10)).Output()
	if err != nil {
		return false, fmt.Errorf("journalctl: %w", err)
	}
	return len(out) > 0, nil
}
