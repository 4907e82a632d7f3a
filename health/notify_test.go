package health

import (
	"testing"
	"time"
)

func notifyProbe(role Role, timeout time.Duration, change ...func(*Probe)) *Probe {
	p := NewProbe(role)
	p.Notify, p.Period, p.Timeout, p.Failures = true, 0, timeout, 1
	for _, f := range change {
		f(p)
	}
	return p
}

func TestReadyByNotify(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration // READY=1; 0: never
		again bool
		want  string
	}{
		{"soon", time.Second, false, "healthy ready"},
		{"late", 29 * time.Second, false, "healthy ready"},
		{"twice", time.Second, true, "healthy ready"},
		{"never", 0, false, "unhealthy restart"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *Engine) {
				c := newContainer(t, nil)
				w := e.Watch(c.target(&Probes{Startup: notifyProbe(RoleStartup, 30*time.Second)}))
				wait(0)
				if got := c.story(); got != "starting" {
					t.Errorf("told: %s", got)
				}
				if tt.after > 0 {
					wait(tt.after)
					w.Notify(Notification{Ready: true})
				}
				if tt.again {
					w.Notify(Notification{Ready: true})
				}
				wait(time.Minute)
				if got := words(w.Status()); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if r := w.Reports()[0].Results; len(r) != 1 {
					t.Errorf("results: %+v", r)
				}
				if tt.after == 0 && w.Status().Unhealthy != "startup probe: no READY=1 within 30s" {
					t.Errorf("why: %s", w.Status().Unhealthy)
				}
			})
		})
	}
}

func TestWatchdog(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, nil)
		w := e.Watch(c.target(&Probes{Liveness: notifyProbe(RoleLiveness, 10*time.Second)}))
		for range 20 {
			wait(9 * time.Second)
			w.Notify(Notification{Watchdog: true})
		}
		wait(10*time.Second - 1)
		if got := words(w.Status()); got != "healthy ready" {
			t.Errorf("pinged: %s", got)
		}
		wait(1)
		if got := w.Status(); words(got) != "unhealthy restart" || got.Unhealthy != "liveness probe: no WATCHDOG=1 within 10s" {
			t.Errorf("not pinged: %+v", got)
		}
		if r := w.Reports()[0].Results; len(r) != 2 || r[0].Outcome != Success || r[1].Outcome != Failure {
			t.Errorf("results: %+v", r)
		}
		w.Notify(Notification{Watchdog: true})
		if got := words(w.Status()); got != "unhealthy restart" {
			t.Errorf("after the verdict: %s", got)
		}
	})
}

func TestWatchdogOfAContainerThatNeverPings(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, nil)
		w := e.Watch(c.target(&Probes{Liveness: notifyProbe(RoleLiveness, 10*time.Second, func(p *Probe) { p.InitialDelay, p.OnFailure = 5*time.Second, ActionNone })}))
		wait(15*time.Second - 1)
		if got := words(w.Status()); got != "starting ready" {
			t.Errorf("too early: %s", got)
		}
		wait(1)
		if got := words(w.Status()); got != "unhealthy ready none" {
			t.Errorf("got %s", got)
		}
		w.Notify(Notification{Watchdog: true})
		wait(10*time.Second - 1)
		if got := words(w.Status()); got != "healthy ready" {
			t.Errorf("pinged at last: %s", got)
		}
		wait(1)
		if got := words(w.Status()); got != "unhealthy ready none" {
			t.Errorf("got %s", got)
		}
	})
}

// As for systemd, the watchdog's time is from READY=1 to STOPPING=1.
func TestWatchdogWaitsForReady(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		target := newContainer(t, nil).target(&Probes{Liveness: notifyProbe(RoleLiveness, 10*time.Second)})
		target.ReadyOnNotify = true
		w := e.Watch(target)
		wait(time.Minute)
		if got := words(w.Status()); got != "starting" {
			t.Errorf("before READY=1: %s", got)
		}
		w.Notify(Notification{Ready: true})
		wait(9 * time.Second)
		w.Notify(Notification{Stopping: true})
		wait(time.Minute)
		if got := words(w.Status()); got != "starting" {
			t.Errorf("after STOPPING=1: %s", got)
		}
		w.Notify(Notification{Ready: true})
		wait(10 * time.Second)
		if got := words(w.Status()); got != "unhealthy restart" {
			t.Errorf("after READY=1: %s", got)
		}
	})
}

