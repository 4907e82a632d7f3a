package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

var defaults = Settings{
	Containers: "/etc/runcsup/containers.d", StateDir: "/var/lib/runcsup", RunDir: "/run/runcsup", LogDir: "/var/log/runcsup",
	Runtime: "runc", CgroupManager: "auto", SocketGroup: "", ReadyWhen: "settled", OnTerminate: "auto", LogLevel: slog.LevelInfo, LogFormat: "text",
	Watch: true, Starts: 0, StartTimeout: time.Minute, RescanInterval: 30 * time.Second,
	WebListenAddresses: []string{"127.0.0.1:10920"},
}

func TestSettings(t *testing.T) {
	src := `
containers: /srv/defs/
stateDir: /srv/state
runDir: /run/other
logDir: /srv/log
runtime: /usr/bin/crun
cgroupManager: cgroupfs
socketGroup: adm
readyWhen: running
onTerminate: leave
logLevel: debug
logFormat: json
watch: false
starts: 7
startTimeout: 90s
rescanInterval: 1min
webListenAddresses: [":9999", "[::1]:10920"]
webConfigFile: /etc/runcsup/web.yaml
`
	got, err := ParseSettings("runcsup.yaml", []byte(src))
	want := Settings{
		Containers: "/srv/defs", StateDir: "/srv/state", RunDir: "/run/other", LogDir: "/srv/log", Runtime: "/usr/bin/crun",
		CgroupManager: CgroupFS, SocketGroup: "adm", ReadyWhen: ReadyRunning, OnTerminate: TerminateLeave, LogLevel: slog.LevelDebug, LogFormat: LogJSON,
		Watch: false, Starts: 7, StartTimeout: 90 * time.Second, RescanInterval: time.Minute,
		WebListenAddresses: []string{":9999", "[::1]:10920"}, WebConfigFile: "/etc/runcsup/web.yaml",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	if got := DefaultSettings(); !reflect.DeepEqual(got, defaults) {
		t.Errorf("defaults: %+v", got)
	}
	for _, src := range []string{"", "# nothing\n", "---\n", "{}\n"} {
		if got, err := ParseSettings("runcsup.yaml", []byte(src)); err != nil || !reflect.DeepEqual(got, defaults) {
			t.Errorf("%q: %+v, %v", src, got, err)
		}
	}
}

func TestLoadSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runcsup.yaml")
	if got, err := LoadSettings(file, false); err != nil || !reflect.DeepEqual(got, defaults) {
		t.Errorf("optional and missing: %+v, %v", got, err)
	}
	if _, err := LoadSettings(file, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	write(t, file, "runtime: crun\n")
	if got, err := LoadSettings(file, true); err != nil || got.Runtime != "crun" || got.RunDir != "/run/runcsup" {
		t.Errorf("%+v, %v", got, err)
	}
	must(t, os.Remove(file))
	must(t, os.Mkdir(file, 0o700))
	if _, err := LoadSettings(file, false); err == nil {
		t.Error("a directory was taken for a file")
	}
}

// Of a file with mistakes what is good counts, unless that would be a mixture that cannot be.
func TestLoadGoodSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runcsup.yaml")
	if got := LoadGoodSettings(file); !reflect.DeepEqual(got, defaults) {
		t.Errorf("no file: %+v", got)
	}
	for name, c := range map[string]struct {
		src  string
		want func(s *Settings)
	}{
		"good":           {"runDir: /run/other", func(s *Settings) { s.RunDir = "/run/other" }},
		"an unknown key": {"runDir: /run/other\nruntme: crun\n", func(s *Settings) { s.RunDir = "/run/other" }},
		"a bad value":    {"runDir: /run/other\nstarts: many\n", func(s *Settings) { s.RunDir = "/run/other" }},
		"no path":        {"runDir: /run/other\nstateDir: there\n", func(s *Settings) { s.RunDir = "/run/other" }},
		"a mixture":      {"runDir: /var/lib/runcsup\nruntime: crun\n", func(*Settings) {}},
		"no YAML":        {"runDir: [", func(*Settings) {}},
	} {
		if err := os.WriteFile(file, []byte(c.src), 0o600); err != nil {
			t.Fatal(err)
		}
		want := defaults
		c.want(&want)
		if got := LoadGoodSettings(file); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want)
		}
	}
}

