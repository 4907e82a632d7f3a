package supervisor

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// listen makes the house tell its events from now on, as text.
func (h *house) listen(boot string) *[]string {
	var told []string
	h.Close()
	h.Supervisor = New(Config{
		Runtime: h.rt, Store: h.store, Output: fakeOutput{}, BootID: boot, MaxStarts: 4, Rand: func() float64 { return 0 },
		OnEvent: func(e Event) { told = append(told, eventText(e)) }, // one container, so one goroutine at a time
	})
	return &told
}

// eventText has of an event what it says: type, cause, reasons, times.
func eventText(e Event) string {
	words := []string{string(e.Type)}
	add := func(format string, value any, there bool) {
		if there {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	add("by %s", e.Cause, e.Cause != "")
	add("of %s", e.By, e.By != "")
	switch e.Type {
	case EventExited, EventStopped, EventStartFailed:
		add("(%s)", e.Snapshot.LastExit, true)
	}
	add("ran %s", e.Ran, e.Ran != 0)
	add("peak %d", e.MemoryPeak, e.MemoryPeak != 0)
	add("why: %s", e.Why, e.Why != "")
	add("attempt %d", e.Attempt, e.Attempt != 0)
	if e.Type == EventRestart {
		add("in %s", e.Snapshot.NextStartAt.Sub(e.At).Round(time.Millisecond), true)
	}
	add("error: %v", e.Err, e.Err != nil)
	return strings.Join(words, " ")
}

func (h *house) lives(d time.Duration, status ExitStatus) {
	h.rt.set(func() { h.rt.life = func(string) (time.Duration, ExitStatus) { return d, status } })
}

// What happens to a container is told with its reasons.
func TestEvents(t *testing.T) {
	crash := exited(3)
	crash.MemoryPeak = 4096
	oom := signaled(syscall.SIGKILL)
	oom.OOMKilled = true
	steady := func(s *Spec) { s.Restart.Delay, s.Restart.Steps, s.Restart.MaxDelay = 15*time.Second, 0, 0 }
	for name, c := range map[string]struct {
		spec func(*Spec)
		play func(t *testing.T, h *house)
		want []string
	}{
		"a crash and its restart": {
			spec: steady,
			play: func(t *testing.T, h *house) {
				h.lives(2*time.Second, crash)
				h.add(t, h.npd)
				after(3 * time.Second)
				h.lives(0, ExitStatus{})
				after(15 * time.Second)
			},
			want: []string{
				"started by definition",
				"exited (exited with code 3) ran 2s peak 4096",
				"restart why: policy always attempt 1 in 15s",
				"started by policy",
			},
		},
		"an OOM kill that the policy restarts": {
			spec: func(s *Spec) { steady(s); s.Restart.Mode = RestartOnAbnormal },
			play: func(t *testing.T, h *house) {
				h.lives(time.Second, oom)
				h.add(t, h.npd)
				after(2 * time.Second)
			},
			want: []string{
				"started by definition",
				"exited (oom by SIGKILL) ran 1s",
				"restart why: policy on-abnormal, after an abnormal end (oom) attempt 1 in 15s",
			},
		},
		"an end that is none for the policy": {
			spec: func(s *Spec) { s.Restart.Mode = RestartOnFailure },
			play: func(t *testing.T, h *house) {
				h.lives(time.Second, exited(0))
				h.add(t, h.npd)
				after(2 * time.Second)
			},
			want: []string{
				"started by definition",
				"exited (exited with code 0) ran 1s",
				"no-restart why: policy on-failure, after a clean end (code 0)",
			},
		},
		"a status that forces, then one that prevents": {
			spec: func(s *Spec) {
				steady(s)
				s.Restart.Mode = RestartNo
				s.Restart.ForceStatuses.Signals, s.Restart.PreventStatuses.Codes = []syscall.Signal{syscall.SIGHUP}, []int{7}
			},
			play: func(t *testing.T, h *house) {
				h.lives(time.Second, signaled(syscall.SIGHUP))
				h.add(t, h.npd)
				after(2 * time.Second)
				h.lives(time.Second, exited(7))
				after(20 * time.Second)
			},
			want: []string{
				"started by definition",
				"exited (signaled by SIGHUP) ran 1s",
				"restart why: restart.forceExitStatus has SIGHUP attempt 1 in 15s",
				"started by policy",
				"exited (exited with code 7) ran 1s",
				"no-restart why: restart.preventExitStatus has code 7",
			},
		},
		"too many starts": {
			spec: func(s *Spec) { steady(s); s.Restart.Limit = StartLimit{Burst: 1, Interval: time.Hour} },
			play: func(t *testing.T, h *house) {
				h.lives(time.Second, exited(1))
				h.add(t, h.npd)
				after(time.Minute)
			},
			want: []string{
				"started by definition",
				"exited (exited with code 1) ran 1s",
				"restart why: policy always attempt 1 in 15s",
				"failed error: started too often in too short a time: 1 times within 1h0m0s",
			},
		},
		"a start that fails": {
			spec: func(s *Spec) { s.Restart.Mode = RestartNo },
			play: func(t *testing.T, h *house) {
				h.setTrouble(1, "fails")
				h.add(t, h.npd)
				after(time.Second)
				h.setTrouble(0)
			},
			want: []string{
				"start-failed (start-failed) error: the runtime says no",
				"failed why: policy no error: the runtime says no",
				"error error: cannot remove what is left of it: the runtime says no",
			},
		},
		"a stop, also of what waits to be started": {
			spec: steady,
			play: func(t *testing.T, h *house) {
				h.add(t, h.npd)
				after(10 * time.Second)
				must(t, h.Stop(t.Context(), "npd"))
				h.lives(time.Second, exited(1))
				must(t, h.Start(t.Context(), "npd"))
				after(2 * time.Second)
				must(t, h.Stop(t.Context(), "npd"))
			},
			want: []string{
				"started by definition",
				"stopped by hand (stopped by SIGTERM) ran 9.95s",
				"started by hand",
				"exited (exited with code 1) ran 1s",
				"restart why: policy always attempt 1 in 15s",
				"cancelled by hand",
			},
		},
		"one that does not heed its stop signal": {
			play: func(t *testing.T, h *house) {
				h.rt.stubborn = true
				h.add(t, h.npd)
				after(time.Second)
				must(t, h.Restart(t.Context(), "npd"))
			},
			want: []string{
				"started by definition",
				"stopped by hand (stopped by SIGKILL) ran 10.95s why: it did not end within 10s of SIGTERM",
				"started by hand",
			},
		},
		"definition changed, then removed": {
			play: func(t *testing.T, h *house) {
				h.add(t, h.npd)
				after(time.Second)
				changed := *h.npd
				changed.Hash = "2"
				if _, err := h.Apply(t.Context(), &changed); err != nil {
					t.Fatal(err)
				}
				after(time.Second)
				must(t, h.Remove(t.Context(), "npd"))
			},
			want: []string{
				"started by definition",
				"stopped by definition (stopped by SIGTERM) ran 950ms",
				"started by definition",
				"stopped by removal (stopped by SIGTERM) ran 900ms",
				"removed",
			},
		},
		"the daemon ends with its containers": {
			play: func(t *testing.T, h *house) {
				h.add(t, h.npd)
				after(time.Second)
				must(t, h.Shutdown(t.Context()))
			},
			want: []string{"started by definition", "stopped by shutdown (stopped by SIGTERM) ran 950ms"},
		},
		"on behalf of somebody": {
			play: func(t *testing.T, h *house) {
				alice, bob := OnBehalfOf(t.Context(), "alice"), OnBehalfOf(t.Context(), "bob")
				h.add(t, h.npd)
				after(time.Second)
				must(t, h.Stop(alice, "npd"))
				must(t, h.Start(bob, "npd"))
				must(t, h.Restart(alice, "npd"))
				must(t, h.Kill(bob, "npd", syscall.SIGHUP, false))
				after(time.Second)
				must(t, h.Stop(alice, "npd"))
				must(t, h.Start(t.Context(), "npd"))
			},
			want: []string{
				"started by definition",
				"stopped by hand of alice (stopped by SIGTERM) ran 950ms",
				"started by hand of bob",
				"stopped by hand of alice (stopped by SIGTERM)",
				"started by hand of alice",
				"signal by hand of bob why: SIGHUP",
				"exited (signaled by SIGHUP)",
				"restart why: policy always attempt 1 in 15s",
				"cancelled by hand of alice",
				"started by hand",
			},
		},
		"words": {
			spec: func(s *Spec) { s.Enabled = false },
			play: func(t *testing.T, h *house) {
				h.add(t, h.npd)
				after(time.Second)
				for range 2 { // the second time it is no news
					must(t, h.SetEnabled(t.Context(), "npd", true))
				}
				must(t, h.Start(t.Context(), "npd"))
				must(t, h.Kill(t.Context(), "npd", syscall.SIGHUP, false))
				after(time.Second)
				must(t, h.ResetFailed(t.Context(), "npd"))
				must(t, h.SetEnabled(t.Context(), "npd", false))
			},
			want: []string{
				"enabled by hand",
				"started by hand",
				"signal by hand why: SIGHUP",
				"exited (signaled by SIGHUP)",
				"restart why: policy always attempt 1 in 15s",
				"reset-failed by hand",
				"disabled by hand",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, h *house) {
				told := h.listen("boot")
				h.npd = h.spec("npd")
				if c.spec != nil {
					c.spec(h.npd)
				}
				c.play(t, h)
				h.Close()
				if got, want := strings.Join(*told, "\n"), strings.Join(c.want, "\n"); got != want {
					t.Errorf("told:\n%s\nwant:\n%s", got, want)
				}
			})
		})
	}
}

