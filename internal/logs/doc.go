// Package logs opens what containers write their output to.
//
// It promises a file per container that is only ever appended to, so that neither a restart of the container nor of the
// daemon loses a line. It never reads or rotates, and nothing of it is between a container and its file. internal/daemon
// makes it and hands it to the supervisor.
package logs
