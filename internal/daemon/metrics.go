package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/health"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/logs"
	"github.com/runcsup/runcsup/internal/metrics"
	"github.com/runcsup/runcsup/internal/usage"
)

// openMetrics makes the exporter, which is told what happens from the beginning.
func (d *Daemon) openMetrics() (err error) {
	d.metrics, err = metrics.New(metrics.Config{
		List: d.List, Cgroup: d.cgroupOf, Image: d.imageOf, Output: d.outputs,
		Version: d.version.Version, Revision: d.version.Commit, Runtime: d.version.Runtime, Log: d.log,
	})
	return err
}

// openWeb makes what serves the metrics at the settings' addresses, and serves them on the control socket, too.
func (d *Daemon) openWeb(server *control.Server) error {
	pages := d.metrics.Pages(metrics.Checks{Healthy: d.check, Ready: d.checkReady})
	for path, h := range pages {
		server.Handle(path, h)
	}
	handler, err := metrics.WebHandler(pages, d.version.Version)
	if err != nil {
		return err
	}
	d.web = metrics.NewWeb(metrics.WebConfig{
		Addresses: d.settings.WebListenAddresses, ConfigFile: d.settings.WebConfigFile, Log: d.log,
	}, handler)
	return nil
}

// outputs tells how much containers have written.
func (d *Daemon) outputs() iter.Seq2[string, metrics.Output] {
	return func(yield func(string, metrics.Output) bool) {
		for name, n := range d.logs.Counters() {
			for i, stream := range logs.Streams {
				if !yield(name, metrics.Output{Stream: stream, Bytes: n.Bytes[i], Lines: n.Lines[i]}) {
					return
				}
			}
		}
	}
}

// observeProbe counts a probe.
func (d *Daemon) observeProbe(name string, role health.Role, r health.Result) {
	d.metrics.ObserveProbe(name, string(role), metrics.ProbeResult(r.Outcome), r.Duration)
}

var errNotReady = errors.New("not all that is to run was started yet, or it is being stopped")

// checkReady tells whether the service manager was told that the daemon is ready.
func (d *Daemon) checkReady() error {
	if !d.ready.Load() {
		return errNotReady
	}
	return nil
}

// cgroupOf tells where a container's cgroup is.
func (d *Daemon) cgroupOf(name string) usage.Cgroup {
	dirs := d.runtime.CgroupDirs(name)
	return usage.Cgroup{Path: dirs.Path, V1: dirs.V1, V2: dirs.V2}
}

// Stats returns what running containers use; see control.Backend.
func (d *Daemon) Stats(names []string) ([]control.Stats, error) {
	list := d.List()
	if len(names) > 0 {
		list = list[:0]
		for _, name := range names {
			s, err := d.Get(name)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	var r usage.Reader
	var all []control.Stats
	for _, s := range list {
		if s.Pid == 0 {
			continue
		}
		if u, err := r.Read(d.cgroupOf(s.Name)); err == nil { // else it has ended meanwhile
			all = append(all, control.Stats{Name: s.Name, Pid: s.Pid, Usage: u})
		}
	}
	return all, nil
}

// imageOf is what a container was made from, as its definition says.
func (d *Daemon) imageOf(name string) string {
	e := d.catalog.get(name)
	if e == nil {
		return ""
	}
	_, def, _, _, _ := e.view()
	if def == nil {
		return ""
	}
	return cmp.Or(def.Bundle.RootfsArchive, def.Bundle.Rootfs, def.Bundle.Bundle)
}

// ObserveRuntimeCall implements runtime.Observer.
func (d *Daemon) ObserveRuntimeCall(operation string, took time.Duration, err error) {
	d.metrics.ObserveRuntimeCall(operation, took, err)
}

// watchdogCheck is check, measured.
func (d *Daemon) watchdogCheck(ctx context.Context) error {
	begun := time.Now()
	err := d.check(ctx)
	d.metrics.ObserveWatchdog(time.Since(begun))
	return err
}

// observeReload tells the metrics that definitions were read.
func (d *Daemon) observeReload(err error) {
	refused := 0
	for _, e := range d.catalog.all() {
		if _, _, _, text, _ := e.view(); text != "" {
			refused++
		}
	}
	d.metrics.ObserveReload(time.Now(), refused, err)
}

// buildBundle is the builder's Prepare, measured.
func (d *Daemon) buildBundle(ctx context.Context, p *bundle.Plan) (*bundle.Prepared, error) {
	begun := time.Now()
	b, err := d.builder.Prepare(ctx, p)
	d.metrics.ObserveBuild(time.Since(begun), err)
	return b, err
}

// webTrouble is for the status line: empty, or how many of the metrics' addresses are not served.
func (d *Daemon) webTrouble() string {
	if d.web == nil {
		return ""
	}
	for _, a := range d.web.Addresses() {
		if a.Error != "" {
			return fmt.Sprintf("metrics not served at %s", a.Address)
		}
	}
	return ""
}
