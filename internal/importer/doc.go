// Package importer reads what kept a container running before runcsup, a systemd unit around `runc run`, and writes the
// definition that does the same.
//
// It promises that what it writes is a definition that package config accepts, that nothing of a unit goes missing in
// silence (each setting is in the definition, or in a comment that says why it is not), and that values of environment
// variables are never written. It runs nothing and changes nothing: what it reads it reads through an fs.FS.
//
// cmd/runcsup calls it for `import unit`.
package importer
