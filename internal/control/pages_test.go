package control_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
)

// Pages that are not of the API are on the socket in their own form, and only for GET.
func TestPagesBesideTheAPI(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(&controltest.Backend{}, quiet)
	server.Handle("/healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") }))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	client := httpClient(l.Addr().String())
	defer client.CloseIdleConnections()
	for method, want := range map[string]struct {
		status int
		body   string
		allow  string
	}{
		http.MethodGet: {http.StatusOK, "ok\n", ""},
		http.MethodPost: {http.StatusMethodNotAllowed,
			`{"error":{"code":"method-not-allowed","message":"/healthz is not for POST","hint":"use GET"}}` + "\n", http.MethodGet},
	} {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://runcsup/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want.status || string(body) != want.body || resp.Header.Get("Allow") != want.allow {
			t.Errorf("%s: %d %s %v %v", method, resp.StatusCode, body, resp.Header, err)
		}
	}
}
