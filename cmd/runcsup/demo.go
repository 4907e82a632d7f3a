package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/runcsup/runcsup/internal/control"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	runtime  string
	duration time.Duration
}

// demoRefresh is how often the table is drawn anew, and demoStopping how long the daemon may take to end.
const (
	demoRefresh  = 500 * time.Millisecond
	demoStopping = 30 * time.Second
)

func newDemoCommand(p *program) *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:     "demo",
		Short:   "Show a daemon with a few containers at work, until Ctrl-C",
		GroupID: groupService,
		Long: "Run a daemon of its own in a temporary directory, with containers whose root file system is this very program: a web\n" +
			"server, a worker that ends with various codes and is restarted with growing delays, and one that is given up. A\n" +
			"table shows what happens. It needs root and an OCI runtime, no network and no images, and leaves nothing behind." +
			exitStatus(exitFailed),
		Args:              wantNone,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(c *cobra.Command, _ []string) error { return runDemo(c.Context(), p, o) },
	}
	c.Flags().StringVar(&o.runtime, "runtime", "runc", "OCI `runtime`: runc, crun, or a path")
	c.Flags().DurationVar(&o.duration, "for", 0, "end by itself after this `time` (default: at Ctrl-C)")
	return c
}

// newPayloadCommand is what runs inside the demo's containers.
func newPayloadCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "demo-payload web ADDRESS | worker | tell TEXT… | broken", Hidden: true, Args: cobra.MinimumNArgs(1),
		Short: "What runs inside the demo's containers", Long: "What runs inside the demo's containers." + exitStatus(exitFailed), GroupID: groupService,
		RunE: func(c *cobra.Command, args []string) error { return runPayload(c.Context(), p.stdout, args) },
	}
}

func runDemo(ctx context.Context, p *program, o demoOptions) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("the demo runs real containers, which needs root: sudo runcsup demo")
	}
	if _, err := exec.LookPath(o.runtime); err != nil {
		return fmt.Errorf("the demo needs an OCI runtime: %w; on Debian: apt-get install runc, or name another with --runtime", err)
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	dir, err := os.MkdirTemp("", "runcsup-demo-")
	if err != nil {
		return fmt.Errorf("cannot make a directory for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	if err := layOutDemo(dir, address); err != nil {
		return err
	}
	return p.withDaemon(ctx, dir, o.runtime, func(daemonCtx context.Context) error {
		p.socket = filepath.Join(dir, "run", "control.sock")
		return p.showDemo(daemonCtx, dir, address)
	})
}

// freeAddress is a loopback address that nobody listens on.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// demoDefinitions are the demo's containers. ROOTFS, ADDRESS and its PORT are filled in.
var demoDefinitions = map[string]string{
	"web": `# A web server on the host's network.
rootfs: ROOTFS
command: [/runcsup, demo-payload, web, "ADDRESS"]
network: host
readOnly: true
user: "65534:65534"
resources: {memory: 64MiB, pids: 50}
# Restarted when it does not answer three times in a row. Try: kill -STOP its pid, and look at runcsup status web.
health:
  liveness: {http: {port: PORT, path: /}, period: 2s}
`,
	"worker": `# Works for a few seconds and ends with one code after the other. Its restarts come later and later.
rootfs: ROOTFS
command: [/runcsup, demo-payload, worker]
restart: {policy: always, delay: 1s, maxDelay: 20s, steps: 4, jitter: 10%}
`,
	"broken": `# Ends at once. After three starts within a minute it is given up.
rootfs: ROOTFS
command: [/runcsup, demo-payload, broken]
restart: {policy: always, delay: 2s, steps: 0, limit: {burst: 3, interval: 1m}}
`,
}

// layOutDemo makes the definitions, and a root file system of nothing but this program.
func layOutDemo(dir, address string) error {
	rootfs := filepath.Join(dir, "rootfs")
	containers := filepath.Join(dir, "containers")
	for _, d := range []string{rootfs, containers} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("cannot lay out the demo: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the web server is not root
		return fmt.Errorf("cannot lay out the demo: %w", err)
	}
	if err := copySelf(filepath.Join(rootfs, "runcsup")); err != nil {
		return fmt.Errorf("cannot lay out the demo: %w", err)
	}
	fill := strings.NewReplacer("ROOTFS", rootfs, "ADDRESS", address, "PORT", address[strings.LastIndexByte(address, ':')+1:])
	for name, text := range demoDefinitions {
		if err := os.WriteFile(filepath.Join(containers, name+".yaml"), []byte(fill.Replace(text)), 0o644); err != nil {
			return fmt.Errorf("cannot lay out the demo: %w", err)
		}
	}
	return nil
}

func copySelf(to string) (err error) {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // it was only read
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, from)
	return err
}

