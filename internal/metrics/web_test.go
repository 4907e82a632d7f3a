package metrics

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/runcsup/runcsup/internal/control"
)

// running is a Web under test.
type running struct {
	*Web
	changed chan struct{}
}

func runWeb(t *testing.T, cfg WebConfig, checks Checks) *running {
	t.Helper()
	e, _ := newWorld(t).exporter(t)
	h, err := WebHandler(e.Pages(checks), "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	r := &running{Web: NewWeb(cfg, h), changed: make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.Run(ctx, func() { r.changed <- struct{}{} }); close(ended) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return r
}

// wait waits until the address is served, or not.
func (r *running) wait(t *testing.T, served bool) control.WebAddress {
	t.Helper()
	late := time.After(time.Minute)
	for {
		for _, a := range r.Addresses() {
			if (a.Error == "") == served {
				return a
			}
		}
		select {
		case <-r.changed:
		case <-late:
			t.Fatalf("served=%v never came: %v", served, r.Addresses())
		}
	}
}

func get(t *testing.T, c *http.Client, url, user, password string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// The pages, and what the probes of others get to see.
func TestPages(t *testing.T) {
	var sick, late error
	r := runWeb(t, WebConfig{Addresses: []string{"127.0.0.1:0"}}, Checks{
		Healthy: func(context.Context) error { return sick },
		Ready:   func() error { return late },
	})
	base := "http://" + r.wait(t, true).Address
	for path, want := range map[string]string{"/": `href="/metrics"`, "/metrics": "runcsup_build_info", "/healthz": "ok\n", "/readyz": "ok\n"} {
		if code, body := get(t, http.DefaultClient, base+path, "", ""); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	sick, late = errors.New("the main loop does not answer"), errors.New("not yet")
	for path, want := range map[string]string{"/healthz": "the main loop does not answer\n", "/readyz": "not yet\n"} {
		if code, body := get(t, http.DefaultClient, base+path, "", ""); code != http.StatusServiceUnavailable || body != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := get(t, http.DefaultClient, base+"/v1/containers", "", ""); code != http.StatusNotFound {
		t.Errorf("the control API is on the network: %d", code)
	}
}

// An address in use is told, and served as soon as it is free; the other one is served all the while.
func TestAnAddressInUseIsTriedAgain(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	r := runWeb(t, WebConfig{Addresses: []string{address, "127.0.0.1:0"}}, Checks{})
	if a := r.wait(t, false); a.Address != address || !strings.Contains(a.Error, "address already in use") {
		t.Errorf("%+v", a)
	}
	if a := r.wait(t, true); a.Address == address {
		t.Errorf("%+v", a)
	}
	_ = taken.Close()
	for len(r.Addresses()) != 2 || r.Addresses()[0].Error != "" || r.Addresses()[1].Error != "" {
		select {
		case <-r.changed:
		case <-time.After(time.Minute):
			t.Fatalf("never served: %v", r.Addresses())
		}
	}
	if code, _ := get(t, http.DefaultClient, "http://"+address+"/metrics", "", ""); code != http.StatusOK {
		t.Error(code)
	}
}

// TLS and passwords are as in every exporter. With a configuration that cannot be used nothing is served, least of all
// without a password.
func TestTLSAndPasswords(t *testing.T) {
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "web.yaml")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("tls_server_config: {cert_file: missing.pem, key_file: key.pem}\n")
	r := runWeb(t, WebConfig{Addresses: []string{"127.0.0.1:0", "127.0.0.1:0"}, ConfigFile: file}, Checks{})
	if a := r.wait(t, false); !strings.Contains(a.Error, "missing.pem") || !strings.Contains(a.Error, file) {
		t.Errorf("%+v", a)
	}
	put("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prometheus: " + string(hash) + "}\n")
	address := r.wait(t, true).Address
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer c.CloseIdleConnections()
	for password, want := range map[string]int{"secret": http.StatusOK, "wrong": http.StatusUnauthorized} {
		if code, _ := get(t, c, "https://"+address+"/metrics", "prometheus", password); code != want {
			t.Errorf("%s: %d, want %d", password, code, want)
		}
	}
	if code, _ := get(t, c, "https://"+address+"/healthz", "", ""); code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", code)
	}
	if code, _ := get(t, http.DefaultClient, "http://"+address+"/metrics", "prometheus", "secret"); code != http.StatusBadRequest {
		t.Errorf("without TLS: %d", code)
	}
}

// writeCertificate makes cert.pem and key.pem for 127.0.0.1.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyBytes}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	return pool
}
