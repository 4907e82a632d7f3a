package controltest

import (
	"context"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/supervisor"
)

// TakeOver implements control.Backend. The container is one of Containers afterwards.
func (b *Backend) TakeOver(ctx context.Context, name string, o control.TakeOverOptions) error {
	if err := b.call(ctx, "take-over %s %s/%s replace=%t", name, o.Root, o.ID, o.Replace); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.Containers {
		if c.Name == name {
			return &control.Error{Code: control.CodeConflict, Message: "there is one already"}
		}
	}
	b.Containers = append(b.Containers, supervisor.Snapshot{
		Name: name, Enabled: true, State: supervisor.StateRunning, Pid: 815, Ready: true, Health: supervisor.HealthNone, Adopted: true,
		Bundle: "/srv/" + name,
	})
	return nil
}