// A later daemon tells what it took over, what ended meanwhile, and what ended with the machine. It does not tell again
// what the one before has told.
func TestEventsOfALaterDaemon(t *testing.T) {
	for name, c := range map[string]struct {
		status ExitStatus // how it ends by itself after a second; 0: it does not
		mode   RestartMode
		boot   string
		dies   bool // while no daemon is there
		want   string
	}{
		"it runs": {mode: RestartAlways, boot: "boot", want: "adopted ran 4.95s"},
		"it ended unseen": {mode: RestartAlways, boot: "boot", dies: true,
			want: "exited (unknown) why: it ended while no daemon was there\nrestart why: policy always attempt 1 in 15s"},
		"it waited": {mode: RestartAlways, boot: "boot", status: exited(1),
			want: "restart why: what was left of the delay when the daemon before ended attempt 1 in 11.05s"},
		"it had exited":         {mode: RestartNo, boot: "boot", status: exited(1), want: ""},
		"the machine was reset": {mode: RestartAlways, boot: "another", dies: true, want: "lost why: it ended with the machine\nstarted by daemon"},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, h *house) {
				spec := h.spec("npd")
				spec.Restart.Mode = c.mode
				if c.status.Known {
					h.lives(time.Second, c.status)
				}
				h.add(t, spec)
				after(5 * time.Second)
				h.Close()
				if c.dies {
					h.dead("npd")
				}
				told := h.listen(c.boot)
				h.add(t, spec)
				after(200 * time.Millisecond)
				h.Close()
				if got := strings.Join(*told, "\n"); got != c.want {
					t.Errorf("told:\n%s\nwant:\n%s", got, c.want)
				}
			})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
