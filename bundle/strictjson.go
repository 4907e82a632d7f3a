package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// document is JSON text that was checked against a Go type more strictly than encoding/json does: names are
// case-sensitive, nothing is unknown or said twice, nothing follows. Errors name file, line and column.
type document struct {
	file string
	data []byte
	at   map[string]int64 // path of a value ("mounts[1].source") → offset of its key or of itself
}

// maxJSON is far above any real config.json; it keeps a wrong path (a disk image) out of memory.
const maxJSON = 16 << 20

// formerFields are of earlier versions of the runtime-spec, which bundles may still have. All are booleans.
var formerFields = map[reflect.Type][]string{
	reflect.TypeFor[specs.LinuxIntelRdt](): {"enableCMT", "enableMBM"},
}

// checkJSON checks data against the type of like, which is a value of a type without methods for JSON.
func checkJSON(file string, data []byte, like any) (*document, error) {
	d := &document{file: file, data: data, at: map[string]int64{}}
	if !utf8.Valid(data) {
		valid := bytes.ToValidUTF8(data, nil)
		i := 0
		for i < len(valid) && valid[i] == data[i] {
			i++
		}
		return nil, d.errorAt(int64(i), "not UTF-8")
	}
	// Syntax first: afterwards tokens can be walked without looking for it. Unmarshal limits the depth as well.
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) {
			return nil, d.errorAt(0, err.Error())
		}
		switch {
		case len(bytes.TrimSpace(data)) == 0:
			return nil, d.errorAt(0, "empty file")
		case syntax.Error() == "unexpected end of JSON input":
			return nil, d.errorAt(int64(len(data)), "the file is cut off: "+syntax.Error())
		}
		return nil, d.errorAt(max(syntax.Offset-1, 0), "invalid JSON: "+syntax.Error())
	}
	w := &walker{doc: d, dec: json.NewDecoder(bytes.NewReader(data)), fields: map[reflect.Type]map[string]reflect.Type{}}
	w.dec.UseNumber()
	if err := w.value("", reflect.TypeOf(like)); err != nil {
		return nil, err
	}
	return d, nil
}

// error is an error about the value at a path, or the nearest one around it that exists.
func (d *document) error(path, message string) error {
	for p := path; ; {
		if offset, ok := d.at[p]; ok {
			return d.errorAt(offset, joinMessage(path, message))
		}
		if p == "" {
			return d.errorAt(0, joinMessage(path, message))
		}
		p = p[:max(strings.LastIndexAny(p, ".["), 0)]
	}
}

func joinMessage(path, message string) string {
	if path == "" {
		return message
	}
	return path + ": " + message
}

