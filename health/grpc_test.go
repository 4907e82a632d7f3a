package health

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// healthServer speaks the health service as the gRPC protocol has it, over cleartext HTTP/2.
func healthServer(t *testing.T, f http.HandlerFunc) (port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: f, Protocols: protocols}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return portOfListener(l.Addr())
}

func grpcReply(w http.ResponseWriter, message []byte, status string) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	if message != nil {
		_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	}
	w.Header().Set("Grpc-Status", status)
}

func TestGRPC(t *testing.T) {
	port := healthServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" || len(body) < 5 {
			t.Errorf("%s %v: %q, %v", r.URL, r.Header, body, err)
			return
		}
		message := body[5:]
		if binary.BigEndian.Uint32(body[1:]) != uint32(len(message)) {
			t.Errorf("request is %q", body)
		}
		service, found := bytes.CutPrefix(message, []byte{0x0a, byte(len(message) - 2)})
		if !found && len(message) > 0 {
			t.Errorf("request is %q", body)
		}
		switch string(service) {
		case "":
			grpcReply(w, []byte{0x08, 1}, "0")
		case "down":
			grpcReply(w, []byte{0x08, 2}, "0")
		case "empty":
			grpcReply(w, []byte{}, "0")
		case "newer":
			grpcReply(w, []byte{0x12, 2, 'h', 'i', 0x08, 1}, "0")
		case "nosuch":
			grpcReply(w, nil, "5")
		case "unimplemented":
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "12")
		case "broken":
			w.Header().Set("Grpc-Status", "13")
			w.Header().Set("Grpc-Message", "it%20broke")
		case "rubbish":
			grpcReply(w, []byte{0xff, 0xff}, "0")
		case "web":
			_, _ = io.WriteString(w, "<html>")
		case "hang":
			<-r.Context().Done()
		}
	})
	for _, tt := range []struct {
		service string
		want    Outcome
		text    string
	}{
		{"", Success, "SERVING"},
		{"newer", Success, "SERVING"},
		{"down", Failure, "NOT_SERVING"},
		{"empty", Failure, "UNKNOWN"},
		{"nosuch", Failure, "the server does not know the service (NOT_FOUND)"},
		{"unimplemented", Failure, "the server has no health service (UNIMPLEMENTED)"},
		{"broken", Failure, "gRPC status 13: it broke"},
		{"rubbish", Failure, "the answer is no HealthCheckResponse"},
		{"web", Failure, "no gRPC server: the answer has no grpc-status"},
	} {
		if got, text := once(t, &Probe{GRPC: &GRPC{Port: port, Service: tt.service}}, generous, nil); got != tt.want || text != tt.text {
			t.Errorf("%q: got %s %q, want %s %q", tt.service, got, text, tt.want, tt.text)
		}
	}
	if got, text := once(t, &Probe{GRPC: &GRPC{Port: port, Service: "hang"}}, 100*time.Millisecond, nil); got != Failure || text != "no answer within 100ms" {
		t.Errorf("hang: %s %q", got, text)
	}
}

func TestGRPCOfSomethingElse(t *testing.T) {
	port := serve(t, "tcp4", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); untilClosed(c) })
	if got, text := once(t, &Probe{GRPC: &GRPC{Port: port}}, generous, nil); got != Failure {
		t.Errorf("HTTP/1: %s %q", got, text)
	}
	if got, text := once(t, &Probe{GRPC: &GRPC{Port: 1}}, generous, nil); got != Failure || !strings.Contains(text, "connection refused") {
		t.Errorf("nobody: %s %q", got, text)
	}
	silent := serve(t, "tcp4", untilClosed)
	if got, text := once(t, &Probe{GRPC: &GRPC{Port: silent}}, 100*time.Millisecond, nil); got != Failure || text != "no answer within 100ms" {
		t.Errorf("silence: %s %q", got, text)
	}
}

func FuzzGRPCReply(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 6, 0x12, 2, 'h', 'i', 8, 2})
	f.Add([]byte{1, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 3, 0x12, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, reply []byte) {
		if status, err := parseGRPCReply(reply); err != nil && status != 0 {
			t.Errorf("%q: %d and %v", reply, status, err)
		}
	})
}
