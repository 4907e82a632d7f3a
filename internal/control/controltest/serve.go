package controltest

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/runcsup/runcsup/internal/control"
)

// Serve serves b on a socket until the test ends, and returns the socket's path.
func Serve(t testing.TB, b control.Backend, log *slog.Logger) (socket string) {
	t.Helper()
	socket, _ = ServeUntil(t, b, log)
	return socket
}

// ServeUntil is Serve with a stop, which ends the server before the test does and waits for that.
func ServeUntil(t testing.TB, b control.Backend, log *slog.Logger) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "control.sock")
	return socket, ServeAt(t, socket, b, log)
}

// ServeAt is ServeUntil on a socket of the caller's choice.
func ServeAt(t testing.TB, socket string, b control.Backend, log *slog.Logger) (stop func()) {
	t.Helper()
	l, err := control.Listen(t.Context(), socket, -1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.NewServer(b, log).Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the control server ended with: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
