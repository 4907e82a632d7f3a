package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// transferTimeout is for each of: a request's header, its body, writing the answer. What a backend does in between
	// takes the time it needs.
	transferTimeout = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	// closeGrace is for requests under way when the server ends, and lastGrace for the answers of those that did not end by
	// themselves.
	closeGrace     = 2 * time.Second
	lastGrace      = time.Second
	maxBodyBytes   = 64 << 10
	maxHeaderBytes = 16 << 10
)

// Server answers the control API.
type Server struct {
	backend Backend
	log     *slog.Logger
	pages   map[string]http.Handler
	// gate is held for reading by every request and by what goes on without its client; the end of Serve locks it.
	gate sync.RWMutex
	// base ends with Serve, and with it every request's context.
	base   context.Context
	cancel context.CancelCauseFunc
	// streams ends when Serve begins to end: those that follow would never end by themselves.
	streams    context.Context
	endStreams context.CancelFunc
}

// NewServer returns a server for backend. It is for one Serve.
func NewServer(backend Backend, log *slog.Logger) *Server {
	base, cancel := context.WithCancelCause(context.Background())
	streams, endStreams := context.WithCancelCause(base)
	return &Server{
		backend: backend, log: log, base: base, cancel: cancel, streams: streams, endStreams: func() { endStreams(errGoingDown) },
	}
}

// Handle has GET requests for a path outside /v1 answered by h. It is for before Serve.
func (s *Server) Handle(path string, h http.Handler) {
	if s.pages == nil {
		s.pages = map[string]http.Handler{}
	}
	s.pages[path] = h
}

// Serve answers requests on l until ctx ends, closes l, gives requests under way a moment, ends the others (with the cause of
// ctx, if that is an *Error), and returns nil when the last of them has ended. Another error means that l does not accept connections any more.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: transferTimeout,
		// No ReadTimeout and WriteTimeout: they count the backend's time, and the former ends the request's context.
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		BaseContext:    func(net.Listener) context.Context { return s.base },
		ConnContext:    withPeer,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	var open sync.WaitGroup // connections; none comes when the listener is closed
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("cannot accept control connections: %w", err)
	case <-ctx.Done():
	}
	s.endStreams()
	// Not Shutdown: that drops a request that comes on a connection which was accepted right before, without an answer.
	server.SetKeepAlivesEnabled(false)
	_ = l.Close() // its error would be that it is closed
	if err == nil {
		if end := <-served; !errors.Is(end, net.ErrClosed) {
			err = fmt.Errorf("cannot accept control connections: %w", end)
		}
	}
	drained := make(chan struct{})
	go func() { open.Wait(); close(drained) }()
	if !closedWithin(closeGrace, drained) {
		// What does not end by itself is told to, and what does not even obey that is cut off.
		s.cancel(whyEnd(ctx))
		closedWithin(lastGrace, drained)
	}
	_ = server.Close()
	s.cancel(whyEnd(ctx))
	s.gate.Lock()
	return err
}

// closedWithin waits for a channel to be closed, and tells whether it was in the time given.
func closedWithin(grace time.Duration, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(grace):
		return false
	}
}

// whyEnd is what requests are told that are under way when ctx ends: its cause, if that is an *Error.
func whyEnd(ctx context.Context) error {
	if e, ok := errors.AsType[*Error](context.Cause(ctx)); ok {
		return e
	}
	return errGoingDown
}
