package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
)

// Exec executes a command in a container to its end. When ctx ends first, the command is killed.
func (c *Client) Exec(ctx context.Context, name string, o ExecOptions) (Executed, error) {
	var done Executed
	return done, c.container(ctx, http.MethodPost, name, "/exec", o, &done)
}

// RunningExec is a command that was started in a container. Closing it tells the command that nobody is there any more.
type RunningExec struct {
	Pid int // on the host
	// Terminal is the master side of the command's terminal, nil when it has none. Close closes it.
	Terminal *os.File

	conn  *fdConn
	pidfd *os.File
	mu    sync.Mutex // one sender at a time
}

// StartExec starts a command in a container. Files have to be pipes; the caller closes them.
func (c *Client) StartExec(ctx context.Context, name string, o ExecOptions, files ExecFiles) (*RunningExec, error) {
	if name == "" || name == "." || name == ".." {
		return nil, noContainer(name)
	}
	conn, err := c.upgrade(ctx, "/v1/containers/"+url.PathEscape(name)+"/exec", o)
	if err != nil {
		return nil, err
	}
	// From here on ctx ends what is read.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	e, err := handOver(conn, files)
	if err != nil {
		_ = conn.Close()
		if _, own := errors.AsType[*Error](err); !own {
			err = c.transportError(ctx, err)
		}
		return nil, err
	}
	return e, nil
}

func handOver(conn *fdConn, files ExecFiles) (*RunningExec, error) {
	var names []string
	var fds []*os.File
	for _, f := range []struct {
		name string
		file *os.File
	}{{"stdin", files.Stdin}, {"stdout", files.Stdout}, {"stderr", files.Stderr}} {
		if f.file != nil {
			names, fds = append(names, f.name), append(fds, f.file)
		}
	}
	if err := conn.send(execFiles{Files: names}, fds...); err != nil {
		return nil, err
	}
	var a execAnswer
	got, err := conn.receiveWithFiles(&a, 2)
	if err != nil {
		return nil, err
	}
	if a.Error != nil {
		return nil, a.Error
	}
	if a.Started == nil || len(got) == 0 {
		conn.fds = got
		conn.drop()
		return nil, &Error{Code: CodeInternal, Message: "the daemon does not say that the command was started"}
	}
	e := &RunningExec{Pid: a.Started.Pid, conn: conn, pidfd: got[0]}
	if len(got) > 1 {
		e.Terminal = got[1]
	}
	return e, nil
}

// upgrade asks for a connection of its own: descriptors come and go on it, which net/http's client knows nothing of.
func (c *Client) upgrade(ctx context.Context, path string, options any) (*fdConn, error) {
	body, err := json.Marshal(options)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://runcsup"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", ExecProtocol)
	conn, err := dial(ctx, c.socket)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := c.converse(conn, req); err != nil {
		_ = conn.Close()
		if _, own := errors.AsType[*Error](err); own {
			return nil, err
		}
		return nil, c.transportError(ctx, err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok { // it was dialled as one
		_ = conn.Close()
		return nil, &Error{Code: CodeInternal, Message: c.socket + " is no unix socket"}
	}
	return &fdConn{UnixConn: unixConn}, nil
}

func (c *Client) converse(conn net.Conn, req *http.Request) error {
	if err := req.Write(conn); err != nil {
		return err
	}
	// Nothing comes after the header of an upgrade until the files were sent: nothing can get lost in this buffer.
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxLineBytes))
	if err != nil {
		return err
	}
	return c.refusal(resp, b)
}

// Signal passes a signal, named as ParseSignal reads it, on to the command's process group.
func (e *RunningExec) Signal(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conn.send(execSignal{Signal: name})
}

// Wait returns how the command ended. If the daemon goes away first, the kernel is asked, which can tell the exit code from
// Linux 6.15 on; else that is -1. It is called once; the context's end does not end the command, Close does.
func (e *RunningExec) Wait(ctx context.Context) (Exit, error) {
	stop := context.AfterFunc(ctx, func() { _ = e.conn.CloseRead() })
	defer stop()
	var a execAnswer
	err := e.conn.receive(&a)
	switch {
	case ctx.Err() != nil:
		return Exit{}, context.Cause(ctx)
	case err == nil && a.Exit != nil:
		return *a.Exit, nil
	case err == nil && a.Error != nil:
		return Exit{}, a.Error
	}
	return waitWithout(ctx, e.pidfd)
}

// Close ends the connection.
func (e *RunningExec) Close() error {
	err := errors.Join(e.conn.Close(), e.pidfd.Close())
	if e.Terminal != nil {
		_ = e.Terminal.Close() // the caller may have closed it
	}
	return err
}
