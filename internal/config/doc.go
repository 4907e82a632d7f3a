// Package config reads what a person wrote: definitions of containers (one YAML file each) and the daemon's settings.
//
// It promises that what it returns is complete (defaults filled in), checked, and free of contradictions; that nothing in
// a file is ever ignored: a key that is unknown, misplaced, or not supported yet is an error that names file, line and
// column and shows the line; that all problems of a file are reported at once; and that no input makes it panic, hang or
// use memory without bound. Values of env: never appear in errors.
//
// It never writes, never looks into bundles, root file systems or the files a definition refers to, and logs nothing.
// Definitions of the format are in docs/definition.md and definition.schema.json, settings in docs/settings.md. The
// package is called by internal/daemon and by the command line's check.
package config
