package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

const (
	// maxSize is how large a file may be, in bytes.
	maxSize = 1 << 20
	// maxTokens keeps the YAML parser, whose time grows with the square of a mapping's keys, below a second.
	maxTokens = 20000
	// maxDepth is how deep lists and mappings may nest.
	maxDepth = 64
)

// parseSource turns a file's bytes into a tree. It returns nil when there is a problem, and also, without a problem, when
// the file has no content.
func (p *problems) parseSource(src []byte) *node {
	text, ok := p.checkText(src)
	if !ok {
		return nil
	}
	p.lines = strings.Split(text, "\n")
	file, err := parseYAML(text, p)
	if err != nil {
		p.syntaxError(err)
		return nil
	}
	if len(p.list) > 0 {
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if _, isComment := doc.Body.(*ast.CommentGroupNode); isComment {
			continue
		}
		root := p.tree(doc.Body, place{1, 1}, "", 0)
		if len(p.list) > 0 {
			return nil
		}
		return root
	}
	return nil
}

// checkText sees to it that the bytes are text that fits, and unifies line ends.
func (p *problems) checkText(src []byte) (string, bool) {
	if len(src) > maxSize {
		p.at(0, 0, "", "the file is larger than 1 MiB")
		return "", false
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	text := strings.ReplaceAll(string(src), "\r\n", "\n")
	line, column := 1, 1
	for i, r := range text {
		problem := ""
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			problem = fmt.Sprintf("byte 0x%02x is not valid UTF-8", text[i])
		case r == '\n':
			line, column = line+1, 1
			continue
		case r == '\r':
			problem = "a carriage return alone does not end a line"
		case r != '\t' && unicode.IsControl(r):
			problem = fmt.Sprintf("control character U+%04X in the text", r)
		}
		if problem != "" {
			p.at(line, column, "save the file as UTF-8 text with newlines at the ends of lines", problem)
			return "", false
		}
		column++
	}
	return text, true
}

// parseYAML calls the YAML library. What the format leaves out is refused before the parser sees it, which also keeps the
// parser's recursion bounded.
func parseYAML(text string, p *problems) (file *ast.File, err error) {
	defer func() {
		// The library has panicked on odd input before; a broken file must not take the daemon down.
		if r := recover(); r != nil {
			file, err = nil, fmt.Errorf("the YAML parser cannot read this file: %v", r)
		}
	}()
	tokens := lexer.Tokenize(text)
	if !p.checkTokens(tokens, text) {
		return nil, nil
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // tree refuses them, together with other problems
}

// syntaxError adds what the YAML library says, in the words of this package where that helps.
func (p *problems) syntaxError(err error) {
	var located yaml.Error
	if !errors.As(err, &located) || located.GetToken() == nil || located.GetToken().Position == nil {
		p.at(0, 0, "", err.Error())
		return
	}
	at := located.GetToken().Position
	line, column, msg, hint := at.Line, at.Column, located.GetMessage(), ""
	indent, tab := p.tabIndent(line)
	switch {
	case tab && (strings.Contains(msg, "tab") || strings.Contains(msg, `'	'`) || column <= indent+1):
		column, msg, hint = strings.IndexByte(p.lines[line-1], '\t')+1, "tab in the indentation", "indent with spaces"
	case strings.Contains(msg, "unexpected key name"), strings.Contains(msg, "non-map value"):
		msg, hint = `there is no "key: value" here`, "add what is missing, and check the indentation"
	case strings.HasPrefix(msg, "value is not allowed in this context"):
		msg, hint = "this does not fit here", "check the indentation; text with special characters needs quotes"
	case strings.Contains(msg, "invalid header option"):
		msg, hint = noHead, noHeadHint
	case strings.Contains(msg, "mapping value is not allowed"):
		hint = `if the text itself contains ": ", put it in quotes; else check the indentation`
	case strings.Contains(msg, "reserved character"):
		hint = "put the text in quotes"
	}
	p.at(line, column, hint, msg)
}

// tabIndent tells whether a line's indentation contains a tab, and how long it is.
func (p *problems) tabIndent(line int) (length int, tab bool) {
	if line < 1 || line > len(p.lines) {
		return 0, false
	}
	text := p.lines[line-1]
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	return len(indent), strings.Contains(indent, "\t")
}
