package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/runcsup/runcsup/supervisor"
)

// maxAnswerBytes keeps a client from reading for ever; 10,000 containers are about 5 MiB.
const maxAnswerBytes = 256 << 20

// Client calls the daemon that listens on a socket. Its methods may be used side by side. They return an *Error, from
// the daemon or with CodeNoDaemon or CodePermission, or an error that wraps the context's.
type Client struct {
	http   *http.Client
	socket string
}

// NewClient returns a client of the daemon at socket. It connects when it is used.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: &http.Client{
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
			DisableCompression: true,
		},
		// A redirect is the answer to a name that is no segment of a path.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close ends connections that are kept for the next call.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Version tells which daemon answers.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	var v VersionInfo
	return v, c.do(ctx, http.MethodGet, "/v1/version", nil, &v)
}

// List returns all containers sorted by name, or those named in the order given.
func (c *Client) List(ctx context.Context, names ...string) ([]supervisor.Snapshot, error) {
	var list []supervisor.Snapshot
	return list, c.do(ctx, http.MethodGet, "/v1/containers"+nameQuery(names), nil, &list)
}

// Get returns one container.
func (c *Client) Get(ctx context.Context, name string) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodGet, name, "", nil)
}

// Show returns a container's definition.
func (c *Client) Show(ctx context.Context, name string) (Shown, error) {
	var shown Shown
	return shown, c.container(ctx, http.MethodGet, name, "/definition", nil, &shown)
}

// Start starts a container and, with wait, returns when it runs or has failed to. It returns the container as it is then.
func (c *Client) Start(ctx context.Context, name string, wait bool) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/start", actionOptions{Wait: &wait})
}

// Stop stops a container and, with wait, returns when nothing of it is left running.
func (c *Client) Stop(ctx context.Context, name string, wait bool) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/stop", actionOptions{Wait: &wait})
}

// Restart stops and starts a container and, with wait, returns when it runs or has failed to.
func (c *Client) Restart(ctx context.Context, name string, wait bool) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/restart", actionOptions{Wait: &wait})
}

// Kill sends a signal, named as ParseSignal reads it, to the container's init or to all of its processes.
func (c *Client) Kill(ctx context.Context, name, signal string, all bool) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/kill", killOptions{Signal: signal, All: all})
}

// Enable makes a container start with the daemon, and starts it now if told to.
func (c *Client) Enable(ctx context.Context, name string, now bool) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/enable", enableOptions{Now: now})
}

// Disable keeps a container from starting with the daemon, and stops it now if told to.
func (c *Client) Disable(ctx context.Context, name string, now bool) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/disable", enableOptions{Now: now})
}

// ResetFailed forgets a container's counted starts and delays.
func (c *Client) ResetFailed(ctx context.Context, name string) (supervisor.Snapshot, error) {
	return c.act(ctx, http.MethodPost, name, "/reset-failed", nil)
}

// Reload applies what changed on disk, for all containers if no names are given.
func (c *Client) Reload(ctx context.Context, names ...string) ([]Change, error) {
	var changes []Change
	return changes, c.do(ctx, http.MethodPost, "/v1/reload", reloadOptions{Names: names}, &changes)
}

// Diff returns what Reload would do.
func (c *Client) Diff(ctx context.Context, names ...string) ([]Change, error) {
	var changes []Change
	return changes, c.do(ctx, http.MethodGet, "/v1/diff"+nameQuery(names), nil, &changes)
}

// Build builds a container's bundle and returns its directory.
func (c *Client) Build(ctx context.Context, name string) (path string, err error) {
	var b built
	err = c.container(ctx, http.MethodPost, name, "/build", nil, &b)
	return b.Path, err
}

func nameQuery(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "?" + url.Values{"name": names}.Encode()
}

func (c *Client) act(ctx context.Context, method, name, suffix string, options any) (supervisor.Snapshot, error) {
	var s supervisor.Snapshot
	return s, c.container(ctx, method, name, suffix, options, &s)
}

func (c *Client) container(ctx context.Context, method, name, suffix string, options, result any) error {
	if name == "" || name == "." || name == ".." { // have a meaning of their own in a path
		return noContainer(name)
	}
	return c.do(ctx, method, "/v1/containers/"+url.PathEscape(name)+suffix, options, result)
}

func noContainer(name string) error {
	return &Error{Code: CodeNoSuchContainer, Message: fmt.Sprintf("no such container %q", name)}
}

func (c *Client) do(ctx context.Context, method, path string, options, result any) error {
	var body io.Reader
	if options != nil {
		b, err := json.Marshal(options)
		if err != nil {
			return fmt.Errorf("cannot encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://runcsup"+path, body)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.transportError(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return c.transportError(ctx, err)
	}
	if resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusMultipleChoices {
		if err := json.Unmarshal(b, result); err != nil {
			return c.foreign(resp)
		}
		return nil
	}
	return c.refusal(resp, b)
}

// refusal is the error in the body of an answer that is no success.
func (c *Client) refusal(resp *http.Response, body []byte) error {
	var e errorBody
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return c.foreign(resp)
	}
	return e.Error
}

// foreign is the error for an answer that no daemon of ours gives.
func (c *Client) foreign(resp *http.Response) error {
	return &Error{Code: CodeInternal, Message: fmt.Sprintf("what listens on %s does not answer as runcsup does: %s", c.socket, resp.Status),
		Hint: "is it the right socket, and is the daemon as new as this program? runcsup version tells both"}
}

func (c *Client) transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("gave up waiting for the daemon: %w", context.Cause(ctx))
	}
	if e, ok := errors.AsType[*url.Error](err); ok { // the URL means nothing to a user
		err = e.Err
	}
	var op *net.OpError
	dialing := errors.As(err, &op) && op.Op == "dial"
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &Error{Code: CodePermission, Message: fmt.Sprintf("permission to use %s denied", c.socket), Hint: c.permissionHint()}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return &Error{Code: CodeNoDaemon, Message: fmt.Sprintf("no daemon listens on %s", c.socket),
			Hint: "start it (systemctl start runcsup), or name its socket with --socket or RUNCSUP_SOCKET"}
	case dialing:
		return &Error{Code: CodeNoDaemon, Message: fmt.Sprintf("cannot connect to %s: %v", c.socket, op.Err)}
	default:
		return &Error{Code: CodeFailed, Message: fmt.Sprintf("the daemon went away before it answered: %v", err),
			Hint: "what was asked for may have been done"}
	}
}

func (c *Client) permissionHint() string {
	const fallback = "it is for root; try sudo"
	info, err := os.Stat(c.socket)
	if err != nil {
		return fallback
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Gid == 0 {
		return fallback
	}
	group := strconv.FormatUint(uint64(stat.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("it is for root and the group %s: try sudo, or join the group (usermod -aG %s USER, then log in again)", group, group)
}
