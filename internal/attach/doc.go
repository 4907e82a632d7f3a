// Package attach connects this program's standard input and output with a command that runs elsewhere and has pipes or a
// terminal of its own.
//
// It promises that every byte which the command wrote before it ended is written, that the command never gets a file of
// this program itself (only pipes: a container could read on a terminal, or reopen a file for writing), and that a terminal
// is left as it was found. It never starts anything and knows nothing of who does. cmd/runcsup uses it for exec.
package attach
