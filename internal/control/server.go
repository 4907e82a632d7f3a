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
	open := &openConns{}
	server.ConnState = open.note
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
	if !open.drain(closeGrace) {
		// What does not end by itself is told to, and what does not even obey that is cut off.
		s.cancel(whyEnd(ctx))
		open.drain(lastGrace)
	}
	_ = server.Close()
	s.cancel(whyEnd(ctx))
	s.gate.Lock()
	return err
}

// openConns counts the connections of a server.
type openConns struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when there are none, nil if nobody waits for that
}

// note is for http.Server.ConnState.
func (o *openConns) note(_ net.Conn, state http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch state {
	case http.StateNew:
		o.n++
	case http.StateClosed, http.StateHijacked:
		o.n--
		if o.n == 0 && o.none != nil {
			close(o.none)
			o.none = nil
		}
	}
}

// drain waits until there are none, and tells whether that was so in the time given.
func (o *openConns) drain(grace time.Duration) bool {
	o.mu.Lock()
	if o.n == 0 {
		o.mu.Unlock()
		return true
	}
	if o.none == nil {
		o.none = make(chan struct{})
	}
	none := o.none
	o.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-none:
		return true
	case <-timer.C:
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
