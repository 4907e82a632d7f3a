package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"time"

	"github.com/runcsup/runcsup/bundle"
	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/notify"
	"github.com/runcsup/runcsup/internal/records"
	"github.com/runcsup/runcsup/internal/runtime"
	"github.com/runcsup/runcsup/internal/watch"
	"github.com/runcsup/runcsup/supervisor"
)

type listener = net.Listener

// open makes everything that the daemon consists of, and the control socket. Nothing of it touches a container yet.
func (d *Daemon) open(o Options) (listener, error) {
	if err := d.openRooms(o); err != nil {
		return nil, err
	}
	gid, err := d.settings.SocketGID()
	if err != nil {
		return nil, err
	}
	if o.Handover != nil {
		if f := o.Handover.takeListener(); f != nil {
			l, err := control.Adopt(f, socketPath(d.settings), gid)
			if err == nil {
				return l, nil
			}
			d.log.Warn("the control socket of the program before cannot be used; there will be a new one", "error", err)
		}
	}
	return control.Listen(d.ctx, socketPath(d.settings), gid)
}

func (d *Daemon) openRooms(o Options) (err error) {
	s := d.settings
	if d.bootID, err = runtime.BootID(); err != nil {
		return err
	}
	if d.notifier, err = notify.New(o.Environment.Socket); err != nil {
		return err
	}
	switch {
	case o.adoptOnly: // nobody comes after it
	case o.Handover != nil:
		d.descriptors = notify.ResumeDescriptors(d.notifier, o.Handover.Descriptors, d.log)
		o.Handover.Descriptors = nil
	default:
		d.descriptors = notify.NewDescriptors(d.notifier, o.Environment.Descriptors, d.log)
	}
	for _, dir := range []string{s.StateDir, s.RunDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make directory: %w", err)
		}
		if d.locks[dir], err = lock(dir, o.Handover); err != nil {
			delete(d.locks, dir)
			return err
		}
	}
	if err := d.forgetEarlierBoot(); err != nil {
		return err
	}
	if err := d.openRuntime(); err != nil {
		return err
	}
	if err := d.openMetrics(); err != nil {
		return err
	}
	if err := d.openStores(); err != nil {
		return err
	}
	host, err := bundle.DetectHost()
	if err != nil {
		return err
	}
	d.builder, err = bundle.NewBuilder(bundle.BuilderConfig{
		BundlesDir: bundlesDir(s), RunDir: s.RunDir, CgroupsPath: d.runtime.CgroupsPath, NetnsOf: d.netnsOf, Host: host, Log: d.log,
	})
	if err != nil {
		return err
	}
	if err := d.builder.Sweep(); err != nil {
		d.log.Warn("cannot remove what interrupted builds left", "error", err)
	}
	rescan := s.RescanInterval
	if rescan == 0 {
		rescan = 365 * 24 * time.Hour // never
	}
	d.watcher = watch.New(d.log, watch.Options{Rescan: rescan})
	starts := s.Starts
	if starts == 0 {
		starts = 2 * goruntime.NumCPU()
	}
	d.monitor = newMonitor(d.runtime, newNotifySockets(d.builder.NotifyDir, d.descriptors, d.log), healthDir(s), d.observeProbe, d.log)
	d.supervisor = supervisor.New(supervisor.Config{
		Monitor: d.monitor,
		Runtime: d.runtime, Output: d.logs, Store: d.records, BootID: d.bootID, MaxStarts: starts, StartTimeout: s.StartTimeout,
		OnEvent: d.onEvent, AdoptOnly: o.adoptOnly,
	})
	return nil
}

// lock locks a directory, with the lock of the program before if there was one.
func lock(dir string, h *Handover) (*records.DirLock, error) {
	if h != nil {
		if f := h.takeLock(dir); f != nil {
			if l, err := records.AdoptLock(dir, f); err == nil {
				return l, nil
			}
		}
	}
	return records.Lock(dir, lockPatience)
}

func socketPath(s config.Settings) string { return filepath.Join(s.RunDir, "control.sock") }

func (d *Daemon) openRuntime() error {
	s := d.settings
	if err := runtime.BecomeSubreaper(); err != nil {
		return err
	}
	systemd := s.CgroupManager == config.CgroupSystemd || s.CgroupManager == config.CgroupAuto && runtime.DetectCgroupManager()
	var err error
	d.runtime, err = runtime.New(runtime.Config{
		Command: s.Runtime, Root: runtimeDir(s), CallDir: callDir(s), SystemdCgroup: systemd, InstanceID: instanceID(s.RunDir), Log: d.log,
		Keeper: d.descriptors, Observer: d,
	})
	if err != nil {
		return err
	}
	d.version.Pid = os.Getpid()
	ctx, cancel := context.WithTimeout(d.ctx, versionTimeout)
	defer cancel()
	if d.version.Runtime, err = d.runtime.Version(ctx); err != nil {
		// It may be back when it is needed, and containers that run do not need it.
		d.log.Warn("the runtime does not tell its version", "runtime", s.Runtime, "error", err)
	}
	return nil
}

func (d *Daemon) openStores() (err error) {
	s := d.settings
	if d.records, err = records.New(recordsDir(s)); err != nil {
		return err
	}
	if err := d.records.CheckVersions(); err != nil {
		return err // what it does not understand it would forget; containers run on meanwhile
	}
	if d.definitions, err = records.NewDefinitions(definitionsDir(s)); err != nil {
		return err
	}
	d.history = history.Open(historyDir(s), d.log, d.nudge)
	return d.openLogs()
}

