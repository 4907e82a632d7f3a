package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/notify"
	"github.com/runcsup/runcsup/internal/records"
	"github.com/runcsup/runcsup/supervisor"
)

// openDescriptor is one that children inherit, as it is right before an execve.
func openDescriptor(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func closesOnExec(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.FD_CLOEXEC != 0
}

func TestHandoverIsTaken(t *testing.T) {
	h := &Handover{Version: handoverVersion, Reexecs: 3, Error: "why", Listener: openDescriptor(t), Locks: map[string]int{"/run/x": openDescriptor(t)},
		Descriptors: []notify.Kept{{Name: "out.npd", FD: openDescriptor(t), Stored: true}}}
	fd, err := h.write()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(handoverEnv, strconv.Itoa(fd))
	got, err := TakeHandover()
	if err != nil || got == nil {
		t.Fatal(got, err)
	}
	defer got.close()
	if got.Reexecs != 3 || got.Error != "why" || len(got.fds()) != 3 || got.Descriptors[0] != h.Descriptors[0] {
		t.Errorf("got %+v, want %+v", got, h)
	}
	for _, fd := range got.fds() {
		if !closesOnExec(t, fd) {
			t.Errorf("a child would inherit descriptor %d", fd)
		}
	}
	if _, there := os.LookupEnv(handoverEnv); there {
		t.Error("a child would take it for its own")
	}
	if again, err := TakeHandover(); again != nil || err != nil {
		t.Errorf("taken twice: %+v, %v", again, err)
	}
	if f := got.takeLock("/run/x"); f == nil || got.takeLock("/run/x") != nil || f.Close() != nil {
		t.Error("a lock is not taken once")
	}
	if f := got.takeListener(); f == nil || got.takeListener() != nil || f.Close() != nil {
		t.Error("the listener is not taken once")
	}
}

func TestHandoverThatCannotBeRead(t *testing.T) {
	for name, content := range map[string]string{
		"of the future": `{"version":2,"listener":-1}`, "nothing": ``, "rubbish": `rubbish`, "no version": `{}`, "cut": `{"version":1,"lis`,
	} {
		fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
		if err == nil {
			_, err = unix.Pwrite(fd, []byte(content), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(handoverEnv, strconv.Itoa(fd))
		if h, err := TakeHandover(); err == nil {
			t.Errorf("%s: got %+v", name, h)
		}
	}
	for _, value := range []string{"", "x", "-1", "0", "2"} {
		t.Setenv(handoverEnv, value)
		if h, err := TakeHandover(); err == nil {
			t.Errorf("%q: got %+v", value, h)
		}
	}
}

// A program that cannot be executed changes nothing: what was to be handed on is as it was.
func TestExecuteFails(t *testing.T) {
	h := &Handover{Version: handoverVersion, Listener: -1, Descriptors: []notify.Kept{{Name: "out.npd", FD: openDescriptor(t)}}}
	defer h.close()
	unix.CloseOnExec(h.Descriptors[0].FD)
	missing := filepath.Join(t.TempDir(), "missing")
	err := h.exec(Program{Path: missing, Args: []string{missing}}, notify.Environment{Socket: "/run/n"})
	if err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
	if !closesOnExec(t, h.Descriptors[0].FD) {
		t.Error("children would inherit what was to be handed on")
	}
	if _, there := os.LookupEnv("NOTIFY_SOCKET"); there {
		t.Error("the environment was changed")
	}
}

func TestThisProgram(t *testing.T) {
	real, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "runcsup")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	args := os.Args
	defer func() { os.Args = args }()
	for argv0, want := range map[string]string{real: real, link: link, "-false-name": real, "/bin/sh": real} {
		os.Args = []string{argv0, "daemon"}
		if p, err := ThisProgram(); err != nil || p.Path != want || len(p.Args) != 2 {
			t.Errorf("started as %s: %+v, %v, want %s", argv0, p, err, want)
		}
	}
}

// A program that cannot read the state says so, and says which file of it.
func TestCheckState(t *testing.T) {
	s := config.DefaultSettings()
	s.StateDir = t.TempDir()
	check, err := CheckState(s, control.VersionInfo{Version: "1.2.3"})
	if err != nil || check.Program != "runcsup" || check.Version.Version != "1.2.3" || check.Handover != handoverVersion || check.StateDir != s.StateDir {
		t.Errorf("without any state: %+v, %v", check, err)
	}
	store, err := records.New(recordsDir(s))
	if err != nil {
		t.Fatal(err)
	}
	newer := supervisor.Record{Version: supervisor.RecordVersion + 1, BootID: "boot", State: supervisor.StateRunning}
	if err := store.Save("npd", newer, false); err != nil {
		t.Fatal(err)
	}
	_, err = CheckState(s, control.VersionInfo{})
	if err == nil || !strings.Contains(err.Error(), "npd.json") || !strings.Contains(err.Error(), "newer runcsup") {
		t.Errorf("a record of a newer one: %v", err)
	}
	if _, err := json.Marshal(check); err != nil {
		t.Error(err)
	}
}

// Only a runcsup that says that it can take over may; whatever else is there is refused in time, and leaves no process.
func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "runcsup")
	d := &Daemon{program: Program{Path: file, Args: []string{file, "daemon", "--config", "x"}}}
	d.settings.StateDir, d.settings.RunDir = "/s", "/r"
	answer := func(handover int, state, run string) string {
		return fmt.Sprintf("echo '{\"program\":\"runcsup\",\"version\":{\"version\":\"2\"},\"handover\":%d,\"stateDir\":%q,\"runDir\":%q}'", handover, state, run)
	}
	for name, c := range map[string]struct{ script, want string }{
		"good":              {"[ \"$*\" = 'daemon --config x --check-state' ] && " + answer(handoverVersion, "/s", "/r"), ""},
		"of the future":     {answer(handoverVersion+1, "/s", "/r"), ""},
		"too old":           {answer(handoverVersion-1, "/s", "/r"), "is too old"},
		"other directories": {answer(handoverVersion, "/other", "/r"), "/other"},
		"fails":             {"echo cannot read >&2; exit 1", "cannot read"},
		"fails in silence":  {"exit 3", "exit status 3"},
		"says nothing":      {"exit 0", "is no runcsup"},
		"another program":   {"echo '{\"program\":\"other\"}'", "is no runcsup"},
		"talks for ever":    {"exec yes", "no answer within"},
		"hangs":             {"exec sleep 1000", "no answer within"},
		"leaves a child":    {"sleep 1000 & " + answer(handoverVersion, "/s", "/r"), "does not"},
		"replaces itself":   {"touch -d '1 hour ago' \"$0\"; " + answer(handoverVersion, "/s", "/r"), "was changed just now"},
	} {
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		d.checkTimeout = time.Minute
		if name == "talks for ever" || name == "hangs" || name == "leaves a child" {
			d.checkTimeout = 500 * time.Millisecond // it does pass
		}
		check, info, err := d.checkProgram(t.Context())
		switch {
		case c.want == "" && (err != nil || check.Version.Version != "2" || info == nil):
			t.Errorf("%s: %+v, %v", name, check, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
