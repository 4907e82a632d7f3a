package notify

import (
	"bytes"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/runcsup/runcsup/health"
)

// ParseNotification reads the assignments of one message, as sd_notify(3) has them. Those that mean nothing here (MAINPID=,
// FDSTORE=1, …) are passed over; the last of several with one name counts. A message that is not text is refused as a whole.
func ParseNotification(message []byte) (health.Notification, error) {
	var n health.Notification
	if len(message) == 0 || !utf8.Valid(message) || bytes.IndexByte(bytes.TrimRight(message, "\x00"), 0) >= 0 {
		return n, errForm
	}
	for line := range bytes.SplitSeq(bytes.TrimRight(message, "\x00"), []byte("\n")) {
		name, value, found := bytes.Cut(line, []byte("="))
		if !found {
			continue
		}
		text := string(value)
		switch string(name) {
		case "READY":
			n.Ready = text == "1"
		case "STOPPING":
			n.Stopping = text == "1"
		case "STATUS":
			n.Status = &text
		case "WATCHDOG":
			n.Watchdog, n.Trigger = text == "1", text == "trigger"
		case "WATCHDOG_USEC":
			n.WatchdogTimeout = microseconds(text)
		case "EXTEND_TIMEOUT_USEC":
			n.ExtendTimeout = microseconds(text)
		}
	}
	if n.Ready && n.Stopping {
		n.Ready = false // it ends, whatever it was before
	}
	return n, nil
}

// microseconds is 0 for what is no number, and the longest duration for what is too large for one.
func microseconds(text string) time.Duration {
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(min(v, math.MaxInt64/1000)) * time.Microsecond
}
