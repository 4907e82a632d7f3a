package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/records"
)

// CheckStateFlag makes `runcsup daemon` do nothing but say, as JSON, what CheckState returns.
const CheckStateFlag = "check-state"

// Program is how a daemon is executed.
type Program struct {
	Path string // absolute; what is there may have been replaced since
	Args []string
}

// ThisProgram is the one that runs, by the name it was started by: an upgrade puts the new one there, and a link in that name may
// lead elsewhere by then.
func ThisProgram() (Program, error) {
	p := Program{Args: os.Args}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return p, fmt.Errorf("cannot tell which program this is: %w", err)
	}
	named, err := exec.LookPath(os.Args[0])
	if err == nil {
		named, err = filepath.Abs(named)
	}
	if err == nil {
		if info, statErr := os.Stat(named); statErr == nil && os.SameFile(own, info) {
			p.Path = named
			return p, nil
		}
	}
	// Started under a false name, or the file was replaced in the moment since then.
	if p.Path, err = os.Executable(); err != nil {
		return p, fmt.Errorf("cannot tell which program this is: %w", err)
	}
	return p, nil
}

// StateCheck is what a program says of itself that might be executed in the place of a running daemon.
type StateCheck struct {
	Program string              `json:"program"` // always "runcsup"
	Version control.VersionInfo `json:"version"`
	// Handover is the newest version of a Handover that it reads; it reads all before, too.
	Handover int    `json:"handover"`
	StateDir string `json:"stateDir"`
	RunDir   string `json:"runDir"`
}

// CheckState tells whether this program could go on from a daemon with the same command line, as far as that can be told without
// touching anything: an error is that its settings are wrong or that it cannot read the state.
func CheckState(s config.Settings, version control.VersionInfo) (StateCheck, error) {
	check := StateCheck{Program: "runcsup", Version: version, Handover: handoverVersion, StateDir: s.StateDir, RunDir: s.RunDir}
	return check, records.CheckVersions(recordsDir(s))
}

// checkTimeout is for a program to say whether it can go on, on a machine that has much else to do. Nothing waits for it but who
// asked.
const checkTimeout = 30 * time.Second

// checkProgram asks the program on disk whether it can go on from this daemon. It returns what that is made of, to be compared
// with what is executed in the end.
func (d *Daemon) checkProgram(ctx context.Context) (StateCheck, os.FileInfo, error) {
	path := d.program.Path
	refuse := func(format string, args ...any) (StateCheck, os.FileInfo, error) {
		return StateCheck{}, nil, &control.Error{Code: control.CodeRefused, Message: fmt.Sprintf(format, args...),
			Hint: "the daemon runs on as it is; install a runcsup that can take over, or restart the service"}
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return refuse("there is no program to be executed: %v", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return refuse("%s is not an executable file", path)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.checkTimeout, fmt.Errorf("no answer within %s", d.checkTimeout))
	defer cancel()
	var stdout, stderr limitedBuffer
	cmd := exec.CommandContext(ctx, path, append(slices.Clone(d.program.Args[1:]), "--"+CheckStateFlag)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whoever it has left; an error is that there is nobody
	}
	switch {
	case ctx.Err() != nil:
		return refuse("%s does not say whether it can take over: %v", path, context.Cause(ctx))
	case err != nil:
		return refuse("%s cannot take over: %s", path, firstOf(stderr.text(), err.Error()))
	}
	var check StateCheck
	if err := json.Unmarshal(stdout.Bytes(), &check); err != nil || check.Program != "runcsup" {
		return refuse("%s is no runcsup that can take over: it says %q", path, stdout.text())
	}
	switch {
	case check.Handover < handoverVersion:
		return refuse("%s (%s) is too old to take over from this daemon (%s)", path, check.Version.Version, d.version.Version)
	case check.StateDir != d.settings.StateDir || check.RunDir != d.settings.RunDir:
		return refuse("the settings now name other directories: %s and %s instead of %s and %s", check.StateDir, check.RunDir, d.settings.StateDir, d.settings.RunDir)
	}
	after, err := os.Stat(path)
	if err != nil || !unchanged(info, after) {
		return refuse("%s was changed just now; try again when it is installed", path)
	}
	return check, info, nil
}

// unchanged tells whether a file is what it was.
func unchanged(before, after os.FileInfo) bool {
	return os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime())
}

// isRunning tells whether a program is the one that runs.
func isRunning(path string) bool {
	own, ownErr := os.Stat("/proc/self/exe")
	there, err := os.Stat(path)
	return errors.Join(ownErr, err) == nil && os.SameFile(own, there)
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// limitedBuffer keeps the beginning of what a program says, which may be anything.
type limitedBuffer struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	const most = 64 << 10
	if room := most - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// text is an excerpt on one line.
func (b *limitedBuffer) text() string {
	const most = 500
	s := strings.Join(strings.Fields(strings.ToValidUTF8(b.String(), "?")), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