// forgetEarlierBoot clears what a run directory that is not on a tmpfs kept of before a reboot: pids that mean nothing
// now, and copies of secrets. Where nobody can tell which boot it is of, nothing is cleared: containers may run.
func (d *Daemon) forgetEarlierBoot() error {
	s := d.settings
	file := bootFile(s)
	before, err := records.LoadBoot(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, records.ErrDamaged):
		d.log.Warn("what is in the run directory is taken to be of this boot", "error", err)
	case err != nil:
		return err
	case before == d.bootID:
		return nil
	default:
		for _, path := range bootPaths(s) {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("cannot clear the run directory of an earlier boot: %w", err)
			}
		}
	}
	if err := records.SaveBoot(file, d.bootID); err != nil {
		d.log.Error("the run directory cannot be written; containers that run go on, and others may not start", "error", err)
		d.spawn(func() { d.saveBootLater(file) })
	}
	return nil
}

// saveBootAgain is how often it is tried again to note the boot.
const saveBootAgain = 5 * time.Second

// saveBootLater notes the boot as soon as that is possible.
func (d *Daemon) saveBootLater(file string) {
	again := time.NewTicker(saveBootAgain)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			if records.SaveBoot(file, d.bootID) == nil {
				d.log.Info("the run directory can be written again")
				return
			}
		case <-d.building.Done():
			return
		}
	}
}

func bootFile(s config.Settings) string { return filepath.Join(s.RunDir, "boot-id") }

// bootPaths are what the run directory has of one boot. The file that says of which one comes last: where it is gone and no new
// one can be written, the next daemon must not clear what is of this boot.
func bootPaths(s config.Settings) []string {
	return []string{
		runtimeDir(s), callDir(s), filepath.Join(s.RunDir, "secrets"), filepath.Join(s.RunDir, "netns"), notifyDir(s), healthDir(s), outputDir(s),
		bootFile(s),
	}
}

// netnsOf gives the network namespace of a running container.
func (d *Daemon) netnsOf(name string) (string, error) {
	s, err := d.supervisor.Get(name)
	if err != nil {
		return "", err
	}
	if s.Pid == 0 {
		return "", fmt.Errorf("container %q does not run", name)
	}
	return fmt.Sprintf("/proc/%d/ns/net", s.Pid), nil
}

// onEvent passes on what happens to a container. It is called in that container's goroutine and does not wait.
func (d *Daemon) onEvent(e supervisor.Event) {
	d.logEvent(e)
	d.history.Add(history.Of(e))
	d.metrics.OnEvent(e)
}

// logEvent writes what happens to a container to the daemon's log.
func (d *Daemon) logEvent(e supervisor.Event) {
	s := e.Snapshot
	log := d.log.With("container", s.Name)
	switch e.Type {
	case supervisor.EventStarted, supervisor.EventAdopted:
		log.Info("container "+string(e.Type), "pid", s.Pid, "restarts", s.Restarts)
	case supervisor.EventExited, supervisor.EventStopped:
		log.Info("container ended", "how", s.LastExit.String(), "ran", e.Ran)
	case supervisor.EventLost:
		log.Warn("container ended with the machine")
	case supervisor.EventRestart:
		log.Info("container will be started again", "why", e.Why, "at", s.NextStartAt)
	case supervisor.EventNoRestart:
		log.Info("container is not started again", "why", e.Why)
	case supervisor.EventStartFailed:
		log.Error("container cannot be started", "error", e.Err)
	case supervisor.EventFailed:
		log.Error("container has failed and is not started again", "error", e.Err)
	case supervisor.EventReady:
		log.Info("container is ready")
	case supervisor.EventUnready:
		log.Warn("container is not ready", "error", e.Err)
	case supervisor.EventHealthy:
		log.Info("container is healthy")
	case supervisor.EventUnhealthy:
		log.Warn("container is unhealthy", "error", e.Err)
	case supervisor.EventUpdated:
		log.Info("container has new limits")
	case supervisor.EventRemoved:
		log.Info("container removed")
	case supervisor.EventError:
		log.Error("trouble with a container", "error", e.Err)
	}
}

// tidy removes what the daemon made outside its state directory. All containers are gone but those of which it knew
// nothing, because their definition and bundle were lost.
func (d *Daemon) tidy(ctx context.Context) error {
	s := d.settings
	left, err := d.runtime.IDs()
	for _, id := range left {
		d.log.Warn("container without a definition is removed", "container", id)
		removeCtx, cancel := context.WithTimeout(ctx, strangerTimeout)
		err = errors.Join(err, d.runtime.Remove(removeCtx, id))
		cancel()
	}
	for _, e := range d.catalog.all() {
		if _, _, b, _, _ := e.view(); b != nil {
			err = errors.Join(err, b.Discard()) // what was built for a start that never came
		}
	}
	if err != nil {
		return fmt.Errorf("cannot clean up: %w", err)
	}
	errs := []error{d.runtime.RemoveCgroupParent()}
	for _, path := range bootPaths(s) {
		errs = append(errs, os.RemoveAll(path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot clean up: %w", err)
	}
	return nil
}

// versionTimeout bounds the question for the runtime's version at start.
const versionTimeout = 5 * time.Second

// lockPatience is for what a killed daemon leaves for a moment.
const lockPatience = 3 * time.Second

// strangerTimeout bounds the removal of a container that nobody knows.
const strangerTimeout = 30 * time.Second

// instanceID tells daemons with different run directories apart, so that their cgroups do not meet.
func instanceID(runDir string) string {
	if runDir == config.DefaultSettings().RunDir {
		return ""
	}
	sum := sha256.Sum256([]byte(runDir))
	return hex.EncodeToString(sum[:4])
}
