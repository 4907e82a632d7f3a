package supervisor

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeMonitor hands reports to the supervisor as told.
type fakeMonitor struct {
	mu      sync.Mutex
	watches map[string]*fakeWatch // the last one of each name
	open    int
}

type fakeWatch struct {
	in      Instance
	report  func(Report)
	stopped bool
}

func (m *fakeMonitor) Watch(in Instance, report func(Report)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &fakeWatch{in: in, report: report}
	m.watches[in.Spec.Name] = w
	m.open++
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		w.stopped = true
		m.open--
	}
}

// of is the last watch of a name, nil if there never was one.
func (m *fakeMonitor) of(name string) *fakeWatch {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watches[name]
}

func (m *fakeMonitor) say(name string, r Report) {
	if w := m.of(name); w != nil {
		w.report(r)
	}
	synctest.Wait()
}

type fakeProbes struct{ what string }

func (p *fakeProbes) Empty() bool { return p == nil }

// probed is a container with probes.
func (h *house) probed(name string) *Spec {
	s := h.spec(name)
	s.Health = &fakeProbes{"http"}
	return s
}

// Whatever is found out about an instance is of that instance alone.
func TestHealthIsOfOneInstance(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.probed("web"))
		after(time.Second)
		if s := h.want(t, "web", StateRunning); s.Health != HealthStarting || s.Ready {
			t.Errorf("before the first report: %s, ready %v", s.Health, s.Ready)
		}
		h.monitor.say("web", Report{Health: HealthHealthy, Ready: true})
		if s := h.want(t, "web", StateRunning); s.Health != HealthHealthy || !s.Ready {
			t.Errorf("after a good report: %s, ready %v", s.Health, s.Ready)
		}
		first := h.monitor.of("web")
		first.report(Report{Health: HealthUnhealthy, Unhealthy: "GET / → 500"})
		after(time.Second) // it ends at once when told
		s := h.want(t, "web", StateBackoff)
		if s.LastExit.Reason != ReasonUnhealthy || s.LastExit.Signal != "TERM" || s.Health != HealthNone || s.Ready {
			t.Errorf("after a bad one: %+v, last exit %s", s, s.LastExit)
		}
		if !strings.Contains(s.Error, "GET / → 500") {
			t.Errorf("error %q does not say why", s.Error)
		}
		if !first.stopped {
			t.Error("an instance that has ended is still watched")
		}
		after(20 * time.Second)
		h.want(t, "web", StateRunning)
		first.report(Report{Health: HealthUnhealthy, Ready: true, Unhealthy: "late"})
		after(time.Second)
		if s := h.want(t, "web", StateRunning); s.Health != HealthStarting || s.Ready || s.Restarts != 1 {
			t.Errorf("a late report counts: %+v", s)
		}
		h.monitor.say("web", Report{Health: HealthUnhealthy, Unhealthy: "again"})
		after(time.Second)
		s = h.want(t, "web", StateBackoff)
		if d := s.NextStartAt.Sub(s.LastExit.At).Round(100 * time.Millisecond); d != 27300*time.Millisecond {
			t.Errorf("the second restart in a row comes after %s", d)
		}
	})
}

// What follows an unhealthy instance says the definition.
func TestOnFailure(t *testing.T) {
	for action, want := range map[OnFailure]State{
		OnFailureNone: StateRunning, OnFailureStop: StateExited, OnFailureRestart: StateBackoff, "": StateBackoff,
	} {
		t.Run(string(action), func(t *testing.T) {
			world(t, func(t *testing.T, h *house) {
				h.add(t, h.probed("web"))
				after(time.Second)
				h.monitor.say("web", Report{Health: HealthUnhealthy, Unhealthy: "it hangs", OnFailure: action})
				after(time.Second)
				s := h.want(t, "web", want)
				if action == OnFailureNone && s.Health != HealthUnhealthy {
					t.Errorf("health %s", s.Health)
				}
				if want != StateExited {
					return
				}
				h.Close()
				h.open("boot")
				h.add(t, h.probed("web"))
				after(time.Hour)
				h.want(t, "web", StateExited)
				h.Close()
				h.open("next boot")
				h.add(t, h.probed("web"))
				after(time.Second)
				h.want(t, "web", StateRunning)
			})
		})
	}
}

