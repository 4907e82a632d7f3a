// Package metrics shows Prometheus what the daemon knows: the state of each container, what its cgroup uses, and how the
// daemon itself does. It serves them over HTTP, by TLS and with passwords if so configured, as every exporter does.
//
// It reads snapshots, events and cgroups, and promises to change nothing: whatever fails here, an address in use, a
// container that vanishes during a scrape, a client that does not read, costs no container anything. Label values are
// bounded: names of containers, block devices, and words of this program. internal/daemon makes an Exporter and tells it
// what happens.
package metrics
