package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"

	gorunc "github.com/containerd/go-runc"
)

// logTail is how much of a call's log is looked through for its last error.
const logTail = 64 << 10

// call makes one runtime call for a container: do gets a runtime of its own, with a log file of its own. The error says
// "runc run: " and what the runtime's log, else its output, else its exit status says.
func (r *Runtime) call(ctx context.Context, id, verb string, do func(context.Context, *gorunc.Runc) error) error {
	if err := r.lookup(); err != nil {
		return err
	}
	dir, err := r.makeCallDir(id)
	if err != nil {
		return err
	}
	// A name of its own: what is left of an earlier call may still write to the earlier file.
	f, err := os.CreateTemp(dir, verb+"-*.log")
	if err != nil {
		return fmt.Errorf("cannot make a log file for the runtime: %w", err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	rc := gorunc.Runc{
		Command: r.cfg.Command, Root: r.cfg.Root, Log: f.Name(), LogFormat: gorunc.JSON, Setpgid: true,
		SystemdCgroup: r.cgroupPathOf(id).systemd(),
	}
	begun := time.Now()
	err = do(ctx, &rc)
	r.observe(ctx, verb, begun, err)
	if err == nil {
		return nil
	}
	err = r.explain(ctx, verb, lastError(f), err)
	// The process group is dead; whoever left it would go on working on the container.
	kctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.death)
	defer cancel()
	return errors.Join(err, r.endCalls(kctx, id))
}

func (r *Runtime) observe(ctx context.Context, verb string, begun time.Time, err error) {
	if r.cfg.Observer == nil {
		return
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	r.cfg.Observer.ObserveRuntimeCall(verb, time.Since(begun), err)
}

func (r *Runtime) makeCallDir(id string) (string, error) {
	dir := filepath.Join(r.cfg.CallDir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("cannot make a directory for runtime calls: %w", err)
	}
	return dir, nil
}

// lookup tells in the user's words that there is no runtime.
func (r *Runtime) lookup() error {
	const hint = "install runc or crun, or name an OCI runtime with --runtime"
	_, err := exec.LookPath(r.cfg.Command)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("OCI runtime %q is not in PATH; %s", r.cfg.Command, hint)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("OCI runtime %q does not exist; %s", r.cfg.Command, hint)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("OCI runtime %q is not an executable file; %s", r.cfg.Command, hint)
	}
	return fmt.Errorf("cannot use OCI runtime %q: %w; %s", r.cfg.Command, err, hint)
}

func (r *Runtime) explain(ctx context.Context, verb, logged string, err error) error {
	what := r.name() + " " + verb
	if ctx.Err() != nil {
		// The runtime was killed for it; whatever it said before is of no interest.
		return fmt.Errorf("%s: did not end in time and was killed: %w", what, context.Cause(ctx))
	}
	var start *os.PathError
	if errors.As(err, &start) && errors.Is(err, syscall.ENOEXEC) {
		return fmt.Errorf("%s: %q is not a program for this machine: %w", what, r.cfg.Command, err)
	}
	if logged != "" {
		logged = strings.TrimPrefix(logged, "runc "+verb+" failed: ") // runc names itself already
		return fmt.Errorf("%s: %s", what, logged)
	}
	// go-runc's text is "<command> did not terminate successfully: exit status 1: <output>".
	text := strings.TrimPrefix(err.Error(), r.cfg.Command+" did not terminate successfully: ")
	return fmt.Errorf("%s: %s (the runtime gave no reason)", what, excerpt(strings.TrimRight(text, ": \n")))
}

// lastError is the message of the last error in a runtime's JSON log, or empty.
func lastError(f io.ReadSeeker) string {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	if _, err := f.Seek(max(0, size-logTail), io.SeekStart); err != nil {
		return ""
	}
	data, err := io.ReadAll(io.LimitReader(f, logTail))
	if err != nil {
		return ""
	}
	return lastErrorLine(data)
}

func lastErrorLine(data []byte) string {
	var last string
	for line := range bytes.Lines(data) {
		var entry struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
		}
		if json.Unmarshal(line, &entry) != nil {
			continue // cut off, or not the runtime's
		}
		if (entry.Level == "error" || entry.Level == "fatal") && strings.TrimSpace(entry.Msg) != "" {
			last = entry.Msg
		}
	}
	return excerpt(last)
}

// excerpt makes one printable line of at most 500 bytes from what a program said.
func excerpt(s string) string {
	const most = 500
	s = strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, strings.TrimSpace(s))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