func (d *document) errorAt(offset int64, message string) error {
	if d.file == "" {
		return errors.New(message)
	}
	before := d.data[:min(offset, int64(len(d.data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Errorf("%s:%d:%d: %s", d.file, line, column, message)
}

// walker compares the tokens of valid JSON with a Go type.
type walker struct {
	doc    *document
	dec    *json.Decoder
	fields map[reflect.Type]map[string]reflect.Type // what fieldsOf found
}

// next returns where the next token begins.
func (w *walker) next() int64 {
	offset := w.dec.InputOffset()
	for offset < int64(len(w.doc.data)) && strings.IndexByte(" \t\r\n,:", w.doc.data[offset]) >= 0 {
		offset++
	}
	return offset
}

func (w *walker) value(path string, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	start := w.next()
	if _, ok := w.doc.at[path]; !ok {
		w.doc.at[path] = start
	}
	if t.Kind() == reflect.Interface {
		var skip json.RawMessage
		return w.dec.Decode(&skip)
	}
	token, err := w.dec.Token()
	if err != nil {
		return w.doc.errorAt(start, err.Error())
	}
	wrong := func() error {
		return w.doc.errorAt(start, joinMessage(path, fmt.Sprintf("must be %s, not %s", kindOf(t), tokenKind(token))))
	}
	if token == nil {
		// null is as good as nothing for a member; elsewhere it would silently become an empty value.
		if path == "" || strings.HasSuffix(path, "]") {
			return wrong()
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		if token != json.Delim('{') {
			return wrong()
		}
		return w.object(path, t)
	case reflect.Slice:
		if token != json.Delim('[') {
			return wrong()
		}
		return w.array(path, t)
	case reflect.String:
		if _, ok := token.(string); !ok {
			return wrong()
		}
	case reflect.Bool:
		if _, ok := token.(bool); !ok {
			return wrong()
		}
	default:
		number, ok := token.(json.Number)
		if !ok {
			return wrong()
		}
		if err := checkNumber(number, t); err != nil {
			return w.doc.errorAt(start, joinMessage(path, err.Error()))
		}
	}
	return nil
}

func (w *walker) object(path string, t reflect.Type) error {
	seen := map[string]bool{}
	for w.dec.More() {
		start := w.next()
		token, err := w.dec.Token()
		if err != nil {
			return w.doc.errorAt(start, err.Error())
		}
		key, _ := token.(string) // valid JSON has nothing else here
		member := key
		if path != "" {
			member = path + "." + key
		}
		if seen[key] {
			return w.doc.errorAt(start, member+": is there twice")
		}
		seen[key] = true
		w.doc.at[member] = start
		var elem reflect.Type
		if t.Kind() == reflect.Map {
			elem = t.Elem()
		} else if elem = w.fieldsOf(t)[key]; elem == nil {
			return w.doc.errorAt(start, joinMessage(path, w.unknownField(key, t)))
		}
		if err := w.value(member, elem); err != nil {
			return err
		}
	}
	return w.end()
}

func (w *walker) array(path string, t reflect.Type) error {
	for i := 0; w.dec.More(); i++ {
		if err := w.value(fmt.Sprintf("%s[%d]", path, i), t.Elem()); err != nil {
			return err
		}
	}
	return w.end()
}

func (w *walker) end() error {
	if _, err := w.dec.Token(); err != nil && !errors.Is(err, io.EOF) {
		return w.doc.errorAt(w.next(), err.Error())
	}
	return nil
}

func (w *walker) unknownField(key string, t reflect.Type) string {
	for name := range w.fieldsOf(t) {
		if strings.EqualFold(name, key) {
			return fmt.Sprintf("unknown field %q, did you mean %q?", key, name)
		}
	}
	return fmt.Sprintf("unknown field %q", key)
}

// fieldsOf returns the types of a struct's members by their names in JSON.
func (w *walker) fieldsOf(t reflect.Type) map[string]reflect.Type {
	if fields, ok := w.fields[t]; ok {
		return fields
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "", !f.IsExported(), name == "-":
			continue
		case name == "":
			name = f.Name
		}
		fields[name] = f.Type
	}
	for _, name := range formerFields[t] {
		fields[name] = reflect.TypeFor[bool]()
	}
	w.fields[t] = fields
	return fields
}

func checkNumber(number json.Number, t reflect.Type) error {
	var err error
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		_, err = strconv.ParseFloat(number.String(), t.Bits())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		_, err = strconv.ParseInt(number.String(), 10, t.Bits())
	default:
		_, err = strconv.ParseUint(number.String(), 10, t.Bits())
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("number %s is out of range", number)
	case strings.HasPrefix(number.String(), "-"):
		return fmt.Errorf("number %s must not be negative", number)
	}
	return fmt.Errorf("number %s must be whole", number)
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}

func tokenKind(token json.Token) string {
	switch token {
	case json.Delim('{'):
		return "an object"
	case json.Delim('['):
		return "an array"
	case nil:
		return "null"
	}
	switch v := token.(type) {
	case string:
		return "a string"
	case bool:
		return strconv.FormatBool(v)
	default:
		return "a number"
	}
}
