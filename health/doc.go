// Package health asks containers how they are: it runs their probes (exec, http, tcp, grpc, notify) and turns the results
// into a verdict by thresholds, with the fields, defaults and meaning that Kubernetes gives them.
//
// It promises that no probe runs twice at one time, that a probe which could not be carried out is unknown and counts
// neither way, that nothing an instance's probes find is reported after its watch was stopped, and that nothing is done
// and no goroutine waits while no probe is due. It bounds what it keeps of results and how many probes run at one time.
//
// It acts on nothing: who watches decides what a verdict leads to. It knows networks, and the functions of a Target that
// lead into a container; never the supervisor, the runtime, or a definition's text. It is called by internal/daemon.
package health
