package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"

	"github.com/runcsup/runcsup/internal/control"
)

// WebConfig says where and how the metrics are served, in the way of every Prometheus exporter.
type WebConfig struct {
	// Addresses are "host:port" or ":port".
	Addresses []string
	// ConfigFile is exporter-toolkit's, for TLS and passwords; empty for neither. It is read anew for each connection.
	ConfigFile string
	Log        *slog.Logger
}

// Web serves a handler on several addresses. An address on which it cannot is tried again until it can.
type Web struct {
	cfg     WebConfig
	handler http.Handler

	mu     sync.Mutex
	status map[string]control.WebAddress // by address as configured
}

// NewWeb returns a Web that serves nothing before Run.
func NewWeb(cfg WebConfig, handler http.Handler) *Web {
	return &Web{cfg: cfg, handler: handler, status: map[string]control.WebAddress{}}
}

// Addresses tells how each does, in lexical order. Those that were not yet tried are missing.
func (w *Web) Addresses() []control.WebAddress {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := []control.WebAddress{}
	for _, one := range w.status {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b control.WebAddress) int { return cmp.Compare(a.Address, b.Address) })
	return all
}

const (
	// retryFirst grows to retryMost while an address is in use.
	retryFirst = time.Second
	retryMost  = time.Minute
	// headerTimeout is for a request's header, idleTimeout between requests: scrapes come every 15 s to a minute.
	headerTimeout = 10 * time.Second
	idleTimeout   = 3 * time.Minute
	// writeTimeout is for a client that does not read. Prometheus waits for 10 s by default.
	writeTimeout = 30 * time.Second
	// closeGrace is for scrapes under way when the daemon ends.
	closeGrace = time.Second
)

// Run serves until ctx ends. changed is called when something that Addresses tells is new.
func (w *Web) Run(ctx context.Context, changed func()) {
	var wg sync.WaitGroup
	for _, address := range slices.Compact(slices.Sorted(slices.Values(w.cfg.Addresses))) {
		wg.Go(func() { w.keep(ctx, address, changed) })
	}
	wg.Wait()
}

// keep serves one address, again and again.
func (w *Web) keep(ctx context.Context, address string, changed func()) {
	for delay := retryFirst; ; delay = min(2*delay, retryMost) {
		err := w.serve(ctx, address, func(l net.Listener) {
			delay = retryFirst
			w.note(address, control.WebAddress{Address: l.Addr().String()}, changed)
		})
		if ctx.Err() != nil || err == nil {
			return
		}
		w.note(address, control.WebAddress{Address: address, Error: err.Error()}, changed)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

func (w *Web) note(address string, now control.WebAddress, changed func()) {
	w.mu.Lock()
	before, known := w.status[address]
	w.status[address] = now
	w.mu.Unlock()
	if known && before == now {
		return
	}
	if now.Error != "" {
		w.cfg.Log.Error("metrics are not served; containers are supervised all the same, and it is tried again", "address", address, "error", now.Error)
	} else {
		w.cfg.Log.Info("metrics are served", "address", now.Address)
	}
	changed()
}

// serve serves one address until ctx ends or it cannot.
func (w *Web) serve(ctx context.Context, address string, serving func(net.Listener)) error {
	if err := web.Validate(w.cfg.ConfigFile); err != nil {
		return fmt.Errorf("cannot use the web configuration %s: %w", w.cfg.ConfigFile, err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	serving(l)
	quiet := slog.New(slog.DiscardHandler) // the toolkit tells at level info what was told already
	server := &http.Server{
		Handler: w.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout,
		ErrorLog: slog.NewLogLogger(w.cfg.Log.Handler(), slog.LevelDebug),
	}
	// A server and a listener for each address: web.Serve changes the server it is given.
	served := make(chan error, 1)
	go func() { served <- web.Serve(l, server, &web.FlagConfig{WebConfigFile: &w.cfg.ConfigFile}, quiet) }()
	select {
	case err := <-served:
		_ = l.Close()
		return fmt.Errorf("cannot serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
