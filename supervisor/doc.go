// Package supervisor keeps containers running: it decides when a container is started, stopped, restarted or given up,
// and remembers enough to take over what an earlier daemon left running.
//
// It promises that one name never has two live instances, that a stop wins over everything that is pending, that a
// container waiting for its next start has exactly one timer, that a runtime call which fails or hangs leads to another
// attempt and never to a container left behind, and that an exit status is what the kernel said or unknown.
//
// The life of a container is a pure state machine (machine.go); one goroutine per container turns its actions into calls
// of the interfaces in ports.go and the results back into events (container.go). The package never touches the file
// system, processes or the wall clock by itself, imports nothing from internal/, and is called by internal/daemon.
package supervisor
