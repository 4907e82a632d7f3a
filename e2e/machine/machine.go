// Package machine boots a real systemd as process 1 of a machine made of namespaces, in about half a second, for tests that
// need one: services, their watchdog and descriptor store, scopes, the journal, packages.
//
// A machine sees the root file system of where the tests run through an overlay: programs and packages that are there are
// there inside as well, and what the machine writes is in memory and gone with it. /run, /dev, /tmp, the unit files in
// /etc, the network (loopback only), the boot id and the cgroups are its own. The cgroup hierarchies are those that are
// mounted outside: v1, hybrid or pure v2.
//
// A warden, a process of the test binary outside of the namespaces, owns each machine. It removes every trace when Close
// says so and when the test's process is gone, however it went. If the warden itself is killed the machine dies with it,
// and the next Sweep removes what is left: cgroups and a directory under /run/runcsup-machines.
package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what to boot.
type Options struct {
	// Name is the host name and part of the names of the cgroups: letters, digits and "-", at most 60.
	Name string
}

// Machine is a booted machine. Its methods may be called by one goroutine at a time, except for Command and Exec.
type Machine struct {
	name     string
	here     bool // see Here
	warden   *exec.Cmd
	commands io.WriteCloser // an end of file is the command to remove everything
	reports  *bufio.Reader
	stderr   *tailBuffer

	closing sync.Once
	closed  error

	mu     sync.Mutex
	leader int // process 1, as seen from here; 0 while the machine is off
}

