// Package notify tells the service manager how the daemon is doing, as sd_notify(3) has it, proves to its watchdog that the
// daemon's loops answer, and keeps open files for the next daemon.
//
// It promises that a message is sent whole or not at all, that text from outside cannot add assignments to it, that a
// service manager which does not read holds nobody up for longer than a second, and that no ping is sent while a loop
// hangs. Without a service manager everything here does nothing.
//
// It never reads the environment but in TakeEnvironment, and never passes on what it found there: a container runtime
// that sees NOTIFY_SOCKET would speak to the service manager in the daemon's name. It is called by internal/daemon.
package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// maxStatus is how many bytes of a status text are sent: more than any tool shows in a line.
	maxStatus = 512
	// sendTimeout is how long a full socket may hold up the sender.
	sendTimeout = time.Second
)

// Environment is what the service manager handed to the daemon.
type Environment struct {
	// Socket is $NOTIFY_SOCKET, empty without a service manager.
	Socket string
	// Watchdog is how often the service manager wants to hear from this process, 0 for never. It comes from
	// $WATCHDOG_USEC, and counts only if $WATCHDOG_PID is this process or not set.
	Watchdog time.Duration
	// Descriptors are what the service manager has handed over ($LISTEN_FDS): what an earlier daemon kept there, by its name.
	// Children do not inherit them. NewDescriptors takes them.
	Descriptors []*os.File
}

// TakeEnvironment reads the service manager's variables and removes them, so that no child inherits them. It is for the
// daemon's first moments: the environment belongs to the whole process. The variables are removed also after an error,
// and Socket is valid then.
func TakeEnvironment() (Environment, error) {
	env := Environment{Socket: os.Getenv("NOTIFY_SOCKET"), Descriptors: activation.Files(true)}
	errUnset := os.Unsetenv("NOTIFY_SOCKET")
	interval, err := daemon.SdWatchdogEnabled(true)
	if err := errors.Join(errUnset, err); err != nil {
		return env, fmt.Errorf("cannot read the service manager's environment: %w", err)
	}
	env.Watchdog = interval
	return env, nil
}

// Notifier sends messages to the service manager. A nil Notifier sends none. It may be used from several goroutines; the
// order of messages is that of one goroutine's calls.
type Notifier struct {
	addr net.UnixAddr
}

// New returns a Notifier for a socket as $NOTIFY_SOCKET names it: an absolute path, or @ and an abstract name. An empty
// one gives nil.
func New(socket string) (*Notifier, error) {
	switch {
	case socket == "":
		return nil, nil
	case len(socket) > 1 && (socket[0] == '/' || socket[0] == '@'):
		return &Notifier{addr: net.UnixAddr{Name: socket, Net: "unixgram"}}, nil
	default:
		return nil, fmt.Errorf("NOTIFY_SOCKET is %q: neither an absolute path nor an abstract socket (@NAME)", socket)
	}
}

// Ready tells that the start or a reload is done.
func (n *Notifier) Ready(status string) error {
	return n.send(daemon.SdNotifyReady, statusLine(status))
}

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(status string) error {
	return n.send(statusLine(status))
}

// Reloading tells that a reload has begun; Ready ends it.
func (n *Notifier) Reloading(status string) error {
	// Ends in a newline, and is empty where there is no monotonic clock.
	since := strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n")
	return n.send(daemon.SdNotifyReloading, since, statusLine(status))
}

// Stopping tells that the daemon has begun to end.
func (n *Notifier) Stopping(status string) error {
	return n.send(daemon.SdNotifyStopping, statusLine(status))
}

// ExtendTimeout asks for d from now until the start, the stop or the run time limit that is under way counts as timed
// out. It has to be called again before that has passed. Fractions of a microsecond are rounded up.
func (n *Notifier) ExtendTimeout(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	usec := (d + time.Microsecond - 1) / time.Microsecond
	return n.send("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(int64(usec), 10))
}

// Ping tells the watchdog that the daemon lives.
func (n *Notifier) Ping() error {
	return n.send(daemon.SdNotifyWatchdog)
}

// send sends the assignments that are not empty as one datagram. The socket is opened for each: the service manager may
// have made a new one by re-executing itself.
func (n *Notifier) send(assignments ...string) error {
	if n == nil {
		return nil
	}
	text := message(assignments)
	if len(text) == 0 {
		return nil
	}
	about, _, _ := strings.Cut(string(text), "\n")
	conn, err := net.DialUnix(n.addr.Net, nil, &n.addr)
	if err != nil {
		return fmt.Errorf("cannot notify the service manager of %s: %w", about, err)
	}
	defer conn.Close()
	err = conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	if err == nil {
		_, err = conn.Write(text)
	}
	if err != nil {
		return fmt.Errorf("cannot notify the service manager of %s: %w", about, err)
	}
	return nil
}

// message joins the assignments that are not empty.
func message(assignments []string) []byte {
	lines := assignments[:0:0]
	for _, a := range assignments {
		if a != "" {
			lines = append(lines, a)
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// statusLine makes one STATUS= line of any text, and nothing of an empty one. systemd drops a whole message that is not
// UTF-8 or longer than 4096 bytes.
func statusLine(text string) string {
	if text == "" {
		return ""
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r // an invalid byte comes as U+FFFD
	}, text)
	if len(text) > maxStatus {
		cut := maxStatus - len("…")
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return "STATUS=" + text
}