// A container that is stopped by hand stays so, whatever its probes say before, during and after.
func TestStopWinsOverProbes(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.stubborn = true })
		h.add(t, h.probed("web"))
		after(time.Second)
		bad := Report{Health: HealthUnhealthy, Unhealthy: "it hangs"}
		h.monitor.say("web", bad)
		stopped := begin(func() error { return h.Stop(t.Context(), "web") })
		h.monitor.say("web", bad)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		h.monitor.say("web", bad)
		after(time.Hour)
		if s := h.want(t, "web", StateStopped); s.LastExit.Reason != ReasonStopped {
			t.Errorf("last exit %s", s.LastExit)
		}
	})
}

// A daemon that is killed while it ends an unhealthy instance leaves that to the next one.
func TestUnhealthyAcrossDaemons(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.stubborn = true })
		h.add(t, h.probed("web"))
		after(time.Second)
		h.monitor.say("web", Report{Health: HealthUnhealthy, Unhealthy: "it hangs"})
		h.want(t, "web", StateStopping)
		h.Close()
		h.open("boot")
		h.add(t, h.probed("web"))
		after(15 * time.Second)
		if s := h.want(t, "web", StateBackoff); s.LastExit.Reason != ReasonUnhealthy || s.LastExit.Signal != "KILL" {
			t.Errorf("last exit %s", s.LastExit)
		}
	})
}

// An adopted container that was ready is ready from the first moment on, and is watched further on.
func TestReadinessSurvives(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.probed("web"))
		after(time.Second)
		h.monitor.say("web", Report{Health: HealthHealthy, Ready: true})
		h.Close()
		if h.monitor.open != 0 {
			t.Errorf("%d watches are left when the daemon has ended", h.monitor.open)
		}
		h.open("boot")
		h.add(t, h.probed("web"))
		synctest.Wait()
		if s := h.want(t, "web", StateRunning); !s.Ready || s.Health != HealthHealthy {
			t.Errorf("adopted: %s, ready %v", s.Health, s.Ready)
		}
		if in := h.monitor.of("web").in; !in.Adopted || !in.Ready {
			t.Errorf("watched as %+v", in)
		}
		h.monitor.say("web", Report{Health: HealthUnhealthy})
		if s := h.want(t, "web", StateRunning); s.Ready || s.Health != HealthUnhealthy {
			t.Errorf("after a report: %s, ready %v", s.Health, s.Ready)
		}
	})
}

// Changed probes are used at once and restart nothing.
func TestChangedProbes(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("web"))
		after(time.Second)
		pid := h.want(t, "web", StateRunning).Pid
		if h.monitor.of("web") != nil {
			t.Error("a container without probes is watched")
		}
		for _, what := range []string{"http", "tcp"} {
			s := h.spec("web")
			s.Health = &fakeProbes{what}
			if outcome, err := h.Apply(t.Context(), s); err != nil || outcome != OutcomeUpdated {
				t.Fatalf("%s: %s, %v", what, outcome, err)
			}
			synctest.Wait()
			if w := h.monitor.of("web"); w == nil || w.in.Spec.Health.(*fakeProbes).what != what || !w.in.Ready {
				t.Errorf("%s is not watched, or not as ready", what)
			}
		}
		if _, err := h.Apply(t.Context(), h.spec("web")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if h.monitor.open != 0 || h.want(t, "web", StateRunning).Pid != pid {
			t.Errorf("%d watches; pid was %d", h.monitor.open, pid)
		}
	})
}

// A container that is not ready in time runs on, and that it is late is told until it is ready.
func TestReadyInTime(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		s := h.spec("db")
		s.Ready = ReadyPolicy{On: ReadyNotify, Timeout: 30 * time.Second}
		h.add(t, s)
		after(29 * time.Second)
		if s := h.want(t, "db", StateRunning); s.Ready || s.Error != "" {
			t.Errorf("in time: %+v", s)
		}
		after(2 * time.Second)
		if s := h.want(t, "db", StateRunning); s.Ready || !strings.Contains(s.Error, "not ready within 30s") {
			t.Errorf("late: %+v", s)
		}
		for range 2 { // READY=1 may be said twice
			h.monitor.say("db", Report{Ready: true})
		}
		if s := h.want(t, "db", StateRunning); !s.Ready || s.Error != "" {
			t.Errorf("at last: %+v", s)
		}
		if err := h.Kill(t.Context(), "db", syscall.SIGKILL, false); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if s := h.want(t, "db", StateRunning); s.Ready {
			t.Error("the next instance is ready because the one before was")
		}
	})
}
