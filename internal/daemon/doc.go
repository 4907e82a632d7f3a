// Package daemon puts the rooms together to the service: it reads definitions, has bundles built from them, hands both to
// the supervisor, follows changes on disk, answers the control API and talks to the service manager.
//
// It promises that a definition that cannot be used never touches the container it is for, that work on one definition
// never waits for another's, and that after a stop nothing is left: no container, mount, cgroup or socket. It knows no
// runtime, no HTTP and no YAML; those are the business of the rooms it calls. cmd/runcsup calls it.
package daemon
