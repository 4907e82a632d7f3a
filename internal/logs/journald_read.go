package logs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// journalEntry is what of a journal entry is of interest, as journalctl -o json writes it.
type journalEntry struct {
	Message   journalText `json:"MESSAGE"`
	Priority  string      `json:"PRIORITY"`
	Partial   string      `json:"CONTAINER_PARTIAL_MESSAGE"`
	Stamp     string      `json:"SYSLOG_TIMESTAMP"`
	Timestamp string      `json:"__REALTIME_TIMESTAMP"` // microseconds
	Cursor    string      `json:"__CURSOR"`
}

// journalText is text, or an array of numbers where that is no UTF-8, or null.
type journalText []byte

func (t *journalText) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = []byte(s)
		return nil
	}
	var numbers []uint8
	var wide []uint16 // []uint8 would be base64
	if err := json.Unmarshal(b, &wide); err != nil {
		return err
	}
	for _, n := range wide {
		numbers = append(numbers, uint8(n))
	}
	*t = numbers
	return nil
}

func (e journalEntry) line() Line {
	l := Line{Stream: Stdout, Partial: e.Partial == "true", Text: e.Message, Cursor: e.Cursor}
	if e.Priority == priorityError {
		l.Stream = Stderr
	}
	if us, err := strconv.ParseInt(e.Timestamp, 10, 64); err == nil {
		l.Time = time.UnixMicro(us).UTC()
	}
	if t, err := time.Parse(time.RFC3339Nano, e.Stamp); err == nil {
		l.Time = t
	}
	return l
}

// maxJournalJSON is more than an entry can have: four bytes of JSON for each of a line.
const maxJournalJSON = 8*MaxLine + 64<<10

// readJournal reads a container's lines from the journal. systemd's library for that needs cgo; its program does not.
func readJournal(ctx context.Context, name string, q Query, emit func(Line) error) error {
	args := []string{"--quiet", "--all", "--no-pager", "--output=json",
		"--output-fields=MESSAGE,PRIORITY,CONTAINER_PARTIAL_MESSAGE,SYSLOG_TIMESTAMP"}
	since := q.Since
	if q.After != "" {
		t, err := cursorTime(q.After)
		if err != nil {
			return err
		}
		if _, ok := journalCursorTime(q.After); ok {
			args = append(args, "--after-cursor="+q.After)
		} else if t.After(since) { // of another driver
			since = t.Add(1)
		}
	}
	if !since.IsZero() { // journalctl knows only microseconds, and the time when it got a line
		args = append(args, "--since="+since.UTC().Format("2006-01-02 15:04:05")+" UTC")
	}
	if q.Tail >= 0 {
		args = append(args, "--lines="+strconv.Itoa(q.Tail))
	} else if q.Follow {
		args = append(args, "--no-tail")
	}
	if q.Follow {
		args = append(args, "--follow")
	}
	args = append(args, "CONTAINER_NAME="+name)
	switch q.Stream {
	case Stdout:
		args = append(args, "PRIORITY="+priorityInfo)
	case Stderr:
		args = append(args, "PRIORITY="+priorityError)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, maxJournalJSON)
	var errEmit error
	for errEmit == nil && scanner.Scan() {
		var e journalEntry
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			errEmit = fmt.Errorf("journalctl wrote what is no entry: %w", err)
			break
		}
		l := e.line()
		if q.After == "" && !q.wants(l) || !q.Until.IsZero() && !l.Time.Before(q.Until) {
			continue
		}
		errEmit = emit(l)
	}
	errScan := scanner.Err()
	outer := ctx.Err()
	if errEmit != nil || errScan != nil {
		cancel() // else it has ended by itself
	}
	errWait := cmd.Wait()
	switch {
	case errEmit != nil:
		return errEmit
	case outer != nil:
		return outer
	case errScan != nil:
		return fmt.Errorf("cannot read the journal: %w", errScan)
	case errWait != nil:
		return fmt.Errorf("cannot read the journal: %w", errors.Join(errWait, errors.New(strings.TrimSpace(said.String()))))
	}
	return nil
}

// journalCursorTime is the time in a cursor of the journal: "s=…;i=…;b=…;m=…;t=HEX;x=…", in microseconds.
func journalCursorTime(cursor string) (time.Time, bool) {
	if !strings.HasPrefix(cursor, "s=") {
		return time.Time{}, false
	}
	for field := range strings.SplitSeq(cursor, ";") {
		if hex, ok := strings.CutPrefix(field, "t="); ok {
			us, err := strconv.ParseInt(hex, 16, 64)
			return time.UnixMicro(us).UTC(), err == nil
		}
	}
	return time.Time{}, false
}
