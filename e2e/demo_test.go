package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*exec.Cmd){
		"by itself": func(*exec.Cmd) {},
		"by Ctrl-C": func(cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGINT) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			cmd := exec.Command(binary, "demo", "--runtime", n.runtime)
			if name == "by itself" {
				cmd.Args = append(cmd.Args, "--for", "8s")
			}
			cmd.Env = append(cleanEnv(), "TMPDIR="+n.dir)
			outFile := filepath.Join(n.dir, "out")
			out, err := os.Create(outFile)
			check(t, err)
			defer out.Close()
			var stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = out, &stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			check(t, cmd.Start())
			running := regexp.MustCompile(`(?m)^web +yes +running`)
			eventually(t, patience, "the demo's web server runs", func() error {
				if text := readFile(t, outFile); !running.MatchString(text) {
					return errText(text)
				}
				return nil
			})
			end(cmd)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, stderr.String())
			}
			text := readFile(t, outFile)
			for _, want := range []string{"(?m)^web ", "(?m)^worker ", "(?m)^broken ", "RUNCSUP_SOCKET=", "Everything is gone"} {
				if !regexp.MustCompile(want).MatchString(text) {
					t.Errorf("no match of %q in\n%s", want, text)
				}
			}
			match := regexp.MustCompile(`A daemon runs in (\S+),`).FindStringSubmatch(text)
			if match == nil || !strings.HasPrefix(match[1], n.dir+"/") {
				t.Fatalf("it does not say where its daemon runs:\n%s", text)
			}
			if left := leftovers(match[1]); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if _, err := os.Stat(match[1]); err == nil {
				t.Errorf("%s is left", match[1])
			}
		})
	}
}

type errText string

func (e errText) Error() string { return string(e) }
