package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// This is the one call of grpc.health.v1.Health that a probe makes, spoken over net/http's own HTTP/2. google.golang.org/grpc
// would add 5 MB to the program, and a resolver, a balancer and three goroutines to every probe. The format of the call is
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, that of its messages
// https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto.

const (
	grpcCheck    = "/grpc.health.v1.Health/Check"
	grpcMaxReply = 1 << 10
	grpcPrefix   = 5 // compressed or not, and the length of the message
)

// servingStatus are the names of HealthCheckResponse.ServingStatus.
var servingStatus = map[uint64]string{0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

const serving = 1

// askGRPC makes the call. An error is any other answer than SERVING.
func askGRPC(ctx context.Context, n *network, g *GRPC) (string, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: protocols, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxBody,
		// The transport's context for it has no deadline.
		DialContext: func(context.Context, string, string) (net.Conn, error) { return n.dial(ctx, g.Host, g.Port) },
	}
	defer transport.CloseIdleConnections()
	request := (&http.Request{
		Method: http.MethodPost, Body: io.NopCloser(newGRPCRequest(g.Service)), ProtoMajor: 2,
		URL:    &url.URL{Scheme: "http", Host: net.JoinHostPort(grpcAuthority(g.Host), strconv.Itoa(g.Port)), Path: grpcCheck},
		Header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {userAgent}},
	}).WithContext(ctx)
	response, err := transport.RoundTrip(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("no gRPC server: HTTP status %s", response.Status)
	}
	reply, err := io.ReadAll(io.LimitReader(response.Body, grpcMaxReply))
	if err != nil {
		return "", fmt.Errorf("cannot read the answer: %w", err)
	}
	if err := grpcError(response); err != nil {
		return "", err
	}
	status, err := parseGRPCReply(reply)
	if err != nil {
		return "", err
	}
	name, known := servingStatus[status]
	if !known {
		name = "status " + strconv.FormatUint(status, 10)
	}
	if status != serving {
		return "", errors.New(name)
	}
	return name, nil
}

func grpcAuthority(host string) string {
	if host == "" {
		return "localhost"
	}
	return host
}

// newGRPCRequest is HealthCheckRequest{service}.
func newGRPCRequest(service string) io.Reader {
	var message []byte
	if service != "" {
		message = binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service)))
		message = append(message, service...)
	}
	return bytes.NewReader(slices.Concat([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(message))), message))
}

// grpcError is what the trailers, or the head of an answer without a body, say went wrong.
func grpcError(response *http.Response) error {
	code, message := response.Trailer.Get("Grpc-Status"), response.Trailer.Get("Grpc-Message")
	if code == "" {
		code, message = response.Header.Get("Grpc-Status"), response.Header.Get("Grpc-Message")
	}
	if text, err := url.PathUnescape(message); err == nil {
		message = text
	}
	switch code {
	case "0":
		return nil
	case "":
		return errors.New("no gRPC server: the answer has no grpc-status")
	case "12":
		return errors.New("the server has no health service (UNIMPLEMENTED)")
	case "5":
		return errors.New("the server does not know the service (NOT_FOUND)")
	}
	return fmt.Errorf("gRPC status %s: %s", code, message)
}

// parseGRPCReply returns HealthCheckResponse.status.
func parseGRPCReply(reply []byte) (status uint64, err error) {
	errForm := errors.New("the answer is no HealthCheckResponse")
	if len(reply) < grpcPrefix || reply[0] != 0 || binary.BigEndian.Uint32(reply[1:]) != uint32(len(reply)-grpcPrefix) {
		return 0, errForm
	}
	for rest := reply[grpcPrefix:]; len(rest) > 0; {
		key, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errForm
		}
		rest = rest[n:]
		value, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errForm
		}
		rest = rest[n:]
		switch key & 7 {
		case 0: // number
			if key>>3 == 1 {
				status = value
			}
		case 2: // bytes, of a field that this version does not know
			if value > uint64(len(rest)) {
				return 0, errForm
			}
			rest = rest[value:]
		default:
			return 0, errForm
		}
	}
	return status, nil
}
