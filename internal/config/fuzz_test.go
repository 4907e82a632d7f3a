package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// FuzzParse: no input makes Parse panic; an error is of type Errors and prints as text without control characters; what is
// accepted is accepted by the schema too, and parses to the same again.
func FuzzParse(f *testing.F) {
	for _, line := range good {
		f.Add([]byte(small + line + "\n"))
	}
	for _, line := range bad {
		f.Add([]byte(small + line + "\n"))
	}
	for _, list := range [][]string{goodWhole, badWhole, schemaCannotKnow} {
		for _, src := range list {
			f.Add([]byte(src))
		}
	}
	examples, err := filepath.Glob("../../examples/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range examples {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, src := range []string{"a: &a [*a]", "%YAML 1.1\n---\n", "? a\n: b", "a:\n\t- b", "- - - x", "a: |\n\tb", "'", "\"\\x", "{a: b", "<<: *a", "a: !!int 5", "\xff", "a\r"} {
		f.Add([]byte(src))
	}
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := Parse("a.yaml", src)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || d != nil {
				t.Fatalf("got %T and %v", err, d)
			}
			for _, e := range all {
				if strings.ContainsAny(e.Msg+e.Hint, "\n\x1b\x00") || strings.ContainsAny(e.Excerpt, "\x1b\x00") || strings.Count(e.Excerpt, "\n") > 1 {
					t.Fatalf("unfit for a terminal: %q", e)
				}
				if e.Msg == "" || e.Line < 0 || e.Column < 0 {
					t.Fatalf("%+v", e)
				}
			}
			return
		}
		again, err := Parse("a.yaml", d.Source)
		if err != nil || !reflect.DeepEqual(d, again) {
			t.Fatalf("parsed again: %v\n%+v\n%+v", err, d, again)
		}
		if err := schema.Validate(instance(t, src)); err != nil {
			t.Fatalf("the schema refuses it: %v", err)
		}
	})
}

// instance is what a validator sees of a definition that was accepted.
func instance(t *testing.T, src []byte) any {
	p := &problems{file: "a.yaml"}
	root := p.parseSource(src)
	var convert func(n *node) any
	convert = func(n *node) any {
		switch n.kind {
		case kindNull:
			return nil
		case kindBool:
			return strings.EqualFold(n.text, "true")
		case kindInt, kindFloat:
			text := strings.TrimPrefix(n.text, "+")
			if strings.HasSuffix(text, ".") {
				text += "0"
			}
			text = strings.Replace(text, ".e", ".0e", 1)
			text = strings.Replace(text, ".E", ".0E", 1)
			if strings.HasPrefix(strings.TrimPrefix(text, "-"), ".") {
				text = strings.Replace(text, ".", "0.", 1)
			}
			return json.Number(text)
		case kindList:
			list := []any{}
			for _, item := range n.items {
				list = append(list, convert(item))
			}
			return list
		case kindMap:
			object := map[string]any{}
			for _, f := range n.fields {
				object[f.name] = convert(f.value)
			}
			return object
		}
		return n.text
	}
	text, err := json.Marshal(convert(root))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
