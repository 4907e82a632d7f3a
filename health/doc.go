// Package health is the room for probes (exec, http, tcp, grpc, notify) and their thresholds. It has none yet:
// definitions that ask for probes are refused by internal/config. It will know networks and an exec function that is
// handed to it, never the supervisor.
package health
