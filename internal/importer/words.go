package importer

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// splitWords splits a line as systemd does: at white space, with quotes around words or parts of them and C escapes
// (systemd.syntax(7), systemd.service(5) "Command lines"). A quote that is not closed ends with the line.
func splitWords(line string) (words []string) {
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && i+1 < len(line):
			text, used := unescape(line[i+1:])
			word.WriteString(text)
			inWord = true
			i += used
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

var escapes = map[byte]string{
	'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v", '\\': "\\", '"': "\"", '\'': "'", 's': " ",
}

// unescape reads what follows a backslash, and says how many bytes of it that was.
func unescape(s string) (text string, used int) {
	if text, ok := escapes[s[0]]; ok {
		return text, 1
	}
	for _, form := range []struct {
		prefix string
		digits int
		base   int
	}{{"x", 2, 16}, {"u", 4, 16}, {"U", 8, 16}, {"", 3, 8}} {
		if len(s) < len(form.prefix)+form.digits || !strings.HasPrefix(s, form.prefix) {
			continue
		}
		n, err := strconv.ParseUint(s[len(form.prefix):len(form.prefix)+form.digits], form.base, 32)
		if err != nil || n == 0 {
			continue
		}
		used := len(form.prefix) + form.digits
		if form.prefix == "u" || form.prefix == "U" {
			return string(utf8.AppendRune(nil, rune(n))), used
		}
		return string([]byte{byte(n)}), used
	}
	return "\\" + s[:1], 1 // unknown: kept
}

// specifiers replaces %n and its like (systemd.unit(5)). What depends on the machine or the user is an error.
func (u *unit) specifiers(s string) (string, error) {
	full := strings.TrimSuffix(u.name, ".service")
	prefix, instance, _ := strings.Cut(full, "@")
	last := prefix[strings.LastIndex(prefix, "-")+1:]
	values := map[byte]string{
		'%': "%", 'n': u.name, 'N': full, 'p': prefix, 'P': unescapeName(prefix), 'i': instance, 'I': unescapeName(instance),
		'j': last, 'J': unescapeName(last), 't': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'E': "/etc",
		'T': "/tmp", 'V': "/var/tmp", 'h': "/root", 'u': "root", 'U': "0", 'g': "root", 'G': "0", 's': "/bin/sh",
		'f': "/" + strings.TrimPrefix(unescapeName(instance), "/"), 'y': u.file, 'Y': path.Dir(u.file), 'd': "/run/credentials/" + u.name,
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		value, ok := values[s[i]]
		if !ok {
			return "", fmt.Errorf("%%%c is known to systemd alone", s[i])
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// unescapeName reads a part of a unit's name: - stands for /, and \xNN for a byte (systemd-escape(1)).
func unescapeName(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '-':
			b.WriteByte('/')
		case s[i] == '\\' && i+1 < len(s):
			text, used := unescape(s[i+1:])
			b.WriteString(text)
			i += used
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// environment is what a unit's commands find in their environment, as far as the unit says.
func (u *unit) environment(fsys fs.FS) map[string]string {
	env := map[string]string{}
	add := func(words []string) {
		for _, word := range words {
			if key, value, ok := strings.Cut(word, "="); ok {
				env[key] = value
			}
		}
	}
	for _, a := range u.list("Service", "Environment") {
		if text, err := u.specifiers(a.value); err == nil {
			add(splitWords(text))
		}
	}
	for _, a := range u.list("Service", "EnvironmentFile") {
		file, err := u.specifiers(strings.TrimPrefix(a.value, "-"))
		if err != nil || !path.IsAbs(file) {
			continue
		}
		text, err := readFile(fsys, file)
		if err != nil {
			continue
		}
		for line := range strings.SplitSeq(text, "\n") {
			line = strings.TrimSpace(line)
			if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
				add([]string{strings.TrimSpace(key) + "=" + strings.Join(splitWords(value), " ")})
			}
		}
	}
	return env
}

// expand replaces variables in words: ${X} within one, $X as a word of its own by the words of its value.
func expand(words []string, env map[string]string) (expanded []string) {
	for _, word := range words {
		if name, ok := strings.CutPrefix(word, "$"); ok && isVariable(name) {
			expanded = append(expanded, splitWords(env[name])...)
			continue
		}
		expanded = append(expanded, expandInside(word, env))
	}
	return expanded
}

func expandInside(word string, env map[string]string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(word, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if after, escaped := strings.CutPrefix(rest, "$"); escaped {
			b.WriteByte('$')
			word = after
			continue
		}
		inner, braced := strings.CutPrefix(rest, "{")
		name, after, closed := strings.Cut(inner, "}")
		if braced && closed && isVariable(name) {
			b.WriteString(env[name])
			word = after
			continue
		}
		b.WriteByte('$')
		word = rest
	}
}

func isVariable(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
