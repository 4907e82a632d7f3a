package bundle

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A bundle.json of which one byte is another one is noticed, or says the same: a running container is not replaced because it
// seems to have been made from something else.
func TestEveryByteOfTheRecordChanged(t *testing.T) {
	limit := int64(64 << 20)
	want := &record{
		Version: recordVersion, Name: "npd", Hash: "abc0", Parts: map[string]string{"env TZ": "1", "command": "2"}, ConfigSum: sumOf([]byte("{}")), Path: "/b/npd",
		Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}, Archive: &archiveDigest{Digest: "d"},
		Secrets: []secretCopy{{Source: hostPath{"secrets[0].source", "/etc/token"}, File: "0", Mode: 0o400}}, Hostname: "npd",
	}
	whole, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, recordFile)
	read := func(data []byte) (*record, error) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, _, err := readRecord(dir)
		return r, err
	}
	if r, err := read(whole); err != nil || !reflect.DeepEqual(r, want) {
		t.Fatalf("whole: %+v, %v", r, err)
	}
	noticed := 0
	for at, was := range whole {
		for _, b := range []byte{0, 0xff, '0', ' ', was ^ 1, was ^ 2, was ^ 0x20, was ^ 0x40} {
			damaged := bytes.Clone(whole)
			if damaged[at] = b; b == was {
				continue
			}
			r, err := read(damaged)
			switch {
			case err != nil:
				noticed++
			case !reflect.DeepEqual(r, want):
				t.Errorf("byte %d is %q: %+v", at, b, r)
			}
		}
		if r, err := read(whole[:at]); err == nil && at < len(whole)-1 {
			t.Errorf("cut at %d: %+v", at, r)
		}
	}
	if noticed < 6*len(whole) {
		t.Errorf("%d damages of %d bytes were noticed", noticed, len(whole))
	}
}
