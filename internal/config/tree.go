package config

import (
	"fmt"
	"regexp"
	"strconv"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

type kind int

const (
	kindNull kind = iota
	kindString
	kindInt   // plain decimal
	kindFloat // plain decimal with a point or an exponent
	kindBool
	kindOdd // numbers that YAML parsers disagree about: 0400, 0x10, 1_000, .inf
	kindList
	kindMap
)

// String is what a message calls the kind.
func (k kind) String() string {
	return [...]string{"nothing", "text", "a number", "a number", "true or false", "a number", "a list", "a mapping"}[k]
}

type place struct{ line, column int }

// node is a piece of YAML: a scalar, a list or a mapping. It stands between the YAML library, whose reading of scalars is
// its own, and everything else here.
type node struct {
	kind kind
	place
	key    place  // where the key stands of which this is the value, else the place of the node
	path   string // "mounts[0].target"; empty for the whole document
	text   string // of scalars: the content of quoted and block text, else as written
	items  []*node
	fields []field
}

// field is one entry of a mapping.
type field struct {
	name string
	place
	value *node
}

// get returns the value of a key, or nil.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.fields {
		if n.fields[i].name == name {
			return n.fields[i].value
		}
	}
	return nil
}

// tree converts what the YAML library parsed. fallback is the place for nodes that have none of their own.
func (p *problems) tree(n ast.Node, fallback place, path string, depth int) *node {
	out := &node{place: fallback, path: path}
	if n == nil {
		return out
	}
	tk := n.GetToken()
	if tk != nil && tk.Position != nil && tk.Type != token.ImplicitNullType {
		out.place = p.placeOf(tk)
	}
	out.key = out.place
	if depth > maxDepth {
		p.at(out.line, out.column, "", fmt.Sprintf("lists and mappings nest deeper than %d", maxDepth))
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		p.mappingTree(out, n.Values, n.IsFlowStyle, depth)
	case *ast.MappingValueNode:
		p.mappingTree(out, []*ast.MappingValueNode{n}, false, depth)
	case *ast.SequenceNode:
		out.kind = kindList
		for i, item := range n.Values {
			child := p.tree(item, out.place, path+"["+strconv.Itoa(i)+"]", depth+1)
			if !n.IsFlowStyle {
				p.checkIndent(child, out.place, out.column+1)
			}
			out.items = append(out.items, child)
		}
	case *ast.LiteralNode:
		out.kind, out.text = kindString, n.Value.Value
	case *ast.NullNode:
		out.kind = kindNull
	case *ast.BoolNode:
		out.kind, out.text = kindBool, tk.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = numberKind(tk.Value, kindOdd), tk.Value
	case *ast.StringNode:
		out.kind, out.text = kindString, n.Value
		if tk.Type == token.StringType {
			out.kind = numberKind(n.Value, kindString)
		}
	default:
		p.at(out.line, out.column, "", "this part of YAML is not supported")
	}
	if !utf8.ValidString(out.text) {
		p.at(out.line, out.column, "", "an escape in the text is not valid Unicode")
	}
	return out
}

func (p *problems) mappingTree(out *node, values []*ast.MappingValueNode, flow bool, depth int) {
	out.kind = kindMap
	prefix := ""
	if out.path != "" {
		prefix = out.path + "."
	}
	seen := make(map[string]int, len(values))
	for i, v := range values {
		f := field{place: out.place}
		if tk := v.Key.GetToken(); tk != nil {
			f.name = tk.Value
			f.place = p.placeOf(tk)
			if tk.Type == token.LiteralType || tk.Type == token.FoldedType {
				p.at(f.line, f.column, "put it in quotes", "block text cannot be a key")
			}
		}
		if i == 0 && !flow {
			out.place = f.place // the library has a block mapping begin at its first colon
		}
		if line, twice := seen[f.name]; twice {
			p.at(f.line, f.column, "remove one of them", fmt.Sprintf("key %q is there twice, first on line %d", f.name, line))
			continue
		}
		seen[f.name] = f.line
		f.value = p.tree(v.Value, f.place, prefix+f.name, depth+1)
		f.value.key = f.place
		least := f.column + 1
		if f.value.kind == kindList {
			least-- // its dashes may stand below the key
		}
		if !flow {
			p.checkIndent(f.value, f.place, least)
		}
		out.fields = append(out.fields, f)
	}
}

// checkIndent refuses a value in a line of its own that stands too far left to belong to what is before it.
func (p *problems) checkIndent(n *node, parent place, least int) {
	if n.line > parent.line && n.column < least {
		p.fail(n, "check the indentation, and whether a value is missing before", "this belongs to nothing")
	}
}

var (
	plainInt   = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	plainFloat = regexp.MustCompile(`^[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	coreNumber = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)$`)
)

// numberKind sorts unquoted text by YAML 1.2's core schema, which the YAML library follows only in part: to that 1e3 is
// text and 0400 octal. otherwise is for what is no number there.
func numberKind(text string, otherwise kind) kind {
	switch {
	case plainInt.MatchString(text):
		return kindInt
	case plainFloat.MatchString(text):
		return kindFloat
	case coreNumber.MatchString(text):
		return kindOdd
	}
	return otherwise
}
