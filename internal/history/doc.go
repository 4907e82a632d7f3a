// Package history keeps what happened to every container and to the daemon itself, on disk, and tells it live to whoever
// listens.
//
// A container's entries are lines of JSON in DIR/containers/NAME.jsonl, the daemon's in DIR/daemon.jsonl. A file that has
// grown to 128 KiB becomes NAME.jsonl.old, by rename, and the older one goes. Each line carries a checksum: what a torn
// write or a bad disk made of one costs that line and no other, and is reported in its place.
//
// It promises that Add never waits, that what is added while the disk is full or hangs is written later (up to a bound,
// beyond which an entry says how much was lost), and that nothing of a write that failed stays in a file.
package history
