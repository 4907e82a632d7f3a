package history

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/runcsup/runcsup/supervisor"
)

// The types of entries, besides those of supervisor.EventType.
const (
	TypeApplied       = "applied"        // a definition came into effect; Action and Why say how
	TypeRefused       = "refused"        // a definition has errors, and the one before stays; Error has them
	TypeReload        = "reload"         // somebody had all definitions read again; Why sums up
	TypeBoot          = "boot"           // the first daemon of a boot; the machine was started anew
	TypeDaemonStarted = "daemon-started" // Why says how the one before ended, when that was in no orderly way
	TypeDaemonStopped = "daemon-stopped" // it was told to
	TypeGap           = "gap"            // entries were lost because they could not be written; Why says how many
	TypeDamaged       = "damaged"        // lines of the file cannot be read. It is in no file, only in what is read
)

// Entry is one thing that happened. Its JSON form is that of the files and of the control API. What an entry has nothing
// to say of is left out.
type Entry struct {
	// ID orders all entries of a state directory and is never given twice: microseconds since 1970, or more where that
	// would not be more than the last one.
	ID int64 `json:"id"`
	// At is in UTC, to the millisecond.
	At time.Time `json:"at"`
	// Container is empty for what happened to the daemon.
	Container string `json:"container,omitempty"`
	Type      string `json:"type"`
	// Cause is what had it happen, in the words of supervisor.Cause, and By is who told it to, where it was by hand, or the
	// other container because of which it was; Action is what came of a definition, in the control API's words. Why says more,
	// for people.
	Cause  string `json:"cause,omitempty"`
	By     string `json:"by,omitempty"`
	Action string `json:"action,omitempty"`
	Why    string `json:"why,omitempty"`
	// Pid is of what was started or adopted.
	Pid int `json:"pid,omitempty"`
	// Exit is how an instance ended.
	Exit *Exit `json:"exit,omitempty"`
	// RanSeconds is how long it had run.
	RanSeconds float64 `json:"ranSeconds,omitempty"`
	// MemoryPeakBytes is the most memory it used at one time.
	MemoryPeakBytes uint64 `json:"memoryPeakBytes,omitempty"`
	// Attempt counts restarts in a row; NextStartAt is when the next one is due.
	Attempt     int        `json:"attempt,omitempty"`
	NextStartAt *time.Time `json:"nextStartAt,omitempty"`
	Error       string     `json:"error,omitempty"`
	// Version and BootID are of a daemon and of the boot it runs in.
	Version string `json:"version,omitempty"`
	BootID  string `json:"bootId,omitempty"`
}

// Exit is how an instance ended, as in supervisor.Exit.
type Exit struct {
	Reason string `json:"reason"`
	Code   int    `json:"code"` // -1: none
	Signal string `json:"signal,omitempty"`
}

// maxText bounds each text of an entry, in bytes, so that no single one fills a file.
const maxText = 2 << 10

// Of is what an event of a container is in its history.
func Of(e supervisor.Event) Entry {
	s := e.Snapshot
	out := Entry{
		At: e.At, Container: s.Name, Type: string(e.Type), Cause: string(e.Cause), By: e.By, Why: e.Why, MemoryPeakBytes: e.MemoryPeak,
		Attempt: e.Attempt, RanSeconds: seconds(e.Ran),
	}
	if e.Err != nil {
		out.Error = e.Err.Error()
	}
	switch e.Type {
	case supervisor.EventStarted, supervisor.EventAdopted:
		out.Pid = s.Pid
	case supervisor.EventExited, supervisor.EventStopped, supervisor.EventStartFailed:
		if x := s.LastExit; x != nil {
			out.Exit = &Exit{Reason: string(x.Reason), Code: x.Code, Signal: x.Signal}
		}
	case supervisor.EventWaiting:
		if len(s.WaitingFor) > 0 && out.Why == "" {
			out.Why = "for " + strings.Join(s.WaitingFor, ", ")
		}
	case supervisor.EventRestart:
		out.NextStartAt = s.NextStartAt
	}
	return out
}

// seconds is a duration in seconds, to the millisecond.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// tidy brings an entry into the form that is kept.
func (e *Entry) tidy() {
	e.At = e.At.UTC().Truncate(time.Millisecond)
	if e.NextStartAt != nil {
		at := e.NextStartAt.UTC().Truncate(time.Millisecond)
		e.NextStartAt = &at
	}
	e.Why, e.Error = bounded(e.Why), bounded(e.Error)
}

// bounded cuts a text that is too long, between two characters.
func bounded(s string) string {
	if len(s) <= maxText {
		return strings.ToValidUTF8(s, "�")
	}
	const more = "…"
	cut := maxText - len(more)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.ToValidUTF8(s[:cut], "�") + more
}
