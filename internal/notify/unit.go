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
	return ask(ctx, func(conn *sddbus.Conn) (u Unit, err error) {
		pid := os.Getpid()
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
		u.Job, err = jobOf(ctx, conn, u.Name)
		return u, err
	})
}

// AskCaller asks systemd for the Name and the Job of the unit that has started this process, as its main one or by ExecStop= and
// the like. It returns when ctx ends, whatever systemd does.
func AskCaller(ctx context.Context) (Unit, error) {
	return ask(ctx, func(conn *sddbus.Conn) (u Unit, err error) {
		if u.Name, err = conn.GetUnitNameByPID(ctx, uint32(os.Getpid())); err != nil {
			return Unit{}, err
		}
		u.Job, err = jobOf(ctx, conn, u.Name)
		return u, err
	})
}

// AskJob asks systemd for the Job of a unit that AskUnit has given, and nothing else: it is one question, for when there is little
// time.
func AskJob(ctx context.Context, unit string) (job string, err error) {
	return ask(ctx, func(conn *sddbus.Conn) (string, error) { return jobOf(ctx, conn, unit) })
}

// ask asks systemd something.
func ask[T any](ctx context.Context, question func(*sddbus.Conn) (T, error)) (T, error) {
	type reply struct {
		value T
		err   error
	}
	replies := make(chan reply, 1)
	go func() { // a connection that hangs obeys no context while it is being made
		var r reply
		conn, err := connect(ctx)
		if r.err = err; err == nil {
			r.value, r.err = question(conn)
			conn.Close()
		}
		replies <- r
	}()
	var r reply
	select {
	case r = <-replies:
	case <-ctx.Done():
		r.err = context.Cause(ctx)
	}
	if r.err != nil {
		return r.value, fmt.Errorf("cannot ask systemd for this daemon's unit: %w", r.err)
	}
	return r.value, nil
}

func jobOf(ctx context.Context, conn *sddbus.Conn, unit string) (string, error) {
	jobs, err := conn.ListJobsContext(ctx)
	if err != nil {
		return "", err
	}
	for _, j := range jobs {
		if j.Unit == unit {
			return j.JobType, nil
		}
	}
	return "", nil
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
