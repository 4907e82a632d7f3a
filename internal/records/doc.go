// Package records keeps on disk what has to outlive the daemon: a record per container, the last good text of each
// definition, and the locks that keep two daemons from sharing a directory.
//
// It promises that a file is replaced whole or not at all, whatever happens meanwhile, that a damaged one is told from an
// empty one and set aside, and that nothing but root can read what it writes. It knows nothing of what the records mean.
// internal/daemon calls it and hands it to the supervisor.
package records
