package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/logs"
	"github.com/runcsup/runcsup/supervisor"
)

// outputDir has the FIFOs that containers write to.
func outputDir(s config.Settings) string { return filepath.Join(s.RunDir, "output") }

func (d *Daemon) openLogs() (err error) {
	d.logs, err = logs.New(logs.Config{
		Dir: d.settings.LogDir, RunDir: outputDir(d.settings), Keeper: d.descriptors, Log: d.log, OnTrouble: d.nudge,
	})
	return err
}

// setLog tells where a container's output goes from now on.
func (d *Daemon) setLog(name string, o config.LogOptions) {
	err := d.logs.Configure(name, logs.Options{Driver: string(o.Driver), MaxSize: o.MaxSize, MaxFiles: o.MaxFiles})
	if err != nil {
		d.log.Error("cannot store a container's output", "container", name, "error", err)
	}
}

// Logs reads a container's output; see control.Backend.
func (d *Daemon) Logs(ctx context.Context, name string, q logs.Query, yield func(logs.Line) error) error {
	return d.logs.Read(ctx, name, q, yield)
}

// forgetLogTimeout is for storing what a container that is removed has still written.
const forgetLogTimeout = 5 * time.Second

// forgetLog ends the collection of a container's output. Its files stay.
func (d *Daemon) forgetLog(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, forgetLogTimeout, fmt.Errorf("it took longer than %s", forgetLogTimeout))
	defer cancel()
	return d.logs.Remove(ctx, name)
}

// settleLogsTimeout is for storing what containers have written right before they were stopped.
const settleLogsTimeout = 10 * time.Second

func (d *Daemon) settleLogs(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, settleLogsTimeout, fmt.Errorf("it took longer than %s", settleLogsTimeout))
	defer cancel()
	if err := d.logs.Settle(ctx); err != nil {
		d.log.Error("the last output of containers is lost", "error", err)
	}
}

func (d *Daemon) closeLogs() {
	if err := d.logs.Close(); err != nil {
		d.log.Warn("cannot end the collection of output in order", "error", err)
	}
}

// describeLog adds to a snapshot why a container's output cannot be stored.
func (d *Daemon) describeLog(s *supervisor.Snapshot) {
	text := d.logs.Trouble(s.Name)
	switch {
	case text == "":
	case s.Error == "":
		s.Error = "its output is not stored: " + text
	default:
		s.Error += "\nits output is not stored: " + text
	}
}
