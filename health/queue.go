package health

import (
	"container/heap"
	"time"
)

// queue has the probes that wait for their time, the next one first. It is a heap.
type queue []*check

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	c := x.(*check)
	c.index = len(*q)
	*q = append(*q, c)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	c.index = notQueued
	return c
}

const notQueued = -1

// set puts a check in for a time, or moves it there.
func (q *queue) set(c *check, due time.Time) {
	c.due = due
	if c.index == notQueued {
		heap.Push(q, c)
		return
	}
	heap.Fix(q, c.index)
}

// drop takes a check out if it is in.
func (q *queue) drop(c *check) {
	if c.index != notQueued {
		heap.Remove(q, c.index)
	}
}

// takeDue takes out the next check if its time has come, else it returns nil.
func (q *queue) takeDue(now time.Time) *check {
	if len(*q) == 0 || (*q)[0].due.After(now) {
		return nil
	}
	return heap.Pop(q).(*check)
}