// withDaemon runs a daemon in dir while f runs, and ends it. The context that f gets ends with the daemon.
func (p *program) withDaemon(ctx context.Context, dir, runtime string, f func(context.Context) error) (err error) {
	logFile := filepath.Join(dir, "daemon.log")
	logTo, err := os.Create(logFile)
	if err != nil {
		return fmt.Errorf("cannot make the daemon's log: %w", err)
	}
	defer func() { err = errors.Join(err, logTo.Close()) }()
	args := []string{
		"daemon", "--containers", filepath.Join(dir, "containers"), "--state-dir", filepath.Join(dir, "state"),
		"--run-dir", filepath.Join(dir, "run"), "--log-dir", filepath.Join(dir, "log"), "--runtime", runtime,
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "runcsup"
	cmd.Stderr = logTo
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which then ends the daemon
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the daemon: %w", err)
	}
	ended := make(chan error, 1)
	daemonCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := cmd.Wait()
		cancel(errDaemonEnded)
		ended <- err
	}()
	showErr := f(daemonCtx)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot stop the daemon: %w", err)
	}
	select {
	case err = <-ended:
	case <-time.After(demoStopping):
		return fmt.Errorf("the daemon (pid %d, log %s) does not end", cmd.Process.Pid, logFile)
	}
	if err != nil || errors.Is(context.Cause(daemonCtx), errDaemonEnded) && ctx.Err() == nil {
		said, _ := os.ReadFile(logFile) // what there is of it
		return errors.Join(fmt.Errorf("the daemon ended by itself and said:\n%s", said), err)
	}
	if showErr != nil && ctx.Err() == nil {
		return showErr
	}
	return p.print("Everything is gone: no container, mount, cgroup or file is left.\n")
}

var errDaemonEnded = errors.New("the daemon ended")

// showDemo prints how to look into the demo, and then the table, until ctx ends.
func (p *program) showDemo(ctx context.Context, dir, address string) error {
	client := p.client()
	defer client.Close()
	intro := fmt.Sprintf("A daemon runs in %s, with three containers. In a second terminal, as root:\n\n"+
		"  export RUNCSUP_SOCKET=%s\n"+
		"  runcsup list                            # and: status worker, show web\n"+
		"  curl http://%s/            # the web server\n"+
		"  runcsup kill -s KILL web                # it is back after the delay\n"+
		"  runcsup stop worker                     # and: start, restart, disable\n"+
		"  vi %s/containers/worker.yaml   # a saved change is applied within a second\n"+
		"  runcsup reset-failed broken\n"+
		"  runcsup start broken\n"+
		"  tail -f %s/log/worker.log %s/daemon.log\n\n"+
		"Ctrl-C ends it all.\n\n", dir, p.socket, address, dir, dir, dir)
	if err := p.print(strings.ReplaceAll(intro, "  runcsup ", "  "+selfName()+" ")); err != nil {
		return err
	}
	screen := demoScreen{p: p, live: isTerminal(p.stdout)}
	tick := time.NewTicker(demoRefresh)
	defer tick.Stop()
	for {
		list, err := client.List(ctx)
		if noDaemon := (*control.Error)(nil); errors.As(err, &noDaemon) && noDaemon.Code == control.CodeNoDaemon {
			err = nil // it is not there yet, or ends: then the context does, too
		} else if err == nil {
			err = screen.draw(list)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// selfName is how this program can be called again.
func selfName() string {
	if _, err := exec.LookPath("runcsup"); err == nil {
		return "runcsup"
	}
	if self, err := os.Executable(); err == nil {
		return self
	}
	return "runcsup"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
