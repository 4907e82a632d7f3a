package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ExecProtocol is what a connection is upgraded to on which a command is executed.
const ExecProtocol = "runcsup-exec"

// ExecOptions say what to execute in a container. What they leave out is as for the container's own process.
type ExecOptions struct {
	Args     []string      `json:"args"`              // the program and its arguments
	Env      []string      `json:"env,omitempty"`     // KEY=VALUE
	Dir      string        `json:"workdir,omitempty"` // absolute
	User     string        `json:"user,omitempty"`    // USER[:GROUP], names or numbers
	Terminal *TerminalSize `json:"terminal,omitempty"`
}

// TerminalSize asks for a terminal, and says how large. Zeros leave that to the client.
type TerminalSize struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// ExecFiles are a command's; nil is /dev/null. Who gets them in a call does not close them.
type ExecFiles struct{ Stdin, Stdout, Stderr *os.File }

// Exit is how a command ended.
type Exit struct {
	Code   int    `json:"code"`   // 0 to 255; -1 when it was ended by a signal, or when nobody knows
	Signal string `json:"signal"` // that ended it, without SIG; empty when none did
}

// Executed is a command that has ended, with the beginning of its output.
type Executed struct {
	Exit
	Output    string `json:"output"` // stdout and stderr
	Truncated bool   `json:"truncated"`
}

// ExecSession is a command that was started. It is waited for by whoever made it.
type ExecSession interface {
	// Process is a pidfd of the command, which the caller closes, and its pid on the host.
	Process() (pidfd *os.File, pid int, err error)
	// Terminal is the master side of the command's terminal, nil when it has none. The caller closes it.
	Terminal() *os.File
	// Done is closed when the command has ended and Exit is known.
	Done() <-chan struct{}
	Exit() Exit
	// Signal sends a signal to the command's process group; no error if it has ended.
	Signal(sig syscall.Signal) error
	// Hangup tells the command that nobody is there any more, as a terminal does.
	Hangup() error
	// Close says that none of the others is called any more. The command goes on.
	Close()
}

// The messages on an upgraded connection, each a line of JSON.
type (
	// execFiles is the client's first: the names of the files that come with it.
	execFiles struct {
		Files []string `json:"files"`
	}
	// execAnswer is from the server: the first with a pidfd, and with the terminal if there is one; or an error; the last
	// one with the exit.
	execAnswer struct {
		Started *execStarted `json:"started,omitempty"`
		Exit    *Exit        `json:"exit,omitempty"`
		Error   *Error       `json:"error,omitempty"`
	}
	execStarted struct {
		Pid int `json:"pid"`
	}
	// execSignal is from the client.
	execSignal struct {
		Signal string `json:"signal"`
	}
)

func (s *Server) exec(r request) (answer, error) {
	var o ExecOptions
	if err := r.decode(&o); err != nil {
		return answer{}, err
	}
	if len(o.Args) == 0 || o.Args[0] == "" {
		return answer{}, &Error{Code: CodeUsage, Message: "no command given: args is empty"}
	}
	upgrade := r.Header.Get("Upgrade")
	switch {
	case upgrade == ExecProtocol:
		// Found wrong before the upgrade, it is an answer like any other.
		if err := s.backend.CanExec(r.name); err != nil {
			return answer{}, err
		}
		return answer{upgrade: func(ctx context.Context, conn *fdConn) error { return s.execSession(ctx, conn, r.name, o) }}, nil
	case upgrade != "":
		return answer{}, &Error{Code: CodeUsage, Message: fmt.Sprintf("cannot upgrade to %q; it is %s", upgrade, ExecProtocol)}
	case o.Terminal != nil:
		return answer{}, &Error{Code: CodeUsage, Message: "a terminal needs Upgrade: " + ExecProtocol}
	}
	done, err := s.backend.Exec(r.Context(), r.name, o)
	return answer{value: done}, err
}

// execHandshake is how long a client may take to send its files.
const execHandshake = 10 * time.Second