func TestSettingsProblems(t *testing.T) {
	for src, want := range map[string]string{
		"runtme: crun\n":                              `s.yaml:1:1: unknown key "runtme", did you mean "runtime"?`,
		"runtime: ./runc\n":                           `s.yaml:1:10: "runtime" must be a name or an absolute path, not "./runc"`,
		"runtime:\n":                                  `s.yaml:1:1: "runtime" has no value`,
		"stateDir: var\n":                             `s.yaml:1:11: "stateDir" must be an absolute path, not "var"`,
		"stateDir: /\n":                               `s.yaml:1:11: "stateDir" must be an absolute path below /, not "/"`,
		"stateDir: /run/runcsup/\n":                   `s.yaml:1:11: "stateDir" and "runDir" are the same directory`,
		"a: b\n":                                      `s.yaml:1:1: unknown key "a"`,
		"cgroupManager: cgroups\n":                    `s.yaml:1:16: "cgroupManager" must be auto, systemd or cgroupfs, not "cgroups"`,
		"readyWhen: always\n":                         `s.yaml:1:12: "readyWhen" must be settled or running, not "always"`,
		"onTerminate: restart\n":                      `s.yaml:1:14: "onTerminate" must be auto, stop or leave, not "restart"`,
		"logLevel: INFO\n":                            `s.yaml:1:11: "logLevel" must be debug, info, warn or error, not "INFO"`,
		"logFormat: logfmt\n":                         `s.yaml:1:12: "logFormat" must be text or json, not "logfmt"`,
		"watch: on\n":                                 `s.yaml:1:8: "watch" must be true or false, not "on"`,
		"starts: -1\n":                                `s.yaml:1:9: "starts" must be a whole number from 0 to 1000, not "-1"`,
		"startTimeout: 60\n":                          `s.yaml:1:15: "startTimeout" must be a duration like 15s, 5m or 1h30m, not "60"`,
		"startTimeout: 0s\n":                          `s.yaml:1:15: "startTimeout" must be more than 0s`,
		"socketGroup: a b\n":                          `s.yaml:1:14: "socketGroup" must be the name or number of a group, not "a b"`,
		"- a\n":                                       `s.yaml:1:1: settings must be a mapping, not a list`,
		"watch: true\nwatch: false\n":                 `s.yaml:2:1: key "watch" is there twice, first on line 1`,
		"webListenAddresses: [10920]\n":               `s.yaml:1:22: "webListenAddresses[0]" must be host:port, not a number`,
		"webListenAddresses: [localhost]\n":           `s.yaml:1:21: "webListenAddresses" must be host:port or :port, not "localhost"`,
		"webListenAddresses: [\":99999\"]\n":          `s.yaml:1:21: "webListenAddresses" must be host:port or :port, not ":99999"`,
		"webConfigFile: web.yaml\n":                   `s.yaml:1:16: "webConfigFile" must be an absolute path, not "web.yaml"`,
		"runDir: /" + strings.Repeat("a", 100) + "\n": `s.yaml:1:9: "runDir" is too long for a socket in it: at most 94 characters`,
	} {
		_, err := ParseSettings("s.yaml", []byte(src))
		var all Errors
		if !errors.As(err, &all) || len(all) != 1 {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := all[0].Summary(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// Flags change settings after the file was read.
func TestValidateSettings(t *testing.T) {
	if err := DefaultSettings().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Settings){
		`"runDir" must be an absolute path below /, not "run"`:             func(s *Settings) { s.RunDir = "run" },
		`"containers" and "logDir" are the same directory`:                 func(s *Settings) { s.LogDir = s.Containers + "/" },
		`"cgroupManager" must be auto, systemd or cgroupfs, not "x"`:       func(s *Settings) { s.CgroupManager = "x" },
		`"runtime" must be a name or an absolute path, not ""`:             func(s *Settings) { s.Runtime = "" },
		`"socketGroup" must be the name or number of a group, not "a\nb"`:  func(s *Settings) { s.SocketGroup = "a\nb" },
		`"webListenAddresses" must be host:port or :port, not ":http"`:     func(s *Settings) { s.WebListenAddresses = []string{":1", ":http"} },
		"\"runDir\" is too long for a socket in it: at most 94 characters": func(s *Settings) { s.RunDir = "/" + strings.Repeat("x", 94) },
	} {
		s := DefaultSettings()
		change(&s)
		if err := s.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSocketGID(t *testing.T) {
	root, err := user.LookupGroupId("0")
	must(t, err)
	for group, want := range map[string]int{"0": 0, "4711": 4711, root.Name: 0} {
		s := DefaultSettings()
		s.SocketGroup = group
		if gid, err := s.SocketGID(); err != nil || gid != want {
			t.Errorf("%s: %d, %v", group, gid, err)
		}
	}
	s := DefaultSettings()
	s.SocketGroup = "no-such-group"
	if _, err := s.SocketGID(); err == nil {
		t.Error("a group that does not exist was found")
	}
	s.SocketGroup = ""
	want := 0
	if g, err := user.LookupGroup("runcsup"); err == nil {
		want, err = strconv.Atoi(g.Gid)
		must(t, err)
	}
	if gid, err := s.SocketGID(); err != nil || gid != want {
		t.Errorf("default: %d, %v", gid, err)
	}
}