// report is what the warden says, as a line of JSON.
type report struct {
	Leader int    `json:"leader,omitempty"` // a boot has begun
	Off    string `json:"off,omitempty"`    // the machine went off, how
	Error  string `json:"error,omitempty"`
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9-]{1,60}$`)

// Boot boots a machine and returns when its systemd has started everything. The caller closes it.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("cannot boot a machine: needs root")
	}
	if !validName.MatchString(o.Name) {
		return nil, fmt.Errorf("cannot boot machine %q: its name takes letters, digits and -", o.Name)
	}
	if systemdProgram() == "" {
		return nil, errors.New("cannot boot a machine: the package systemd is not installed")
	}
	m := &Machine{name: o.Name, stderr: &tailBuffer{max: 8 << 10}}
	if err := m.startWarden(); err != nil {
		return nil, fmt.Errorf("cannot boot machine %q: %w", o.Name, err)
	}
	err := m.nextBoot()
	if err == nil {
		err = m.waitBooted(ctx)
	}
	if err != nil {
		err = fmt.Errorf("cannot boot machine %q: %w", o.Name, err)
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Here returns the machine on which the tests themselves run, for tests that run in one of their own. It cannot be reset,
// rebooted or closed.
func Here() *Machine { return &Machine{here: true, leader: 1} }

func (m *Machine) startWarden() error {
	lock, err := register(m.name)
	if err != nil {
		return err
	}
	defer lock.Close() // the warden has it
	m.warden = exec.Command("/proc/self/exe")
	m.warden.Args = []string{wardenName, m.name}
	if pureV2() && underSystemd() {
		// The service manager of the outer machine owns the hierarchy: it gives a part of it away.
		m.warden = exec.Command("systemd-run", "--quiet", "--scope", "--collect", "--unit="+m.name, "--property=Delegate=yes", "/proc/self/exe")
		self, err := os.Executable()
		if err != nil {
			return err
		}
		m.warden.Args[len(m.warden.Args)-1] = self
	}
	m.warden.Env = append(os.Environ(), stageEnv+"="+stageWarden, nameEnv+"="+m.name)
	m.warden.ExtraFiles = []*os.File{lock}
	m.warden.Stderr = m.stderr
	// Mounts of the warden are its own. Signals for the test's process group are not for it.
	m.warden.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true}
	if m.commands, err = m.warden.StdinPipe(); err != nil {
		return err
	}
	out, err := m.warden.StdoutPipe()
	if err != nil {
		return err
	}
	m.reports = bufio.NewReader(out)
	return m.warden.Start()
}

// next reads what the warden says next.
func (m *Machine) next() (report, error) {
	line, err := m.reports.ReadBytes('\n')
	if err != nil {
		return report{}, fmt.Errorf("its warden is gone: %w\n%s", err, m.stderr)
	}
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return report{}, fmt.Errorf("its warden says %q: %w", line, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// nextBoot waits until the warden has begun one.
func (m *Machine) nextBoot() error {
	for {
		r, err := m.next()
		if err != nil {
			return err
		}
		m.setLeader(r.Leader)
		if r.Leader != 0 {
			return nil
		}
	}
}

func (m *Machine) setLeader(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leader = pid
}

// Leader is the pid of the machine's process 1, as it is seen outside; 0 while the machine is off.
func (m *Machine) Leader() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leader
}

// waitBooted waits until systemd has nothing left to start.
func (m *Machine) waitBooted(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		out, _ := m.Exec(ctx, "systemctl", "is-system-running")
		switch state := strings.TrimSpace(out); state {
		case "running":
			return nil
		case "degraded":
			failed, _ := m.Exec(ctx, "systemctl", "--failed", "--no-pager", "--plain")
			return fmt.Errorf("units have failed:\n%s", failed)
		}
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(m.Leader()))); err != nil {
			return fmt.Errorf("systemd ended\n%s", m.stderr)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("systemd came no further than %q: %w\n%s", strings.TrimSpace(out), ctx.Err(), m.stderr)
		case <-tick.C:
		}
	}
}

// Command returns a command that runs inside, as root, in / and with an environment of its own. It is killed when ctx ends.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if m.here {
		c := exec.CommandContext(ctx, name, args...)
		c.Env, c.Dir = environment, "/"
		return c
	}
	c := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(m.Leader()), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--", name,
	}, args...)...)
	c.Env = environment
	// What the command leaves running may hold its output open.
	c.WaitDelay = 5 * time.Second
	return c
}

// Exec runs a command inside and returns what it wrote to its standard output and error. The error has that as well, and
// wraps *exec.ExitError.
func (m *Machine) Exec(ctx context.Context, name string, args ...string) (string, error) {
	out, err := m.Command(ctx, name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// CopyIn copies a file from outside into the machine, and makes its directory where needed.
func (m *Machine) CopyIn(ctx context.Context, from, to string, mode fs.FileMode) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return m.Write(ctx, to, mode, f)
}

// Write makes a file of the machine, which gets what is read from r, and its directory where needed.
func (m *Machine) Write(ctx context.Context, file string, mode fs.FileMode, r io.Reader) error {
	c := m.Command(ctx, "install", "-D", "-m", fmt.Sprintf("%o", mode.Perm()), "/dev/stdin", file)
	c.Stdin = r
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot write %s in machine %q: %w\n%s", file, m.name, err, out)
	}
	return nil
}

// Reset is the power switch: everything dies at once, and the machine boots again, with another boot id, from what it had
// on disk. /run, /dev and /tmp are empty then.
func (m *Machine) Reset(ctx context.Context) error {
	if _, err := io.WriteString(m.commands, "reset\n"); err != nil {
		return fmt.Errorf("cannot reset machine %q: %w", m.name, err)
	}
	m.setLeader(0)
	return m.bootAgain(ctx)
}

// Reboot shuts the machine down in an orderly way, and returns when it has booted again.
func (m *Machine) Reboot(ctx context.Context) error {
	if out, err := m.Exec(ctx, "systemctl", "reboot"); err != nil {
		return fmt.Errorf("cannot reboot machine %q: %w\n%s", m.name, err, out)
	}
	return m.bootAgain(ctx)
}

func (m *Machine) bootAgain(ctx context.Context) error {
	// The warden's reports have no deadline of their own.
	stop := context.AfterFunc(ctx, func() { _ = m.commands.Close() })
	defer stop()
	if err := m.nextBoot(); err != nil {
		return fmt.Errorf("machine %q does not boot again: %w", m.name, err)
	}
	if err := m.waitBooted(ctx); err != nil {
		return fmt.Errorf("machine %q does not boot again: %w", m.name, err)
	}
	return nil
}

// Close turns the machine off at once and removes every trace of it. An error says what is left. Called again it returns
// the same.
func (m *Machine) Close() error {
	m.closing.Do(func() { m.closed = m.close() })
	return m.closed
}

func (m *Machine) close() error {
	m.setLeader(0)
	_ = m.commands.Close() // an end that is closed already was the same command
	var errs []error
	for {
		r, err := m.next()
		if err != nil {
			if r.Error != "" {
				errs = append(errs, err)
				continue
			}
			break // it has ended
		}
	}
	if err := m.warden.Wait(); err != nil {
		errs = append(errs, fmt.Errorf("its warden: %w\n%s", err, m.stderr))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove machine %q: %w", m.name, err)
	}
	return nil
}

// tailBuffer keeps the last bytes that were written to it.
type tailBuffer struct {
	mu   sync.Mutex
	max  int
	data []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	b.data = b.data[max(0, len(b.data)-b.max):]
	return len(p), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.data)
}
