package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// maxEnvFile is far above what execve(2) takes as an environment.
const maxEnvFile = 4 << 20

// assignment is one NAME=VALUE.
type assignment struct{ name, value string }

// readEnvFile reads a file of assignments in the format of systemd's EnvironmentFile= (systemd.exec(5)): comments begin
// with # or ;, values may be in single or double quotes, a backslash at the end of a line continues it. What systemd
// skips with a warning is an error here. Errors name the line, never a value.
func readEnvFile(path string) ([]assignment, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if len(data) > maxEnvFile {
		return nil, fmt.Errorf("%s: larger than %d MiB", path, maxEnvFile>>20)
	}
	list, line, err := parseEnv(data)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, line, err)
	}
	return list, nil
}

// missing turns "not there" into an error that says so in one way everywhere.
func missing(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, ErrMissing)
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// parseEnv returns the assignments in order; line is that of the error.
func parseEnv(data []byte) (list []assignment, line int, err error) {
	text := strings.ReplaceAll(string(bytes.TrimPrefix(data, []byte("\ufeff"))), "\r\n", "\n")
	line = 1
	for text != "" {
		first := line
		row, rest, _ := strings.Cut(text, "\n")
		row = strings.TrimLeft(row, " \t\r")
		if row == "" || row[0] == '#' || row[0] == ';' {
			text, line = rest, line+1
			continue
		}
		name, _, ok := strings.Cut(row, "=")
		if !ok {
			return nil, first, errors.New("no = in the line")
		}
		name = strings.TrimRight(name, " \t\r")
		if err := checkEnvName(name); err != nil {
			return nil, first, err
		}
		value, used, err := envValue(text[strings.IndexByte(text, '=')+1:])
		if err != nil {
			return nil, first, fmt.Errorf("%s: %w", name, err)
		}
		if err := checkEnvValue(value); err != nil {
			return nil, first, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, assignment{name, value})
		used += strings.IndexByte(text, '=') + 1
		line += strings.Count(text[:used], "\n")
		text = text[used:]
	}
	return list, line, nil
}

// envValue reads the value at the start of text up to and including the end of its line.
func envValue(text string) (value string, used int, err error) {
	var out strings.Builder
	kept := 0           // length of out without trailing blanks that no quote or backslash protects
	blankBefore := true // nothing but blanks since the = or the last closing quote
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\n':
			return out.String()[:kept], i + 1, nil
		case (c == '\'' || c == '"') && blankBefore:
			quoted, n, ok := quotedValue(text[i+1:], c)
			if !ok {
				return "", 0, fmt.Errorf("the quote %c is never closed", c)
			}
			out.WriteString(quoted)
			kept = out.Len()
			i += n
		case c == '\\':
			blankBefore = false
			if i++; i < len(text) && text[i] != '\n' {
				out.WriteByte(text[i])
			}
			kept = out.Len()
		case c == ' ' || c == '\t' || c == '\r':
			if !blankBefore {
				out.WriteByte(c)
			}
		default:
			blankBefore = false
			out.WriteByte(c)
			kept = out.Len()
		}
	}
	return out.String()[:kept], len(text), nil
}

// quotedValue reads up to the closing quote and returns how much that was, the quote included. In double quotes a
// backslash protects " \ ` $ and takes an end of line away; in single quotes it is a character like any other.
func quotedValue(text string, quote byte) (value string, used int, ok bool) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quote:
			return out.String(), i + 1, true
		case c == '\\' && quote == '"' && i+1 < len(text):
			i++
			switch next := text[i]; next {
			case '\n':
			case '"', '\\', '`', '$':
				out.WriteByte(next)
			default:
				out.WriteByte('\\')
				out.WriteByte(next)
			}
		default:
			out.WriteByte(c)
		}
	}
	return "", 0, false
}

func checkEnvName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of a variable is empty")
	case strings.HasPrefix(name, "export "):
		return errors.New(`"export" is for shells: leave it out`)
	case strings.ContainsAny(name, " \t\r\n=\x00") || !utf8.ValidString(name):
		return fmt.Errorf("%q cannot be the name of a variable", name)
	}
	return nil
}

func checkEnvValue(value string) error {
	switch {
	case strings.ContainsRune(value, 0):
		return errors.New("the value has a NUL character")
	case !utf8.ValidString(value):
		return errors.New("the value is not UTF-8")
	}
	return nil
}
