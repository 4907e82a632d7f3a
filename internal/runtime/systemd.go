package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"time"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// DetectCgroupManager tells whether containers should get their cgroups from systemd: it runs this machine and answers on
// its bus. Otherwise the runtime makes them itself.
func DetectCgroupManager() (systemd bool) {
	// As sd_booted(3) has it.
	if st, err := os.Lstat("/run/systemd/system"); err != nil || !st.IsDir() {
		return false
	}
	for _, socket := range []string{"/run/dbus/system_bus_socket", "/run/systemd/private"} {
		conn, err := net.DialTimeout("unix", socket, time.Second)
		if err == nil {
			_ = conn.Close()
			return true
		}
	}
	return false
}

// unit is the systemd unit that a container's cgroup belongs to.
func (p cgroupPath) unit() string { return path.Base(p.dir()) }

// clearUnit makes systemd forget a container's unit. Runtimes do that in a delete that goes well; otherwise it is listed
// as failed for ever. It must be called with no process left in it.
func clearUnit(ctx context.Context, unit string) error {
	conn, err := sddbus.NewWithContext(ctx)
	if err != nil {
		return fmt.Errorf("cannot reach systemd: %w", err)
	}
	defer conn.Close()
	job := make(chan string, 1)
	_, err = conn.StopUnitContext(ctx, unit, "replace", job)
	if err == nil {
		select {
		case <-job: // whatever came of it: the unit shall not be active
		case <-ctx.Done():
			return fmt.Errorf("cannot stop %s: %w", unit, ctx.Err())
		}
		err = conn.ResetFailedUnitContext(ctx, unit)
	}
	var derr dbus.Error
	if errors.As(err, &derr) && derr.Name == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot clear %s: %w", unit, err)
	}
	return nil
}
