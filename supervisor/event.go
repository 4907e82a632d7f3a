package supervisor

import "time"

// EventType names what an Event tells.
type EventType string

// The types of events.
const (
	EventStarted     EventType = "started"      // Cause says by whom
	EventAdopted     EventType = "adopted"      // an instance that an earlier daemon started was taken over
	EventStartFailed EventType = "start-failed" // Err says why
	EventExited      EventType = "exited"       // an instance ended by itself; Snapshot.LastExit says how
	EventStopped     EventType = "stopped"      // an instance was ended here; Cause says by whom
	EventLost        EventType = "lost"         // an instance of an earlier boot ended with the machine
	EventRestart     EventType = "restart"      // a restart was decided on; Why says on what grounds, Snapshot.NextStartAt when
	EventNoRestart   EventType = "no-restart"   // it ended and stays so; Why says on what grounds
	EventCancelled   EventType = "cancelled"    // a start that was to come was given up; Cause says by whom
	EventFailed      EventType = "failed"       // given up; Err says why
	EventRemoved     EventType = "removed"      // the definition is gone, and so is the container
	EventUpdated     EventType = "updated"      // limits were applied to the running instance
	EventSignal      EventType = "signal"       // somebody sent it a signal; Why says which
	EventEnabled     EventType = "enabled"      // by hand
	EventDisabled    EventType = "disabled"     // by hand
	EventReset       EventType = "reset-failed" // by hand
	EventWaiting     EventType = "waiting"      // Snapshot.WaitingFor says for what; Err, why that does not come by itself
	EventReady       EventType = "ready"        // it is up, for those that wait for it
	EventUnready     EventType = "unready"      // it runs, and is not ready any more; Err says so when it was not in time
	EventHealthy     EventType = "healthy"      // its probes say that it works
	EventUnhealthy   EventType = "unhealthy"    // they say that it does not; Err says why
	EventError       EventType = "error"        // something else went wrong; supervision goes on
)

// Cause is who or what had a container started or ended.
type Cause string

// The causes.
const (
	CauseHand       Cause = "hand"       // somebody told it to
	CauseDaemon     Cause = "daemon"     // started because the daemon was
	CauseShutdown   Cause = "shutdown"   // ended because the daemon was told to end with its containers
	CausePolicy     Cause = "policy"     // restarted by its restart policy
	CauseDefinition Cause = "definition" // its definition is new or was changed
	CauseDependency Cause = "dependency" // of another container, by its definition's after, requires or bindsTo
	CauseRemoval    Cause = "removal"    // its definition was removed
)

// Event is something that happened to a container.
type Event struct {
	Type     EventType
	At       time.Time
	Snapshot Snapshot // just after it
	// Cause is of started, stopped and cancelled; Why says more about it in words, and is of restart and no-restart.
	Cause Cause
	Why   string
	// By is who told it to, where Cause is CauseHand and the command was given by OnBehalfOf, and the name of the other
	// container where it is CauseDependency.
	By string
	// Ran is how long the instance had run (exited, stopped, adopted), 0 if nobody knows.
	Ran time.Duration
	// MemoryPeak is the most memory that the ended instance used at one time, in bytes, what the runtime used in its
	// cgroup at its start included; 0 if nobody knows. It is of exited and stopped.
	MemoryPeak uint64
	// Attempt counts, from 1, the restarts in a row that made the delay what it is. It is of restart.
	Attempt int
	Err     error
}
