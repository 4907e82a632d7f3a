package health

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

const (
	userAgent    = "runcsup-probe"
	maxRedirects = 10       // kubelet's
	maxBody      = 10 << 10 // what kubelet reads of an answer
	maxAnswer    = 64 << 10 // with its head
	maxInterim   = 5        // answers of 1xx before the real one
)

// httpRequest is a probe by HTTP, without http.Client: a connection per probe needs none of its pools and goroutines.
type httpRequest struct {
	spec   *HTTP
	url    *url.URL
	header http.Header
	host   string // Host:
	text   []byte // the request, but for those that follow a redirect
	least  int
	most   int
}

func newHTTPRequest(h *HTTP) *httpRequest {
	r := &httpRequest{spec: h, header: h.Headers.Clone(), least: h.MinStatus, most: h.MaxStatus}
	if r.least == 0 {
		r.least = DefaultMinStatus
	}
	if r.most == 0 {
		r.most = DefaultMaxStatus
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	if r.host = r.header.Get("Host"); r.host != "" {
		r.header.Del("Host")
	}
	for name, value := range map[string]string{"User-Agent": userAgent, "Accept": "*/*"} {
		if _, set := r.header[name]; !set { // set to nothing, it is not sent
			r.header.Set(name, value)
		}
	}
	r.url = &url.URL{Scheme: h.Scheme, Path: h.Path}
	if path, err := url.ParseRequestURI(h.Path); err == nil {
		r.url.Path, r.url.RawPath, r.url.RawQuery = path.Path, path.RawPath, path.RawQuery
	}
	if r.url.Scheme == "" {
		r.url.Scheme = "http"
	}
	if r.url.Path == "" {
		r.url.Path = "/"
	}
	host := h.Host
	if host == "" {
		host = "localhost"
	}
	r.url.Host = net.JoinHostPort(host, strconv.Itoa(h.Port))
	var text bytes.Buffer
	if r.request(r.url).Write(&text) == nil { // else it is written anew each time, and each time says what is wrong
		r.text = text.Bytes()
	}
	return r
}

// request is a new one for a URL.
func (r *httpRequest) request(target *url.URL) *http.Request {
	method := r.spec.Method
	if method == "" {
		method = http.MethodGet
	}
	return &http.Request{Method: method, URL: target, Host: r.host, Header: r.header, Close: true, ProtoMajor: 1, ProtoMinor: 1}
}

// send writes a request.
func (r *httpRequest) send(to io.Writer, request *http.Request) error {
	if request.URL == r.url && r.text != nil {
		_, err := to.Write(r.text)
		return err
	}
	return request.Write(to)
}

// ask returns what was answered; the error is nil if the status is one of those that are wanted.
func (r *httpRequest) ask(ctx context.Context, n *network) (string, error) {
	target := r.url
	for range maxRedirects {
		answer, next, err := r.once(ctx, n, target)
		if next == nil || err != nil {
			return answer, err
		}
		target = next
	}
	return "", fmt.Errorf("more than %d redirects", maxRedirects)
}

// once makes one request. next is where a redirect to the same host leads.
func (r *httpRequest) once(ctx context.Context, n *network, target *url.URL) (answer string, next *url.URL, err error) {
	port, err := portOf(target)
	if err != nil {
		return "", nil, err
	}
	conn, err := n.dial(ctx, target.Hostname(), port)
	if err != nil {
		return "", nil, err
	}
	defer conn.Close()
	stream := io.ReadWriter(conn)
	if target.Scheme == "https" {
		// As kubelet: whether the right program answers is not what is asked, and the certificate is for another name.
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: r.serverName(target)})
		if err := secure.HandshakeContext(ctx); err != nil {
			return "", nil, fmt.Errorf("TLS: %w", err)
		}
		stream = secure
	}
	request := r.request(target)
	if err := r.send(stream, request); err != nil {
		return "", nil, fmt.Errorf("cannot send the request: %w", err)
	}
	reader := readers.Get().(*bufio.Reader)
	reader.Reset(io.LimitReader(stream, maxAnswer))
	defer func() {
		reader.Reset(nil)
		readers.Put(reader)
	}()
	return r.read(reader, request)
}

// readers are the buffers of requests under way.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 2048) }}

// read takes the answer to a request.
func (r *httpRequest) read(reader *bufio.Reader, request *http.Request) (answer string, next *url.URL, err error) {
	var response *http.Response
	for range maxInterim {

		response, err = http.ReadResponse(reader, request)
		if err != nil {
			return "", nil, fmt.Errorf("no HTTP answer: %w", err)
		}
		if response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	defer response.Body.Close()
	if next := redirect(response); next != nil {
		return "", next, nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return "", nil, fmt.Errorf("%s, but cannot read its body: %w", response.Status, err)
	}
	if code := response.StatusCode; code < r.least || code > r.most {
		return string(body), nil, fmt.Errorf("HTTP status %s", response.Status)
	}
	return strings.TrimSpace("HTTP status " + response.Status + "\n" + string(body)), nil, nil
}

// redirect returns where an answer leads, nil if nowhere or to another host.
func redirect(response *http.Response) *url.URL {
	method := response.Request.Method
	if method != http.MethodGet && method != http.MethodHead {
		return nil
	}
	switch response.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	next, err := response.Location()
	if err != nil || next.Hostname() != response.Request.URL.Hostname() || next.Scheme != "http" && next.Scheme != "https" {
		return nil
	}
	return next
}

func (r *httpRequest) serverName(target *url.URL) string {
	name := r.host
	if name == "" {
		name = target.Hostname()
	}
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	return name
}

// portOf is the port of a URL, given or its scheme's.
func portOf(u *url.URL) (int, error) {
	switch {
	case u.Port() != "":
		port, err := strconv.Atoi(u.Port())
		if err != nil || port < 1 || port > 65535 {
			return 0, fmt.Errorf("redirect to a port that cannot be: %q", u.Port())
		}
		return port, nil
	case u.Scheme == "https":
		return 443, nil
	}
	return 80, nil
}