func TestWhatContainersAskFor(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		w := e.Watch(newContainer(t, nil).target(&Probes{Startup: notifyProbe(RoleStartup, 10*time.Second), Liveness: notifyProbe(RoleLiveness, 10*time.Second)}))
		wait(9 * time.Second)
		w.Notify(Notification{ExtendTimeout: 20 * time.Second})
		wait(19 * time.Second)
		if got := words(w.Status()); got != "starting" {
			t.Errorf("extended: %s", got)
		}
		w.Notify(Notification{Ready: true, WatchdogTimeout: time.Minute})
		wait(59 * time.Second)
		if got := words(w.Status()); got != "starting ready" {
			t.Errorf("another time for the watchdog: %s", got)
		}
		text := "fine\x1b[2J\nand well"
		w.Notify(Notification{Status: &text, Watchdog: true})
		if got := w.Status(); got.Message != "fine\uFFFD[2J and well" || got.Health != Healthy {
			t.Errorf("got %+v", got)
		}
		w.Notify(Notification{Trigger: true})
		if got := w.Status(); got.Unhealthy != "liveness probe: WATCHDOG=trigger" {
			t.Errorf("got %+v", got)
		}
	})
}

// Readiness by notify follows READY=1 and STOPPING=1, and does not confuse the startup probe's time.
func TestReadinessByNotify(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		c := newContainer(t, always(0))
		w := e.Watch(c.target(&Probes{Startup: execProbe(RoleStartup, func(p *Probe) { p.InitialDelay = 5 * time.Second }), Readiness: notifyProbe(RoleReadiness, 0)}))
		w.Notify(Notification{Ready: true})
		if w.Status().Ready {
			t.Errorf("ready before startup was over")
		}
		wait(6 * time.Second)
		if !w.Status().Ready {
			t.Errorf("not ready")
		}
		w.Notify(Notification{Stopping: true})
		wait(time.Hour)
		if got := words(w.Status()); got != "healthy" {
			t.Errorf("got %s", got)
		}
	})
}

// What a container asks for has bounds, and what it repeats is one result.
func TestContainersCannotAskForAnything(t *testing.T) {
	bubble(t, func(t *testing.T, e *Engine) {
		none := func(p *Probe) { p.OnFailure = ActionNone }
		w := e.Watch(newContainer(t, nil).target(&Probes{
			Startup: notifyProbe(RoleStartup, 10*time.Second), Liveness: notifyProbe(RoleLiveness, 10*time.Second, none), Readiness: notifyProbe(RoleReadiness, 0),
		}))
		w.Notify(Notification{ExtendTimeout: 1000 * time.Hour})
		wait(maxExtend - 1)
		if got := words(w.Status()); got != "starting" {
			t.Errorf("after almost an hour: %s", got)
		}
		for range 3 {
			w.Notify(Notification{Ready: true, WatchdogTimeout: time.Microsecond})
		}
		wait(minWatchdog - 1)
		if got := words(w.Status()); got != "starting ready" {
			t.Errorf("before the shortest time of a watchdog: %s", got)
		}
		wait(1)
		if got := words(w.Status()); got != "unhealthy ready none" {
			t.Errorf("after it: %s", got)
		}
		for _, r := range w.Reports() {
			if r.Role != RoleLiveness && len(r.Results) != 1 {
				t.Errorf("%s has %d results", r.Role, len(r.Results))
			}
		}
	})
	bubble(t, func(t *testing.T, e *Engine) {
		w := e.Watch(newContainer(t, nil).target(&Probes{Startup: notifyProbe(RoleStartup, 10*time.Second)}))
		w.Notify(Notification{ExtendTimeout: 1000 * time.Hour})
		wait(maxExtend)
		if got := words(w.Status()); got != "unhealthy restart" {
			t.Errorf("after an hour: %s", got)
		}
	})
}
