package importer

import (
	"fmt"
	"strings"
	"unicode"
)

// notes are what a definition says in comments.
type notes struct {
	implied []string // what runcsup does without being told
	missing []string // what has no counterpart, and what to do
}

func (n *notes) does(a assignment, format string, args ...any) {
	n.implied = append(n.implied, setting(a)+": "+fmt.Sprintf(format, args...))
}

func (n *notes) lacks(a assignment, format string, args ...any) {
	n.missing = append(n.missing, setting(a)+": "+fmt.Sprintf(format, args...))
}

// secretKeys hold what must not get into other files.
var secretKeys = map[string]bool{"Environment": true, "SetCredential": true, "SetCredentialEncrypted": true}

// setting is an assignment as a comment shows it.
func setting(a assignment) string {
	value := shorten(a.value)
	if secretKeys[a.key] {
		var names []string
		for _, word := range splitWords(a.value) {
			name, _, _ := strings.Cut(word, "=")
			names = append(names, name)
		}
		value = strings.Join(names, ", ")
	}
	if value == "" {
		return a.key
	}
	return a.key + "=" + value
}

// write gives the notes as comments.
func (n *notes) write(b *strings.Builder) {
	for _, part := range []struct {
		title string
		list  []string
	}{{"What runcsup does by itself:", n.implied}, {"What has no counterpart here:", n.missing}} {
		if len(part.list) == 0 {
			continue
		}
		b.WriteString("#\n# " + part.title + "\n")
		for _, note := range part.list {
			b.WriteString("# - " + oneLine(note) + "\n")
		}
	}
}

// oneLine makes text safe in a comment.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		if !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