// execSession is what goes on on an upgraded connection. When the client leaves first the command is told; when the server
// ends it is not: the client has all that it needs to go on.
func (s *Server) execSession(ctx context.Context, conn *fdConn, name string, o ExecOptions) error {
	files, err := receiveFiles(conn)
	if err != nil {
		return err
	}
	session, err := s.backend.StartExec(ctx, name, o, files)
	files.close()
	if err != nil {
		return err
	}
	defer session.Close()
	if err := announce(conn, session); err != nil {
		return errors.Join(err, session.Hangup())
	}
	left := make(chan error, 1)
	go func() {
		defer close(left)
		left <- obey(conn, session)
	}()
	select {
	case <-session.Done():
		exit := session.Exit()
		err = conn.send(execAnswer{Exit: &exit})
		conn.closeWrite() // what was sent arrives
	case err = <-left:
		err = errors.Join(err, session.Hangup())
	case <-ctx.Done():
	}
	_ = conn.Close()
	for range left { // it has ended then
	}
	return err
}

// announce tells the client that the command was started, and hands over what it needs to go on without this daemon.
func announce(conn *fdConn, session ExecSession) error {
	terminal := session.Terminal()
	if terminal != nil {
		defer func() { _ = terminal.Close() }()
	}
	pidfd, pid, err := session.Process()
	if err != nil {
		return err
	}
	defer func() { _ = pidfd.Close() }()
	fds := []*os.File{pidfd}
	if terminal != nil {
		fds = append(fds, terminal)
	}
	return conn.send(execAnswer{Started: &execStarted{Pid: pid}}, fds...)
}

// obey passes signals on until the client leaves.
func obey(conn *fdConn, session ExecSession) error {
	for {
		var m execSignal
		if err := conn.receive(&m); err != nil {
			return nil // however it left
		}
		sig, err := ParseSignal(m.Signal)
		if err != nil {
			return &Error{Code: CodeUsage, Message: err.Error()}
		}
		if err := session.Signal(sig); err != nil {
			return err
		}
	}
}

func receiveFiles(conn *fdConn) (ExecFiles, error) {
	_ = conn.SetReadDeadline(time.Now().Add(execHandshake))
	var m execFiles
	fds, err := conn.receiveWithFiles(&m, 3)
	if err != nil {
		return ExecFiles{}, &Error{Code: CodeUsage, Message: fmt.Sprintf("no files came: %v", err)}
	}
	_ = conn.SetReadDeadline(time.Time{})
	var files ExecFiles
	place := map[string]**os.File{"stdin": &files.Stdin, "stdout": &files.Stdout, "stderr": &files.Stderr}
	ok := len(fds) == len(m.Files)
	for i, f := range fds {
		var at **os.File
		if ok {
			at = place[m.Files[i]]
		}
		if at == nil || *at != nil || !harmless(f) {
			ok = false
			_ = f.Close()
			continue
		}
		*at = f
	}
	if !ok {
		files.close()
		return ExecFiles{}, &Error{Code: CodeUsage, Message: "the files that came are not pipes called stdin, stdout and stderr"}
	}
	return files, nil
}

// harmless tells that a container which gets this file gets nothing else with it: of a directory it would get the host's
// file system, a terminal it could read on when the command has ended, and a file read-only to it it could open anew for
// writing.
func harmless(f *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFIFO
}

func (f *ExecFiles) close() {
	for _, file := range []*os.File{f.Stdin, f.Stdout, f.Stderr} {
		if file != nil {
			_ = file.Close()
		}
	}
}

// writeUpgrade takes the connection over and lets upgrade have it.
func (s *Server) writeUpgrade(w http.ResponseWriter, r *http.Request, upgrade func(context.Context, *fdConn) error) int {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.streams, func() { cancel(errGoingDown) })()
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return s.write(w, answer{}, &Error{Code: CodeInternal, Message: fmt.Sprintf("cannot upgrade: %v", err)})
	}
	defer raw.Close() // a second time, mostly
	unixConn, ok := raw.(*net.UnixConn)
	if !ok || buffered.Reader.Buffered() > 0 {
		// Descriptors that came with what was read already are lost.
		_, _ = raw.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
		return http.StatusBadRequest
	}
	_ = raw.SetDeadline(time.Time{})
	if _, err := raw.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + ExecProtocol + "\r\n\r\n")); err != nil {
		return http.StatusSwitchingProtocols // nobody is there to be told
	}
	conn := &fdConn{UnixConn: unixConn}
	err = func() (err error) {
		defer s.recover(r, &err)
		return upgrade(ctx, conn)
	}()
	if err != nil {
		_ = conn.send(execAnswer{Error: asError(err)})
	}
	return http.StatusSwitchingProtocols
}
