package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/runcsup/runcsup/supervisor"
)

// envelope is what the file of a record holds since version 2, and will in every later one: a file of a version that this program
// does not know is told by it from one that is damaged.
type envelope struct {
	Version  int             `json:"version"`  // of the record in it
	Checksum string          `json:"checksum"` // see checksum
	Record   json.RawMessage `json:"record"`
}

const checksumKind = "crc32c:"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is CRC-32C, which finds every change of up to 32 bits beside each other, in hexadecimal.
func checksum(data []byte) string {
	return fmt.Sprintf("%s%08x", checksumKind, crc32.Checksum(data, castagnoli))
}

// encode makes a file of a record.
func encode(r supervisor.Record) ([]byte, error) {
	record, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(envelope{Version: r.Version, Checksum: checksum(record), Record: record}, "", "  ")
	return append(data, '\n'), err
}

// decode reads one record that makes sense. An error wraps ErrDamaged or is a *NewerError.
func decode(path string, data []byte) (supervisor.Record, error) {
	r, err := open(path, data)
	if err == nil {
		err = check(&r)
	}
	if newer := (*NewerError)(nil); errors.As(err, &newer) {
		return supervisor.Record{}, newer
	}
	if err != nil {
		return supervisor.Record{}, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	return r, nil
}

// open takes a record out of its envelope. Version 1 had none.
func open(path string, data []byte) (r supervisor.Record, err error) {
	var first struct {
		Version int
		Record  json.RawMessage
	}
	if err := json.Unmarshal(data, &first); err != nil {
		return r, err
	}
	if first.Version == 1 && first.Record == nil {
		return r, strictly(data, &r)
	}
	var e envelope
	if err := strictly(data, &e); err != nil {
		return r, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, e.Record); err != nil {
		return r, err
	}
	var inner struct{ Version int }
	switch err := json.Unmarshal(e.Record, &inner); {
	case err != nil:
		return r, err
	case checksum(compact.Bytes()) != e.Checksum:
		return r, errors.New("its checksum is another one")
	case inner.Version != e.Version:
		return r, errors.New("it has two versions")
	case e.Version > supervisor.RecordVersion:
		return r, &NewerError{Path: path}
	}
	if err := strictly(e.Record, &r); err != nil {
		return r, fmt.Errorf("%w: %w", &NewerError{Path: path}, err) // it is whole, and was never written by this program
	}
	return r, nil
}

// strictly decodes one JSON value without unknown keys.
func strictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// check tells what makes no sense in a record.
func check(r *supervisor.Record) error {
	switch {
	case r.Version < 1:
		return errors.New("no version")
	case r.BootID == "" || r.State == "":
		return errors.New("no boot id or state")
	case r.Restarts < 0 || r.Attempt < 0:
		return errors.New("a negative count")
	case r.Instance != nil && (r.Instance.Pid <= 0 || r.Instance.StartTime == 0 || r.Instance.BootID == ""):
		return errors.New("an instance without pid, start time or boot id")
	}
	return nil
}

// A definition that is kept has a first line with a checksum of the rest, as a comment: definitionMark, the checksum, newline.
const definitionMark = "# kept by runcsup, "

func sealDefinition(src []byte) []byte {
	return append([]byte(definitionMark+checksum(src)+"\n"), src...)
}

// unsealDefinition gives the text without its first line, and what is wrong with it. A text without that line is of a program
// that wrote none.
func unsealDefinition(data []byte) ([]byte, error) {
	line, src, found := bytes.Cut(data, []byte("\n"))
	sum, marked := strings.CutPrefix(string(line), definitionMark)
	switch {
	case len(data) == 0:
		return nil, fmt.Errorf("%w: nothing is in it", ErrDamaged)
	case !marked:
		return data, nil
	case !found || sum != checksum(src):
		return nil, fmt.Errorf("%w: its checksum is another one", ErrDamaged)
	}
	return src, nil
}
