package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// generous is a time that only a fault uses up.
const generous = 30 * time.Second

// once carries a probe out as the engine does.
func once(t *testing.T, p *Probe, timeout time.Duration, netns func() (*os.File, error)) (Outcome, string) {
	t.Helper()
	p.Timeout = timeout
	w := &Watch{net: &network{open: netns, home: new(homeNetwork)}}
	defer w.net.close()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return w.asker(p)(ctx)
}

func portOfListener(l net.Addr) int { return l.(*net.TCPAddr).Port }

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "said "+r.PathValue("code"))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s %v", r.Method, r.Host, r.URL.RequestURI(), r.Header.Get("X-Key"), r.UserAgent(), r.Close)
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/status/204", http.StatusFound) })
	mux.HandleFunc("/there", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusMovedPermanently)
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	port := portOfListener(server.Listener.Addr())
	for _, tt := range []struct {
		name string
		http HTTP
		want Outcome
		text string // begins so
	}{
		{"200", HTTP{Path: "/status/200"}, Success, "HTTP status 200 OK\nsaid 200"},
		{"204", HTTP{Path: "/status/204"}, Success, "HTTP status 204"},
		{"304", HTTP{Path: "/status/304"}, Success, "HTTP status 304"},
		{"404", HTTP{Path: "/status/404"}, Failure, "HTTP status 404 Not Found: said 404"},
		{"503", HTTP{Path: "/status/503"}, Failure, "HTTP status 503"},
		{"another range", HTTP{Path: "/status/401", MinStatus: 401, MaxStatus: 401}, Success, "HTTP status 401"},
		{"outside of it", HTTP{Path: "/status/200", MinStatus: 401, MaxStatus: 401}, Failure, "HTTP status 200"},
		{"what is sent", HTTP{Path: "/echo?a=b%2fc&d"}, Success, "HTTP status 200 OK\nGET localhost:" + strconv.Itoa(port) + " /echo?a=b%2fc&d  runcsup-probe true"},
		{"host, headers and method", HTTP{Host: "127.0.0.1", Path: "/echo", Method: "OPTIONS", Headers: http.Header{"Host": {"app.example"}, "X-Key": {"1"}, "User-Agent": {"me"}}},
			Success, "HTTP status 200 OK\nOPTIONS app.example /echo 1 me true"},
		{"no path", HTTP{}, Failure, "HTTP status 404"},
		{"head", HTTP{Path: "/echo", Method: "HEAD"}, Success, "HTTP status 200 OK"},
		{"redirect to itself", HTTP{Path: "/here"}, Success, "HTTP status 204"},
		{"redirect elsewhere", HTTP{Path: "/there"}, Success, "HTTP status 301"},
		{"redirects for ever", HTTP{Path: "/round"}, Failure, "more than 10 redirects"},
		{"redirect to nowhere", HTTP{Path: "/nowhere"}, Success, "HTTP status 302"},
		{"a big answer", HTTP{Path: "/big"}, Success, "HTTP status 200 OK\nxxxx"},
		{"an interim answer", HTTP{Path: "/early"}, Failure, "HTTP status 418"},
		{"TLS where there is none", HTTP{Scheme: "https"}, Failure, "TLS: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.http.Port = port
			got, text := once(t, &Probe{HTTP: &tt.http}, generous, nil)
			if got != tt.want || !strings.HasPrefix(text, tt.text) {
				t.Errorf("got %s %q, want %s %q", got, text, tt.want, tt.text)
			}
			if len(text) > maxBody+100 {
				t.Errorf("it kept %d bytes", len(text))
			}
		})
	}
}

func TestHTTPS(t *testing.T) {
	names := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- h.ServerName
		return nil, nil
	}}
	server.StartTLS()
	defer server.Close()
	port := portOfListener(server.Listener.Addr())
	for _, tt := range []struct {
		http HTTP
		name string
	}{
		{HTTP{Host: "127.0.0.1"}, ""},
		{HTTP{Headers: http.Header{"Host": {"app.example:8443"}}}, "app.example"},
	} {
		tt.http.Port, tt.http.Scheme = port, "https"
		if got, text := once(t, &Probe{HTTP: &tt.http}, generous, nil); got != Success {
			t.Errorf("%s %q", got, text)
		}
		if name := <-names; name != tt.name {
			t.Errorf("SNI is %q, want %q", name, tt.name)
		}
	}
}

// serve answers every connection with f, until the test ends.
func serve(t *testing.T, network string, f func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen(network, "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return portOfListener(l.Addr())
}

// untilClosed reads until the other side has had enough.
func untilClosed(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// A server may answer with anything, or not at all.
func TestHostileHTTP(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		answer  func(net.Conn)
		text    string
	}{
		{"nothing", 50 * time.Millisecond, untilClosed, "no answer within 50ms"},
		{"a status, and then nothing", 50 * time.Millisecond, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			untilClosed(c)
		}, "no answer within 50ms"},
		{"half a body", 50 * time.Millisecond, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
			untilClosed(c)
		}, "no answer within 50ms"},
		{"the end", generous, func(c net.Conn) { _, _ = bufio.NewReader(c).ReadString('\n') }, "no HTTP answer: "},
		{"rubbish", generous, func(c net.Conn) { _, _ = io.WriteString(c, "220 smtp.example ESMTP\r\n"); untilClosed(c) }, "no HTTP answer: "},
		{"headers without end", generous, func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X-Header: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, "no HTTP answer: "},
		{"interim answers without end", generous, func(c net.Conn) {
			for range 100 {
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
			}
			untilClosed(c)
		}, "HTTP status 103"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := serve(t, "tcp4", tt.answer)
			got, text := once(t, &Probe{HTTP: &HTTP{Port: port}}, tt.timeout, nil)
			if got != Failure || !strings.HasPrefix(text, tt.text) {
				t.Errorf("got %s %q, want failure %q", got, text, tt.text)
			}
		})
	}
}

