package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// request is what a route's handler gets to see.
type request struct {
	*http.Request
	body []byte
	name string // of the container, where the path has one
}

// answer is what a route's handler returns.
type answer struct {
	status int // 0 is 200
	value  any
	stream streamFunc // in place of value
	// upgrade goes on with the connection in another protocol, in place of value.
	upgrade func(context.Context, *fdConn) error
}

var errGoingDown = &Error{Code: CodeUnavailable, Message: "the daemon is going down"}

// handler is the mux of all routes. Each path is registered without a method too, and / for the rest, because the mux
// itself answers in plain text.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, rt := range routes {
		mux.Handle(rt.method+" "+rt.path, s.serve(rt))
		methods[rt.path] = append(methods[rt.path], rt.method)
	}
	for path, h := range s.pages {
		mux.Handle(http.MethodGet+" "+path, s.gated(h))
		methods[path] = append(methods[path], http.MethodGet)
	}
	for path, allowed := range methods {
		allow := strings.Join(allowed, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			s.write(w, answer{}, &Error{Code: CodeMethodNotAllowed, Message: fmt.Sprintf("%s is not for %s", r.URL.Path, r.Method),
				Hint: "use " + allow})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.write(w, answer{}, &Error{Code: CodeNoSuchRoute, Message: "no such route " + r.URL.Path, Hint: "docs/api.md lists them"})
	})
	return mux
}

func (s *Server) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.gate.TryRLock() {
			s.write(w, answer{}, errGoingDown)
			return
		}
		defer s.gate.RUnlock()
		begin := time.Now()
		a, err := s.call(w, r, rt)
		status := 0
		switch {
		case err == nil && a.stream != nil:
			status = s.writeStream(w, r, a.stream)
		case err == nil && a.upgrade != nil:
			status = s.writeUpgrade(w, r, a.upgrade)
		default:
			status = s.write(w, a, err)
		}
		if rt.method != http.MethodGet {
			s.log.LogAttrs(r.Context(), slog.LevelInfo, "control request", slog.String("request", r.Method+" "+r.URL.Path),
				peerAttr(r.Context()), slog.Int("status", status), slog.Duration("took", time.Since(begin)))
		}
	})
}

// gated is a page that is not of the API: it answers in its own form.
func (s *Server) gated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.gate.TryRLock() {
			s.write(w, answer{}, errGoingDown)
			return
		}
		defer s.gate.RUnlock()
		// A client that does not read cannot be told so.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(transferTimeout))
		h.ServeHTTP(w, r)
	})
}

func (s *Server) call(w http.ResponseWriter, r *http.Request, rt route) (a answer, err error) {
	body, err := readBody(w, r)
	if err != nil {
		return answer{}, err
	}
	defer s.recover(r, &err)
	if rt.method != http.MethodGet {
		r = r.WithContext(onBehalfOfPeer(r.Context()))
	}
	a, err = rt.handle(s, request{Request: r, body: body, name: r.PathValue("name")})
	if err != nil && s.base.Err() != nil && errors.Is(err, context.Canceled) {
		err = context.Cause(s.base)
	}
	return a, err
}

// recover is deferred: a panic becomes an internal error of this request and of nothing else.
func (s *Server) recover(r *http.Request, err *error) {
	if p := recover(); p != nil {
		s.log.Error("control handler panicked", "request", r.Method+" "+r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		*err = &Error{Code: CodeInternal, Message: "internal error; the daemon's log has more"}
	}
}

// readBody reads the whole body within its time. Only then does net/http notice that the client leaves.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	c := http.NewResponseController(w)
	if err := c.SetReadDeadline(time.Now().Add(transferTimeout)); err != nil {
		return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("cannot set a deadline: %v", err)}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		return nil, &Error{Code: CodeUsage, Message: fmt.Sprintf("cannot read the request's body: %v", err)}
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("cannot reset the deadline: %v", err)}
	}
	return body, nil
}

// decode reads the body into options. No body at all means all defaults.
func (r request) decode(options any) error {
	if len(bytes.TrimSpace(r.body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(options); err != nil {
		return &Error{Code: CodeUsage, Message: "wrong request body: " + strings.TrimPrefix(err.Error(), "json: ")}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &Error{Code: CodeUsage, Message: "wrong request body: more than one JSON value"}
	}
	return nil
}

// write sends the answer or the error and returns the status.
func (s *Server) write(w http.ResponseWriter, a answer, err error) int {
	status, value := a.status, a.value
	if status == 0 {
		status = http.StatusOK
	}
	if err != nil {
		e := asError(err)
		status, value = e.status(), errorBody{Error: e}
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		s.log.Error("cannot encode an answer of the control API", "error", err)
		status = http.StatusInternalServerError
		buf.Reset()
		buf.WriteString(`{"error":{"code":"internal","message":"cannot encode the answer"}}` + "\n")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// A client that does not read cannot be told so: errors from here on are its own.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(transferTimeout))
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes())
	return status
}

// detach does what a client does not want to wait for. It ends with the server at the latest.
func (s *Server) detach(r request, do func(ctx context.Context) error) error {
	if !s.gate.TryRLock() {
		return errGoingDown
	}
	go func() {
		defer s.gate.RUnlock()
		err := func() (err error) {
			defer s.recover(r.Request, &err)
			return do(supervisor.OnBehalfOf(s.base, supervisor.Behalf(r.Context())))
		}()
		if err != nil {
			s.log.Error("control request failed after its client had left", "request", r.Method+" "+r.URL.Path, "error", err)
		}
	}()
	return nil
}
