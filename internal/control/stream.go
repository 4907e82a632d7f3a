package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// streamType is of an answer that is a line of JSON per value.
const streamType = "application/x-ndjson"

// maxLineBytes bounds a line of a stream.
const maxLineBytes = 1 << 20

// streamFunc answers with a line of JSON per value that it sends, until it returns. Its context ends when the client
// leaves or the server ends, and send fails then. An error that it returns becomes the last line, in the form of every
// error; so what can be found wrong with a request is better found before.
type streamFunc func(ctx context.Context, send func(value any) error) error

// writeStream is write for a stream. The header is sent at once: whoever follows may wait long for the first line.
func (s *Server) writeStream(w http.ResponseWriter, r *http.Request, stream streamFunc) (status int) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.streams, func() { cancel(errGoingDown) })()
	c := http.NewResponseController(w)
	write := func(line []byte) error {
		_ = c.SetWriteDeadline(time.Now().Add(transferTimeout))
		if _, err := w.Write(line); err != nil {
			return err
		}
		return c.Flush()
	}
	w.Header().Set("Content-Type", streamType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	err := c.Flush()
	if err == nil {
		err = func() (err error) {
			defer s.recover(r, &err)
			return stream(ctx, func(value any) error {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				line, err := encodeLine(value)
				if err != nil {
					return fmt.Errorf("cannot encode a line: %w", err)
				}
				return write(line)
			})
		}()
	}
	if err != nil {
		if line, err := encodeLine(errorBody{Error: asError(err)}); err == nil {
			_ = write(line) // to a client that has left it does not come
		}
	}
	return http.StatusOK
}

func encodeLine(value any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return buf.Bytes(), err
}

// stream asks for a stream and calls each with its lines. It returns nil when the daemon ended the stream in an orderly
// way, each's error, or an *Error: CodeUnavailable also when the daemon went away in the middle.
func (c *Client) stream(ctx context.Context, path string, each func(line []byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://runcsup"+path, nil)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.streamError(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxLineBytes))
		if err != nil {
			return c.streamError(ctx, err)
		}
		return c.refusal(resp, b)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		// An event has an error, too, but as a text.
		var last struct{ Error *json.RawMessage }
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return c.foreign(resp)
		}
		if last.Error != nil && bytes.HasPrefix(*last.Error, []byte("{")) {
			var e errorBody
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				return c.foreign(resp)
			}
			return e.Error
		}
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil:
		return c.transportError(ctx, ctx.Err())
	case errors.Is(err, bufio.ErrTooLong):
		return c.foreign(resp)
	case err != nil: // cut off, as by a daemon that was killed
		return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("the daemon went away: %v", err)}
	}
	return nil
}

// streamError is transportError for who only listens: a daemon that went away before it answered has done nothing, and can be
// asked again.
func (c *Client) streamError(ctx context.Context, err error) error {
	err = c.transportError(ctx, err)
	if answer, ok := errors.AsType[*Error](err); ok && answer.Code == CodeFailed {
		return &Error{Code: CodeUnavailable, Message: answer.Message}
	}
	return err
}
