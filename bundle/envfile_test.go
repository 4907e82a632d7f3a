package bundle

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The expected values are what systemd.exec(5) says of EnvironmentFile=.
func TestEnvFile(t *testing.T) {
	tests := map[string]struct {
		text string
		want string // NAME=VALUE, separated by |
	}{
		"plain":                      {"A=1\nB=two words\n", "A=1|B=two words"},
		"no end of line":             {"A=1", "A=1"},
		"Windows":                    {"\ufeffA=1\r\nB=2\r\n", "A=1|B=2"},
		"comments and blank lines":   {"# A=0\n\n  ; B=0\n \t\nC=3 # not a comment\n", "C=3 # not a comment"},
		"blanks around":              {"  A = 1 \t\nB=  x  y  \n", "A=1|B=x  y"},
		"empty":                      {"A=\nB= \nC=''\n", "A=|B=|C="},
		"equals in the value":        {"A=b=c\n", "A=b=c"},
		"single quotes":              {`A=' a "b" \n $x '` + "\n", `A= a "b" \n $x `},
		"double quotes":              {`A=" a 'b' \n \"q\" \\ \$x "` + "\n", `A= a 'b' \n "q" \ $x `},
		"lines in quotes":            {"A='x\ny'\nB=\"x\ny\"\n", "A=x\ny|B=x\ny"},
		"continued":                  {"A=x \\\n  y\nB=\"x\\\ny\"\n", "A=x   y|B=xy"},
		"quotes beside quotes":       {`A="a" 'b'c` + "\n", "A=abc"},
		"quote inside a value":       {"A=it's\n", "A=it's"},
		"backslash outside quotes":   {`A=a\ b\\c\"` + "\n", `A=a b\c"`},
		"protected blank at the end": {"A=x\\ \nB=2\n", "A=x |B=2"},
		"comment with a backslash":   {"# x \\\nA=1\n", "A=1"},
		"later wins":                 {"A=1\nA=2\n", "A=1|A=2"},
		"odd names":                  {"spring.url=x\nA-B=y\n", "spring.url=x|A-B=y"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			list, line, err := parseEnv([]byte(test.text))
			if err != nil {
				t.Fatalf("line %d: %v", line, err)
			}
			var got []string
			for _, a := range list {
				got = append(got, a.name+"="+a.value)
			}
			if strings.Join(got, "|") != test.want {
				t.Errorf("%q, want %q", strings.Join(got, "|"), test.want)
			}
		})
	}
}

func TestBrokenEnvFile(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no equals":     {"A=1\ns3cret\n", ":2: no = in the line"},
		"no name":       {"A=1\n\n=s3cret\n", ":3: the name of a variable is empty"},
		"export":        {"export A=s3cret\n", `:1: "export" is for shells`},
		"blank in name": {"A B=s3cret\n", `:1: "A B" cannot be the name`},
		"open quote":    {"A=1\nB='s3cret\nC=s3cret\n", ":2: B: the quote ' is never closed"},
		"NUL":           {"A=s3cret\x00\n", ":1: A: the value has a NUL character"},
		"not UTF-8":     {"A='x\ny'\nB=s3cret\xff\n", ":3: B: the value is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "env")
			write(t, path, test.text)
			b := newBuilder(t)
			o := Options{Name: "c1", Rootfs: t.TempDir(), Command: []string{"x"}, EnvFiles: []string{path}}
			_, err := b.Plan(t.Context(), o)
			wantError(t, err, "envFile[0]: "+path+test.want)
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the value is in the error: %v", err)
			}
		})
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("A=1\n# x\nB='a\nb' \"c\\\nd\"\n"))
	f.Add([]byte("A=\\\n\\\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, line, err := parseEnv(data)
		if err != nil {
			if limit := strings.Count(string(data), "\n") + 1; line < 1 || line > limit {
				t.Errorf("%v in line %d of %d", err, line, limit)
			}
			return
		}
		for _, a := range list {
			if err := checkEnvName(a.name); err != nil {
				t.Error(err)
			}
			if err := checkEnvValue(a.value); err != nil {
				t.Error(err)
			}
		}
	})
}

// A FIFO in an env file's place is refused; reading it would never end.
func TestEnvFileIsAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readEnvFile(path)
	wantError(t, err, path, "not a regular file")
}
