package top

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/runcsup/runcsup/supervisor"
)

// Order is what the table is sorted by.
type Order string

// The orders. All but name have the most of it first: the busiest, the one in most trouble, the longest running.
const (
	ByName     Order = "name"
	ByState    Order = "state"
	ByCPU      Order = "cpu"
	ByMemory   Order = "memory"
	ByRestarts Order = "restarts"
	ByUptime   Order = "uptime"
)

// Orders are all there are.
var Orders = []Order{ByName, ByState, ByCPU, ByMemory, ByRestarts, ByUptime}

// trouble ranks the states: what somebody should look at comes first.
var trouble = map[supervisor.State]int{
	supervisor.StateFailed: 8, supervisor.StateBackoff: 7, supervisor.StateStarting: 6, supervisor.StateStopping: 5,
	supervisor.StateWaiting: 4, supervisor.StateRunning: 3, supervisor.StateExited: 2, supervisor.StateStopped: 1,
}

// arrange sorts rows; names decide between those that are alike, so that nothing jumps.
func arrange(rows []Row, by Order, reverse bool, now time.Time) {
	most := func(of func(*Row) float64) func(a, b Row) int {
		return func(a, b Row) int { return cmp.Compare(of(&b), of(&a)) }
	}
	var first func(a, b Row) int
	switch by {
	case ByState:
		first = most(func(r *Row) float64 {
			rank := float64(trouble[r.State])
			if r.Health == supervisor.HealthUnhealthy && r.Pid != 0 {
				rank = 7.5
			}
			return rank
		})
	case ByCPU:
		first = most(func(r *Row) float64 {
			if r.CPUPercent == nil {
				return -1
			}
			return *r.CPUPercent
		})
	case ByMemory:
		first = most(func(r *Row) float64 {
			used, _, ok := r.memory()
			if !ok {
				return -1
			}
			return float64(used)
		})
	case ByRestarts:
		first = most(func(r *Row) float64 { return float64(r.Restarts) })
	case ByUptime:
		first = most(func(r *Row) float64 {
			if r.StartedAt == nil {
				return -1
			}
			return now.Sub(*r.StartedAt).Seconds()
		})
	default:
		first = func(Row, Row) int { return 0 }
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		c := cmp.Or(first(a, b), strings.Compare(a.Name, b.Name))
		if reverse {
			return -c
		}
		return c
	})
}