func TestTCP(t *testing.T) {
	v4 := serve(t, "tcp4", func(net.Conn) {})
	if got, text := once(t, &Probe{TCP: &TCP{Port: v4}}, generous, nil); got != Success {
		t.Errorf("IPv4: %s %q", got, text)
	}
	if got, text := once(t, &Probe{TCP: &TCP{Port: v4, Host: "127.0.0.2"}}, generous, nil); got != Failure || !strings.Contains(text, "connect to 127.0.0.2:"+strconv.Itoa(v4)+": connection refused") {
		t.Errorf("not listening there: %s %q", got, text)
	}
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Logf("this machine has no IPv6: %v", err)
	} else {
		defer l.Close()
		if got, text := once(t, &Probe{TCP: &TCP{Port: portOfListener(l.Addr())}}, generous, nil); got != Success {
			t.Errorf("IPv6: %s %q", got, text)
		}
	}
	// A full backlog: the kernel drops what comes, and nobody ever answers.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	full := sa.(*unix.SockaddrInet4).Port
	for range 2 {
		conn, err := (&net.Dialer{Timeout: 100 * time.Millisecond}).Dial("tcp4", "127.0.0.1:"+strconv.Itoa(full))
		if err == nil {
			defer conn.Close()
		}
	}
	if got, text := once(t, &Probe{TCP: &TCP{Port: full}}, 50*time.Millisecond, nil); got != Failure || text != "no answer within 50ms" {
		t.Errorf("full backlog: %s %q", got, text)
	}
}

// A connection to a port of the range that the kernel chooses from is sometimes one with itself.
func TestNobodyIsConnectedWithItself(t *testing.T) {
	conn, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOfListener(conn.Addr())
	_ = conn.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Bind(fd, to); err != nil {
		t.Fatal(err)
	}
	if c, err := connect(t.Context(), fd, to); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v, %v", c, err)
	}
}

// newNetns makes a network namespace with loopback up, and a listener in it that answers HTTP.
func newNetns(t *testing.T) (netns *os.File, port int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	type made struct {
		netns *os.File
		l     net.Listener
		err   error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		var m made
		m.err = unix.Unshare(unix.CLONE_NEWNET)
		if m.err == nil {
			m.err = loopbackUp()
		}
		if m.err == nil {
			m.netns, m.err = os.Open("/proc/thread-self/ns/net")
		}
		if m.err == nil {
			m.l, m.err = net.Listen("tcp4", "127.0.0.1:0")
		}
		done <- m
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	server := &httptest.Server{Listener: m.l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") })}}
	server.Start()
	t.Cleanup(server.Close)
	return m.netns, portOfListener(m.l.Addr())
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func netnsOfThread(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// Probes reach what listens in a network namespace of its own, and leave no thread behind in it.
func TestOtherNetworkNamespace(t *testing.T) {
	netns, port := newNetns(t)
	home := netnsOfThread(t)
	probe := &Probe{HTTP: &HTTP{Port: port}}
	w := &Watch{net: &network{open: func() (*os.File, error) { return netns, nil }, home: new(homeNetwork)}}
	p := *probe
	p.Timeout = generous
	ask := w.asker(&p)
	done := make(chan string)
	for range 20 {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), generous)
			defer cancel()
			got, text := ask(ctx)
			done <- fmt.Sprint(got, " ", text, " ", netnsOfThread(t) == home)
		}()
	}
	for range 20 {
		if got := <-done; got != "success HTTP status 200 OK\ninside true" {
			t.Errorf("got %q", got)
		}
	}
	w.net.close()
	if got, text := w.asker(&p)(t.Context()); got == Success {
		t.Errorf("after the end: %s %q", got, text)
	}
	if got, text := once(t, probe, generous, nil); got != Failure || !strings.Contains(text, "connection refused") {
		t.Errorf("from outside: %s %q", got, text)
	}
}

func TestNetworkThatCannotBeEntered(t *testing.T) {
	got, text := once(t, &Probe{TCP: &TCP{Port: 1}}, generous, func() (*os.File, error) { return nil, errors.New("it is gone") })
	if got != Unknown || !strings.Contains(text, "cannot open the container's network: it is gone") {
		t.Errorf("not there: %s %q", got, text)
	}
	got, text = once(t, &Probe{TCP: &TCP{Port: 1}}, generous, func() (*os.File, error) { return os.Open("/dev/null") })
	if got != Unknown || !strings.Contains(text, "cannot enter the container's network") {
		t.Errorf("no namespace: %s %q", got, text)
	}
}
