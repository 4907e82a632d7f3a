// Package handover takes systemd's hands off a container that a unit has started, so that runcsup can have it.
//
// A unit that runs a container stops it with itself, and starts another one when it ends. A drop-in in /run keeps it from
// both until the next boot: Restart=no, KillMode=none, no ExecStop=, no start by hand. The unit itself and its processes are not
// touched, and Undo makes everything as it was. It talks to systemd over D-Bus. cmd/runcsup uses it for import unit --adopt.
package handover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
)

// DropIn is the name of the drop-in. It sorts behind others, which it overrides.
const DropIn = "zz-runcsup-adopted.conf"

const dropInText = `# Written by runcsup import unit --adopt: runcsup has the container of this unit now.
[Unit]
RefuseManualStart=yes
[Service]
Restart=no
KillMode=none
ExecStop=
ExecStopPost=
WatchdogSec=0
RuntimeMaxSec=infinity
`

// runtimeUnits is where drop-ins live that last until the next boot.
const runtimeUnits = "/run/systemd/system"

// Released is a unit that does not touch its container any more.
type Released struct {
	Unit string
	File string // the drop-in; empty when the unit was not active, so that there was nothing to do

	before bool // the drop-in was there: the unit was released earlier
}

// Release takes a unit's hands off its container. A unit that systemd does not know, or that is not active, is left as it
// is. After an error nothing has changed.
func Release(ctx context.Context, unit string) (_ *Released, err error) {
	r := &Released{Unit: unit}
	conn, err := sddbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot reach systemd: %w", err)
	}
	defer conn.Close()
	properties, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return nil, fmt.Errorf("cannot look at %s: %w", unit, err)
	}
	state, _ := properties["ActiveState"].(string)
	if state == "inactive" || state == "failed" {
		return r, nil
	}
	dir := filepath.Join(runtimeUnits, unit+".d")
	if strings.ContainsRune(unit, '/') {
		return nil, fmt.Errorf("%q is no unit", unit)
	}
	r.File = filepath.Join(dir, DropIn)
	_, err = os.Lstat(r.File)
	r.before = err == nil
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Undo(context.WithoutCancel(ctx)))
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot change %s: %w", unit, err)
	}
	if err := os.WriteFile(r.File, []byte(dropInText), 0o644); err != nil {
		return nil, fmt.Errorf("cannot change %s: %w", unit, err)
	}
	if err := conn.ReloadContext(ctx); err != nil {
		return nil, fmt.Errorf("cannot change %s: systemctl daemon-reload: %w", unit, err)
	}
	return r, check(ctx, conn, unit)
}

// check makes sure that the drop-in is in effect.
func check(ctx context.Context, conn *sddbus.Conn, unit string) error {
	for key, want := range map[string]string{"Restart": "no", "KillMode": "none"} {
		p, err := conn.GetUnitTypePropertyContext(ctx, unit, "Service", key)
		if err != nil {
			return fmt.Errorf("cannot look at %s: %w", unit, err)
		}
		if got, _ := p.Value.Value().(string); got != want {
			return fmt.Errorf("%s still has %s=%s: something overrides %s in %s", unit, key, got, DropIn, runtimeUnits)
		}
	}
	return nil
}

// Undo gives the container back to the unit, which is started if it has ended meanwhile, unless that was released earlier already.
func (r *Released) Undo(ctx context.Context) error {
	if r.File == "" || r.before {
		return nil
	}
	if err := os.Remove(r.File); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot give the container back to %s: %w", r.Unit, err)
	}
	_ = os.Remove(filepath.Dir(r.File)) // if nothing else is in it
	conn, err := sddbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("cannot reach systemd: %w", err)
	}
	defer conn.Close()
	if err := conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("cannot give the container back to %s: systemctl daemon-reload: %w", r.Unit, err)
	}
	// Had its container ended meanwhile, it would have started another one.
	properties, err := conn.GetUnitPropertiesContext(ctx, r.Unit)
	if err != nil {
		return fmt.Errorf("cannot look at %s: %w", r.Unit, err)
	}
	if state, _ := properties["ActiveState"].(string); state == "inactive" || state == "failed" {
		if _, err := conn.StartUnitContext(ctx, r.Unit, "replace", nil); err != nil {
			return fmt.Errorf("%s ended meanwhile, and cannot be started: %w", r.Unit, err)
		}
	}
	return nil
}
