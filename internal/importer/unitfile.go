package importer

import (
	"fmt"
	"strings"
)

// assignment is a line of a unit file.
type assignment struct {
	section, key, value string
	file                string
	line                int
}

func (a assignment) where() string { return fmt.Sprintf("%s:%d", a.file, a.line) }

// parse reads a unit file (systemd.syntax(7)): sections, assignments, comments, and lines that go on after a backslash,
// comments between which do not end them.
//
// go-systemd's parser is not used: it refuses lines of more than 2048 bytes, takes comments within continued lines for text,
// and knows no line numbers.
func parse(file, text string) ([]assignment, error) {
	var all []assignment
	section, joined, first := "", "", 0
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(strings.TrimSuffix(line, "\r"))
		if line == "" && joined == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if joined == "" {
			first = i + 1
		}
		if before, more := strings.CutSuffix(line, "\\"); more {
			joined += before + " "
			continue
		}
		line, joined = strings.TrimSpace(joined+line), ""
		if line == "" {
			continue
		}
		if name, ok := strings.CutPrefix(line, "["); ok {
			name, rest, closed := strings.Cut(name, "]")
			if !closed || strings.TrimSpace(rest) != "" {
				return nil, fmt.Errorf("%s:%d: %q is no section", file, first, shorten(line))
			}
			section = name
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		switch {
		case !ok || key == "":
			return nil, fmt.Errorf("%s:%d: %q is no assignment", file, first, shorten(line))
		case section == "":
			return nil, fmt.Errorf("%s:%d: %s= is in no section; is this a unit file?", file, first, shorten(key))
		}
		all = append(all, assignment{section: section, key: key, value: strings.TrimSpace(value), file: file, line: first})
	}
	if joined != "" {
		return nil, fmt.Errorf("%s:%d: the line goes on after the end of the file", file, first)
	}
	return all, nil
}

// shorten keeps an error on a line.
func shorten(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
