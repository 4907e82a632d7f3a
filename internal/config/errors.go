package config

import (
	"fmt"
	"regexp"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one problem of a file, at a place in it.
type Error struct {
	File string // as it was given
	// Line and Column count from 1, Column in characters; both are 0 when the problem is the file as a whole.
	Line, Column int
	Msg          string // one line
	Excerpt      string // the offending line and a caret under the column; empty for the whole file, and after maxShown others
	Hint         string // what to do about it, one line, or empty
}

// Summary is the problem in one line, without the excerpt: fit for a log or a table.
func (e *Error) Summary() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Error is the summary, then the excerpt, then the hint, each on lines of its own.
func (e *Error) Error() string {
	s := e.Summary()
	if e.Excerpt != "" {
		s += "\n" + e.Excerpt
	}
	if e.Hint != "" {
		s += "\nhint: " + e.Hint
	}
	return s
}

// maxShown is how many problems of one file are spelled out.
const maxShown = 20

// Errors is everything that is wrong with one file, in the order of its lines; there is at least one. errors.As finds
// the first *Error in it.
type Errors []*Error

// Error is all problems, one below the other.
func (e Errors) Error() string {
	shown := e[:min(len(e), maxShown)]
	lines := make([]string, 0, len(shown)+1)
	for _, one := range shown {
		lines = append(lines, one.Error())
	}
	if more := len(e) - len(shown); more > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more", e[0].File, more))
	}
	return strings.Join(lines, "\n")
}

// Summary is the first problem in one line, and how many more there are.
func (e Errors) Summary() string {
	if len(e) == 1 {
		return e[0].Summary()
	}
	return fmt.Sprintf("%s (and %d more)", e[0].Summary(), len(e)-1)
}

// Unwrap gives the single problems to errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// problems collects what is wrong with one file.
type problems struct {
	file  string
	lines []string
	list  []*Error

	cachedLine  int // for runes
	cachedRunes []rune
}

// at adds a problem at a place.
func (p *problems) at(line, column int, hint, msg string) {
	p.list = append(p.list, &Error{File: p.file, Line: line, Column: column, Msg: msg, Hint: hint})
}

// err is nil, or all problems in the order of their places.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	sort.SliceStable(p.list, func(i, j int) bool {
		a, b := p.list[i], p.list[j]
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	for _, e := range p.list[:min(len(p.list), maxShown)] {
		e.Excerpt = p.excerpt(e.Line, e.Column)
	}
	return Errors(p.list)
}

// excerptWidth is how many characters of a long line are shown.
const excerptWidth = 120

// excerpt is a line of the source and a caret below the column, cut to a readable width around it.
func (p *problems) excerpt(line, column int) string {
	if line < 1 || line > len(p.lines) {
		return ""
	}
	text := []rune(p.lines[line-1])
	if keep, secret := p.secretAfter(line); secret && keep < len(text) {
		text = append(text[:keep:keep], '…')
	}
	caret := min(max(column-1, 0), len(text))
	start := 0
	if caret > excerptWidth*3/4 {
		start = caret - excerptWidth/2
	}
	cutBefore, cutAfter := start > 0, false
	text = text[start:]
	caret -= start
	if len(text) > excerptWidth {
		text, cutAfter = text[:excerptWidth], true
	}
	var shown, pad strings.Builder
	if cutBefore {
		shown.WriteRune('…')
		pad.WriteByte(' ')
	}
	for i, r := range text {
		if !unicode.IsPrint(r) && r != '\t' {
			r = unicode.ReplacementChar
		}
		shown.WriteRune(r)
		if i < caret {
			if r != '\t' {
				r = ' '
			}
			pad.WriteRune(r)
		}
	}
	if cutAfter {
		shown.WriteRune('…')
	}
	number := fmt.Sprintf("%4d", line)
	return fmt.Sprintf("%s | %s\n%s | %s^", number, strings.TrimRight(shown.String(), " \t"),
		strings.Repeat(" ", len(number)), pad.String())
}

var (
	envKey     = regexp.MustCompile(`^["']?(env|environment)["']?\s*:`)
	envInBrace = regexp.MustCompile(`^\{.*?\b(env|environment)\b["']?\s*:`)
	entryKey   = regexp.MustCompile(`^[^:=]*[:=]`)
)

var (
	headersKey = regexp.MustCompile(`^.*?\bheaders["']?\s*:`)
	headersEnd = regexp.MustCompile(`\bheaders["']?\s*:\s*(#.*)?$`)
)

// headerAfter is secretAfter for the headers of a probe, which may hold a token.
func (p *problems) headerAfter(line int) (keep int, secret bool) {
	text := p.lines[line-1]
	if owner := headersKey.FindString(text); owner != "" {
		return utf8.RuneCountInString(owner), true
	}
	indent := func(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }
	for i := line - 2; i >= 0; i-- {
		if above := p.lines[i]; strings.TrimSpace(above) != "" && indent(above) < indent(text) {
			return utf8.RuneCountInString(entryKey.FindString(text)), headersEnd.MatchString(above)
		}
	}
	return 0, false
}

// secretAfter tells whether a line belongs to env:, whose values may be secrets that errors must not spread, and how many
// of its characters may be shown. It goes by the text, since a file with broken syntax has nothing else.
func (p *problems) secretAfter(line int) (keep int, secret bool) {
	if keep, secret := p.headerAfter(line); secret {
		return keep, true
	}
	for i := line - 1; i >= 0; i-- {
		text := p.lines[i]
		if text == "" || strings.ContainsRune(" \t#-", rune(text[0])) {
			continue
		}
		owner := envKey.FindString(text)
		if owner == "" {
			owner = envInBrace.FindString(text)
		}
		switch {
		case owner == "":
			return 0, false
		case i == line-1:
			return utf8.RuneCountInString(owner), true
		default:
			return utf8.RuneCountInString(entryKey.FindString(p.lines[line-1])), true
		}
	}
	return 0, false
}
