package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// What people copy is accepted by the parser and by the schema, as it is.
func TestExamples(t *testing.T) {
	all, err := LoadDir("../../examples")
	must(t, err)
	if len(all) < 5 {
		t.Errorf("%d examples", len(all))
	}
	s := compileSchema(t)
	for _, one := range all {
		if one.Err != nil {
			t.Errorf("%s:\n%v", one.File, one.Err)
			continue
		}
		if err := s.Validate(asEditor(t, string(one.Definition.Source))); err != nil {
			t.Errorf("%s: the schema refuses it: %v", one.File, err)
		}
	}
	files, err := filepath.Glob("../../examples/*")
	must(t, err)
	if len(files) != len(all) {
		t.Errorf("%d files are no definitions: %v", len(files)-len(all), files)
	}
}

var (
	yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	topKey    = regexp.MustCompile(`(?m)^[a-zA-Z]+:`)
	sourceKey = regexp.MustCompile(`(?m)^(rootfs|bundle):`)
)

// So is what the reference shows: whole definitions as they are, parts of one added to the smallest. Blocks that show
// a key twice, as alternatives, are taken key by key.
func TestExamplesInTheReference(t *testing.T) {
	text, err := os.ReadFile("../../docs/definition.md")
	must(t, err)
	blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 8 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for _, b := range blocks {
		starts := topKey.FindAllStringIndex(b[1], -1)
		if len(starts) == 0 && !strings.HasPrefix(b[1], "#") {
			t.Errorf("no key in\n%s", b[1])
		}
		if sourceKey.MatchString(b[1]) {
			mustParse(t, "a.yaml", b[1])
			continue
		}
		for i, at := range starts {
			end := len(b[1])
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			part := b[1][at[0]:end]
			base := small
			if topKey.FindString(part) == "command:" {
				base = "rootfs: /srv/app\n"
			}
			mustParse(t, "a.yaml", base+part)
		}
	}
	settings, err := os.ReadFile("../../docs/settings.md")
	must(t, err)
	for _, b := range yamlBlock.FindAllStringSubmatch(string(settings), -1) {
		if _, err := ParseSettings("runcsup.yaml", []byte(b[1])); err != nil {
			t.Error(err)
		}
	}
	all := yamlBlock.FindAllStringSubmatch(string(settings), -1)
	got, err := ParseSettings("runcsup.yaml", []byte(all[len(all)-1][1]))
	want := DefaultSettings()
	want.SocketGroup = DefaultSocketGroup
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the defaults in docs/settings.md are %+v, %v", got, err)
	}
}
