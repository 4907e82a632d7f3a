// Package bundle makes OCI bundles on disk from what a definition says: a root file system or an archive of one with the
// options of Options, or a ready bundle that the user made.
//
// It promises that the same input gives the same config.json byte for byte, that a build happens beside what is in use
// and is renamed into place only by Install, that a build which fails or is interrupted leaves nothing (Sweep), that an
// archive can write nowhere but into its own root file system, and that values of environment variables and contents of
// secrets appear in no error and in no file but the ones the container needs (all in directories of mode 0700).
//
// It never writes to the user's files, starts no process, and knows nothing of running containers: the supervisor calls
// Prepared.Install when no instance is alive. internal/daemon makes the Builder and asks it for plans.
//
// On disk, for a container NAME:
//
//	BUNDLES/NAME/config.json   what the runtime reads
//	BUNDLES/NAME/bundle.json   what this package remembers of it (record.go)
//	BUNDLES/NAME/rootfs/       of a rootfs-archive
//	BUNDLES/NAME/etc/          resolv.conf, hosts, hostname, written at every start
//	BUNDLES/.NAME.new-*        a build that is not yet in place
//	BUNDLES/.NAME.old-*        what was in place before, on its way out
//	RUN/secrets/NAME/N         copies of secrets, while an instance exists
//	RUN/netns/NAME             symbolic link to the network namespace of another container
package bundle
