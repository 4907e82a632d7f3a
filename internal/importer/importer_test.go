package importer

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/runcsup/runcsup/internal/config"
)

var update = flag.Bool("update", false, "write the definitions in testdata anew")

// Each archive in testdata has the files of a machine and, in the file "want", what becomes of the unit that its comment
// names.
func TestUnits(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal(archives, err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			unit, _, _ := strings.Cut(string(archive.Comment), "\n")
			fsys, want := fstest.MapFS{}, ""
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				fsys[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
			}
			got := ""
			if u, err := FromUnit(fsys, unit, ""); err != nil {
				got = "error: " + err.Error() + "\n"
			} else {
				got = u.Definition
				if _, err := config.Parse(u.Container+".yaml", []byte(got)); err != nil {
					t.Errorf("it is refused: %v", err)
				}
			}
			if *update {
				for i := range archive.Files {
					if archive.Files[i].Name == "want" {
						archive.Files[i].Data = []byte(got)
					}
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(got, "s3cret") {
				t.Error("a value of the environment is in the definition")
			}
		})
	}
}

func FuzzFromUnit(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archives {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(archive.Files[0].Data), "")
	}
	f.Add("[Service]\nExecStart=runc run -b /a \"\\x0a\" ; runc\nStandardOutput=a\\nb", "[Service]\nRestartSec=1\n")
	f.Fuzz(func(t *testing.T, text, dropIn string) {
		fsys := fstest.MapFS{
			"etc/systemd/system/a@.service":              {Data: []byte(text)},
			"etc/systemd/system/a@b.service.d/more.conf": {Data: []byte(dropIn)},
		}
		u, err := FromUnit(fsys, "a@b.service", "")
		if err != nil {
			return
		}
		if _, err := config.Parse(u.Container+".yaml", []byte(u.Definition)); err != nil {
			t.Errorf("%v\n%s", err, u.Definition)
		}
	})
}

func TestTimeSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"15": 15 * time.Second, "1min 30s": 90 * time.Second, "1h20": time.Hour + 20*time.Second, "500ms": 500 * time.Millisecond,
		"2.5s": 2500 * time.Millisecond, "0": 0, "infinity": forever, "9999y": forever, "3 weeks": 21 * 24 * time.Hour, "5 M": 5 * 2629800 * time.Second,
		"100us": 100 * time.Microsecond, "1 d 1 h": 25 * time.Hour,
	} {
		if got, err := timeSpan(text); err != nil || got != want {
			t.Errorf("%q: got %s %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "5 parsecs", "-1", "1..2s", ".5", "5s x"} {
		if got, err := timeSpan(text); err == nil {
			t.Errorf("%q: got %s", text, got)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		`a  b	c`: {"a", "b", "c"}, `"a b" 'c d'`: {"a b", "c d"}, `--x="a b"c`: {"--x=a bc"}, `a\ b`: {`a\ b`}, `a\x20b`: {"a b"},
		`"a\"b" 'it''s'`: {`a"b`, "its"}, `""`: {""}, `\u00e9\101\t`: {"éA\t"}, `"open`: {"open"}, ``: nil, `a\sb`: {"a b"},
	} {
		got := splitWords(line)
		if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestSpecifiers(t *testing.T) {
	u := &unit{name: `x-y@a-b\x20c.service`, file: "/etc/systemd/system/x-y@.service"}
	for text, want := range map[string]string{
		"%n": u.name, "%p %P": "x-y x/y", "%i|%I": `a-b\x20c|a/b c`, "%j": "y", "100%%": "100%", "%t/x": "/run/x", "%f": "/a/b c", "%": "%",
	} {
		if got, err := u.specifiers(text); err != nil || got != want {
			t.Errorf("%s: got %q %v, want %q", text, got, err, want)
		}
	}
	if got, err := u.specifiers("%m"); err == nil {
		t.Errorf("%%m: got %q", got)
	}
}
