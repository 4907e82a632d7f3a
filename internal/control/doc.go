// Package control is the HTTP/JSON control API of the daemon on a unix socket: the server and its Go client.
//
// It promises that nobody but root and the given group can ever connect, that a living daemon's socket is never taken
// away, that every answer is JSON with a status code that says how it went, and that neither a slow client nor a
// panicking handler holds up or ends the daemon. Every call that changes something is logged with its caller's uid.
//
// It decides nothing about containers: it hands each request to a Backend and never touches the runtime, bundles or
// definitions. internal/daemon serves it; cmd/runcsup and internal/daemon's tests use the client. The routes are
// described in docs/api.md.
package control
