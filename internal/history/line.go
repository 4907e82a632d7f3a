package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
)

// A line is an entry as a JSON object whose last member is the checksum of all that is before it:
//
//	{"id":1,"at":"…","type":"started","crc":"89abcdef"}
//
// The checksum is CRC-32C (Castagnoli), in hexadecimal, of the bytes up to the comma before "crc". No line has a newline in
// it, since JSON escapes them.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const crcMember = `,"crc":"`

// crcLen is the length of what the checksum adds: its member and the closing brace.
const crcLen = len(crcMember) + 8 + len(`"}`)

// encode is the line of an entry, with its newline.
func encode(e Entry) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return nil, fmt.Errorf("cannot encode an entry of the history: %w", err)
	}
	body := bytes.TrimSuffix(b.Bytes(), []byte("}\n"))
	return fmt.Appendf(body, "%s%08x\"}\n", crcMember, crc32.Checksum(body, castagnoli)), nil
}

// decode reads a line without its newline. It is false for all that encode did not make.
func decode(line []byte) (Entry, bool) {
	cut := len(line) - crcLen
	if cut <= 0 {
		return Entry{}, false
	}
	body, tail := line[:cut], line[cut:]
	if !bytes.HasPrefix(tail, []byte(crcMember)) || !bytes.HasSuffix(tail, []byte(`"}`)) {
		return Entry{}, false
	}
	sum, err := strconv.ParseUint(string(tail[len(crcMember):len(crcMember)+8]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(body, castagnoli) {
		return Entry{}, false
	}
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil || e.ID <= 0 || e.Type == "" {
		return Entry{}, false
	}
	return e, true
}
