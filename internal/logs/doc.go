// Package logs brings what containers write to where it is to be: a rotated file, the journal, or nowhere.
//
// A container writes to two FIFOs that it holds open for reading and writing, so it goes on when no daemon is there: what
// it writes stays in the FIFO, and a full one holds it back. The Collector copies lines from there to the container's
// driver. It promises that a line is stored once and whole, however often the daemon is killed in between, that a full disk
// loses nothing that the FIFO can hold, and that one container never waits for another. It has no goroutine for a
// container that says nothing. It also reads what was stored. internal/daemon makes it and hands it to the supervisor;
// cmd/runcsup reads files with it when there is no daemon.
//
// How a line gets stored once: bytes are looked at without being taken (tee), then stored, then taken. The position, a page
// of memory that outlives the process, says where a killed daemon was; see position.go.
package logs
