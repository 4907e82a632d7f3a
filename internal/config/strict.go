package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// This file stands between the YAML library's scanner and its parser. It refuses what is YAML but not part of the format,
// and what is not YAML but taken by the library: goccy/go-yaml 1.19 drops tabs within text and tags at the end, takes text
// that begins with an indicator, and joins lines that do not belong together. Each would be misread without a word.

// checkTokens is false when it found a problem.
func (p *problems) checkTokens(tokens token.Tokens, text string) bool {
	if len(tokens) > maxTokens {
		p.at(0, 0, "", fmt.Sprintf("the file is too complex: more than %d YAML tokens", maxTokens))
		return false
	}
	if !p.checkStructure(tokens) {
		return false
	}
	if tokens.InvalidToken() != nil {
		return true // the parser reports it
	}
	flow, block, line, before := 0, false, 0, token.UnknownType
	for _, tk := range tokens {
		if tk.Type == token.CommentType {
			continue
		}
		switch tk.Type {
		case token.MappingValueType:
			if tk.Position.Line != line {
				return p.refuse(tk, "write key: value in one line", "a colon needs its key before it")
			}
		case token.CollectEntryType:
			if before == token.SequenceStartType || before == token.MappingStartType || before == token.CollectEntryType {
				return p.refuse(tk, "", "there is nothing before the comma")
			}
		case token.LiteralType, token.FoldedType, token.SequenceEntryType:
			if flow > 0 {
				return p.refuse(tk, "put the text in quotes", fmt.Sprintf("%q cannot stand between brackets", tk.Value))
			}
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		if !block && (!p.checkTabs(tk) || !p.checkPlain(tk, flow > 0)) {
			return false
		}
		before = tk.Type
		block, line = tk.Type == token.LiteralType || tk.Type == token.FoldedType, tk.Position.Line
	}
	return p.checkComplete(tokens, text)
}

// unsupported is what the format leaves out of YAML.
var unsupported = map[token.Type]struct{ msg, hint string }{
	token.AnchorType:     {"anchors (&name) are not supported", `write the value out; text that begins with "&" needs quotes`},
	token.AliasType:      {"aliases (*name) are not supported", `write the value out; text that begins with "*" needs quotes`},
	token.MergeKeyType:   {"merge keys (<<) are not supported", "write the keys out"},
	token.TagType:        {"tags (!name) are not supported", `remove it; text that begins with "!" needs quotes`},
	token.MappingKeyType: {"keys marked with ? are not supported", `write "key: value"; text that begins with "?" needs quotes`},
	token.DirectiveType:  {"directives (%) are not supported", `remove it; text that begins with "%" needs quotes`},
}

// checkStructure sees to it that there is one document without the parts that are not supported, not nested too deep.
func (p *problems) checkStructure(tokens token.Tokens) bool {
	const oneThing = "one file defines one thing: put the rest into a file of its own"
	flow, dashes, content, ended := 0, 0, false, false
	for _, tk := range tokens {
		if what, ok := unsupported[tk.Type]; ok {
			return p.refuse(tk, what.hint, what.msg)
		}
		switch tk.Type {
		case token.CommentType:
			continue
		case token.DocumentHeaderType:
			if content || ended {
				return p.refuse(tk, oneThing, "more than one YAML document in the file")
			}
			continue
		case token.DocumentEndType:
			ended = true
			continue
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(flow-1, 0)
		}
		if ended {
			return p.refuse(tk, oneThing, "text after the end of the YAML document")
		}
		content = true
		if dashes++; tk.Type != token.SequenceEntryType {
			dashes = 0
		}
		if flow > maxDepth || dashes > maxDepth {
			return p.refuse(tk, "", fmt.Sprintf("lists and mappings nest deeper than %d", maxDepth))
		}
	}
	return true
}

// refuse adds a problem at a token and is false.
func (p *problems) refuse(tk *token.Token, hint, msg string) bool {
	at := p.placeOf(tk)
	p.at(at.line, at.column, hint, msg)
	return false
}

// placeOf is where a token stands. The library is off by the blanks that follow some unquoted text.
func (p *problems) placeOf(tk *token.Token) place {
	at := place{tk.Position.Line, tk.Position.Column}
	text := strings.TrimRight(tk.Origin, " \n")
	if at.line < 1 || at.line > len(p.lines) || tk.Value == "" || strings.TrimLeft(text, " \n") != tk.Value {
		return at
	}
	line, value := p.runes(at.line), []rune(tk.Value)
	blanks := strings.Count(tk.Origin[len(text):], " ")
	for column := at.column; column > 0 && column >= at.column-blanks; column-- {
		if end := column - 1 + len(value); end <= len(line) && string(line[column-1:end]) == tk.Value {
			at.column = column
			break
		}
	}
	return at
}

// runes is a line as characters. It keeps the last one, for one line can have thousands of tokens.
func (p *problems) runes(line int) []rune {
	if p.cachedLine != line {
		p.cachedLine, p.cachedRunes = line, []rune(p.lines[line-1])
	}
	return p.cachedRunes
}

// checkTabs refuses tabs outside of quotes, block text and comments.
func (p *problems) checkTabs(tk *token.Token) bool {
	own := tk.Origin
	switch tk.Type {
	case token.DoubleQuoteType, token.SingleQuoteType:
		own = own[:max(strings.IndexAny(own, `"'`), 0)]
	}
	if !strings.Contains(own, "\t") {
		return true
	}
	line, column := tk.Position.Line, tk.Position.Column
	// What the library says of the place is off by the tabs before it, so look for the tab itself.
	first := line - strings.Count(own[:len(own)-len(strings.TrimLeft(own, " \t\n"))], "\n")
	for l := max(first, 1); l <= min(first+strings.Count(own, "\n"), len(p.lines)); l++ {
		if i := strings.IndexByte(p.lines[l-1], '\t'); i >= 0 {
			line, column = l, utf8.RuneCountInString(p.lines[l-1][:i])+1
			break
		}
	}
	if _, tab := p.tabIndent(line); tab {
		p.at(line, column, "indent with spaces", "tab in the indentation")
	} else {
		p.at(line, column, `use spaces; inside "double quotes" a tab is \t`, "tab outside of quotes")
	}
	return false
}

var (
	blockHeader = regexp.MustCompile(`^[|>]([-+]?[1-9]?|[1-9][-+])$`)
	// indicator is what unquoted text cannot begin with (YAML 1.2, 5.3 and 7.3.3).
	indicator = regexp.MustCompile("^([,\\[\\]{}#&*!|>'\"%@`]|[-?:]([ \n]|$))")
)

const (
	noHead     = "this is no head of block text"
	noHeadHint = "write | or >-, and the text in the lines below; other text needs quotes"
)

// checkPlain refuses unquoted text, and heads of block text, that other programs read in another way. Messages do not
// have the text, which may be a secret.
func (p *problems) checkPlain(tk *token.Token, flow bool) bool {
	own := strings.Trim(tk.Origin, " \n")
	switch tk.Type {
	case token.LiteralType, token.FoldedType:
		if !blockHeader.MatchString(own) {
			return p.refuse(tk, noHeadHint, noHead)
		}
		return true
	case token.StringType, token.IntegerType, token.FloatType, token.BoolType, token.NullType, token.InfinityType, token.NanType,
		token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType:
	default:
		return true
	}
	switch {
	case strings.Contains(own, "\n"):
		return p.refuse(tk, "put it in quotes, or check for a missing colon and the indentation", "unquoted text goes on in the next line")
	case own != tk.Value:
		return p.refuse(tk, "put the text in quotes", "this unquoted text cannot be read")
	case indicator.MatchString(own):
		return p.refuse(tk, "put the text in quotes", "unquoted text cannot begin with "+quote(own[:1]))
	case strings.Contains(own, ": ") || strings.Contains(own, " #") || strings.HasSuffix(own, ":"):
		return p.refuse(tk, "put the text in quotes", "this unquoted text can be read in more than one way")
	case flow && strings.ContainsAny(own, ",[]{}"):
		return p.refuse(tk, "put the text in quotes", "unquoted text cannot contain one of , [ ] { } here")
	}
	return true
}

// checkComplete makes sure that the library has lost nothing: its tokens together are the text.
func (p *problems) checkComplete(tokens token.Tokens, text string) bool {
	rest := text
	skip := func(s string) string { return strings.TrimLeftFunc(s, unicode.IsSpace) }
	for _, tk := range tokens {
		for _, word := range strings.Fields(tk.Origin) {
			after, ok := strings.CutPrefix(skip(rest), word)
			if !ok {
				break
			}
			rest = after
		}
	}
	if rest = skip(rest); rest == "" {
		return true
	}
	before := text[:len(text)-len(rest)]
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	p.at(strings.Count(before, "\n")+1, column, "put text with special characters in quotes", "this part of the file cannot be read as YAML")
	return false
}
