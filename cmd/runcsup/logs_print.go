package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/runcsup/runcsup/internal/logs"
)

// logsPrinter prints lines. What containers write is printed as it is, colours and all, like docker and kubectl do.
type logsPrinter struct {
	p              *program
	o              logsOptions
	stdout, stderr *bufio.Writer
	prefixes       map[string]string // by container, empty when there is one container
	parts          map[fromStream][]byte
}

// fromStream is where parts of a long line come from.
type fromStream struct{ name, stream string }

// nameColours are for names on a terminal: cyan, yellow, green, magenta, blue, and these bright.
var nameColours = []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}

// maxJoined is how much of a line is put together from its parts.
const maxJoined = 1 << 20

func newLogsPrinter(p *program, o logsOptions, names []string) *logsPrinter {
	l := &logsPrinter{p: p, o: o, stdout: bufio.NewWriterSize(p.stdout, 64<<10), stderr: bufio.NewWriterSize(p.stderr, 4<<10),
		prefixes: map[string]string{}, parts: map[fromStream][]byte{}}
	if len(names) < 2 {
		return l
	}
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	colour := isTerminal(p.stdout) && p.getenv("NO_COLOR") == "" && p.getenv("TERM") != "dumb"
	for i, name := range names {
		prefix := name + strings.Repeat(" ", width-len(name)) + " |"
		if colour {
			prefix = "\x1b[" + nameColours[i%len(nameColours)] + "m" + prefix + "\x1b[0m"
		}
		l.prefixes[name] = prefix + " "
	}
	return l
}

// line prints one.
func (l *logsPrinter) line(from fromContainer) error {
	if l.p.format == formatJSON {
		return l.json(from)
	}
	at := fromStream{from.name, from.line.Stream}
	text := from.line.Text
	if before := l.parts[at]; len(before) > 0 {
		text = append(before, text...)
		delete(l.parts, at)
	}
	if from.line.Partial && len(text) < maxJoined {
		l.parts[at] = text
		return nil
	}
	stamp := ""
	if l.o.timestamps {
		stamp = from.line.Time.UTC().Format("2006-01-02T15:04:05.000000000Z") + " "
	}
	return l.print(at, stamp, text)
}

// print writes to the stream that the line is of. The other one is flushed first, so that they keep their order.
func (l *logsPrinter) print(at fromStream, stamp string, text []byte) error {
	w, other := l.stdout, l.stderr
	if at.stream == logs.Stderr {
		w, other = other, w
	}
	if other.Buffered() > 0 {
		if err := other.Flush(); err != nil {
			return printError(err)
		}
	}
	_, _ = io.WriteString(w, l.prefixes[at.name]+stamp) // an error stays until the end
	_, _ = w.Write(text)
	return printError(w.WriteByte('\n'))
}

func (l *logsPrinter) json(from fromContainer) error {
	line, err := from.line.MarshalJSON()
	if err != nil {
		return fmt.Errorf("cannot encode the output: %w", err)
	}
	name, err := json.Marshal(from.name)
	if err != nil {
		return fmt.Errorf("cannot encode the output: %w", err)
	}
	_, err = fmt.Fprintf(l.stdout, "{\"container\":%s,%s\n", name, line[1:])
	return printError(err)
}

// flush writes what is left; at the end also of lines that have none.
func (l *logsPrinter) flush(end bool) error {
	if end {
		for at, text := range l.parts {
			if err := l.print(at, "", text); err != nil {
				return err
			}
		}
	}
	for _, w := range []*bufio.Writer{l.stdout, l.stderr} {
		if err := w.Flush(); err != nil {
			return printError(err)
		}
	}
	return nil
}

func printError(err error) error {
	if err != nil {
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}
