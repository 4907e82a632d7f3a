package main

import (
	"context"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/top"
)

// topSource is the daemon as top asks it.
type topSource struct {
	*control.Client
	now func() time.Time
}

// Details implements top.Source.
func (s *topSource) Details(ctx context.Context, name string) top.Details {
	return top.Details{}
}
