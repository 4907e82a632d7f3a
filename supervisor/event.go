package supervisor

import "time"

// EventType names what an Event tells.
type EventType string

// The types of events.
const (
	EventStarted     EventType = "started"
	EventAdopted     EventType = "adopted"
	EventStartFailed EventType = "start-failed"
	EventExited      EventType = "exited"
	EventStopped     EventType = "stopped" // an instance was ended here
	EventRestart     EventType = "restart" // a restart was decided on; Snapshot.NextStartAt says when
	EventFailed      EventType = "failed"  // given up
	EventRemoved     EventType = "removed" // the definition is gone, and so is the container
	EventUpdated     EventType = "updated" // limits were applied to the running instance
	EventError       EventType = "error"   // something else went wrong; supervision goes on
)

// Event is something that happened to a container.
type Event struct {
	Type     EventType
	At       time.Time
	Snapshot Snapshot // just after it
	Err      error
}
