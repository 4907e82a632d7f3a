package notify

import (
	"context"
	"fmt"
	"os"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
)

// Unit is the systemd unit whose main process this is, as systemd says over D-Bus.
type Unit struct {
	Name string
	// Job is what systemd is doing with the unit, in its own words: "start", "stop", "restart", "reload" and others; empty
	// for nothing.
	Job string
	// MaxDescriptors is how many descriptors the unit's store takes (FileDescriptorStoreMax=).
	MaxDescriptors int
}

// AskUnit asks systemd for the unit. It returns when ctx ends, whatever systemd does. It fails when this process is not the
// main one of a unit: what is done with a shell's session is not done with the programs in it.
func AskUnit(ctx context.Context) (Unit, error) {
	type answer struct {
		unit Unit
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // a connection that hangs obeys no context while it is being made
		u, err := askUnit(ctx, os.Getpid())
		answers <- answer{u, err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	}
	if a.err != nil {
		return Unit{}, fmt.Errorf("cannot ask systemd for this daemon's unit: %w", a.err)
	}
	return a.unit, nil
}

func askUnit(ctx context.Context, pid int) (Unit, error) {
	conn, err := connect(ctx)
	if err != nil {
		return Unit{}, err
	}
	defer conn.Close()
	u := Unit{}
	if u.Name, err = conn.GetUnitNameByPID(ctx, uint32(pid)); err != nil {
		return Unit{}, err
	}
	var main, limit uint32
	for name, to := range map[string]*uint32{"MainPID": &main, "FileDescriptorStoreMax": &limit} {
		p, err := conn.GetServicePropertyContext(ctx, u.Name, name)
		if err != nil {
			return Unit{}, fmt.Errorf("unit %s: %w", u.Name, err)
		}
		if err := p.Value.Store(to); err != nil {
			return Unit{}, fmt.Errorf("unit %s: property %s: %w", u.Name, name, err)
		}
	}
	if int(main) != pid {
		return Unit{}, fmt.Errorf("process %d is not the main process of %s", pid, u.Name)
	}
	u.MaxDescriptors = int(limit)
	jobs, err := conn.ListJobsContext(ctx)
	if err != nil {
		return Unit{}, err
	}
	for _, j := range jobs {
		if j.Unit == u.Name {
			u.Job = j.JobType
		}
	}
	return u, nil
}

// connect prefers systemd's own socket: the bus may be down already when the machine is.
func connect(ctx context.Context) (*sddbus.Conn, error) {
	conn, err := sddbus.NewSystemdConnectionContext(ctx)
	if err == nil {
		return conn, nil
	}
	if conn, busErr := sddbus.NewSystemConnectionContext(ctx); busErr == nil {
		return conn, nil
	}
	return nil, err
}
