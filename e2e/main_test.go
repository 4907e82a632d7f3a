package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runcsup/runcsup/e2e/machine"
)

// What the guardian tells the process that runs the tests.
const baseEnv = "RUNCSUP_E2E_BASE"

var (
	// baseDir has everything that the tests make, one directory per node.
	baseDir string
	// binary is the program under test.
	binary string
)

func TestMain(m *testing.M) {
	machine.Main()
	if baseDir = os.Getenv(baseEnv); baseDir == "" {
		code, err := guardian()
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = 1
		}
		os.Exit(code)
	}
	_ = os.Unsetenv(baseEnv)
	binary = os.Getenv("RUNCSUP_BINARY")
	go outliveNobody()
	os.Exit(m.Run())
}

// guardian runs the tests in a process of their own and cleans up after them, also when they were killed, panicked or
// took too long.
func guardian() (code int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("these tests start containers: run them as root")
	}
	base, err := os.MkdirTemp("", "runcsup-e2e-")
	if err != nil {
		return 0, err
	}
	// Machines of runs that were killed with all of their processes.
	if err := machine.Sweep(context.Background(), ""); err != nil {
		return 0, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, machine.Sweep(ctx, filepath.Base(base)), sweep(base))
	}()
	if err := os.Chmod(base, 0o755); err != nil { // containers of other users look into it
		return 0, err
	}
	program, err := programUnderTest(base)
	if err != nil {
		return 0, err
	}
	lifeline, held, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer held.Close()
	// Most tests wait most of the time.
	cmd := exec.Command("/proc/self/exe", append([]string{"-test.parallel=6"}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), baseEnv+"="+base, "RUNCSUP_BINARY="+program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{lifeline}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
			time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		case err := <-ended:
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				return 0, err
			}
			if code = cmd.ProcessState.ExitCode(); code < 0 {
				code = 1
			}
			return code, nil
		}
	}
}

// outliveNobody ends the tests when the guardian was killed.
func outliveNobody() {
	const lifeline = 3
	syscall.CloseOnExec(lifeline)
	_, _ = io.Copy(io.Discard, os.NewFile(lifeline, "lifeline"))
	_ = sweep(baseDir)
	os.Exit(1)
}

// programUnderTest is the binary, which is built where nobody named one.
func programUnderTest(base string) (string, error) {
	if named := os.Getenv("RUNCSUP_BINARY"); named != "" {
		file, err := filepath.Abs(named)
		if err == nil {
			_, err = os.Stat(file)
		}
		return file, err
	}
	tool := os.Getenv("GO")
	if tool == "" {
		tool = "go"
	}
	file := filepath.Join(base, "bin", "runcsup")
	cmd := exec.Command(tool, "build", "-buildvcs=false", "-trimpath", "-o", file, "../cmd/runcsup")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the program: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return file, nil
}
