// Package runtime runs containers through an OCI runtime (runc, crun) and is the supervisor's Runtime: it starts a
// container, watches its init process through a pidfd, tells how it ended, and takes away what is left of it.
//
// It promises that a call ends with its context together with every process of the call, that an exit status is what the
// kernel said or unknown, that Remove returns nil only when nothing is left, that a runtime which hangs, fails or prints
// nonsense cannot keep a name from being used again, and that no process outside of the container's cgroup and of its own
// runtime calls is ever signalled. Waiting for a container costs neither a thread nor a process, and nothing is polled.
//
// Beside the runtime it uses the cgroup file systems, procfs, for OOM kills the kernel's log, and for what a killed runtime
// leaves of a systemd scope D-Bus. It never touches bundles, except for reading linux.cgroupsPath from config.json, nor container output, nor children of
// this process that somebody else waits for. Three runtime calls are all it needs in normal life: run, delete, update;
// state is called once for a container that an earlier daemon started,
// and exec for each command that is to run in one.
//
// It is called by internal/daemon, which wires it to the supervisor. The process must be a child subreaper
// (BecomeSubreaper) before the first Run, or exit statuses stay unknown on kernels before 6.15.
package runtime
