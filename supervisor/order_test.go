package supervisor

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ordered is a container with an order.
func (h *house) ordered(name string, o Order) *Spec {
	s := h.spec(name)
	s.Order = o
	return s
}

// stack is a database that says when it is ready, a migration, a service and a proxy, each needing the one before.
func (h *house) stack() []*Spec {
	db, migration := h.spec("db"), h.ordered("migration", requires("db"))
	db.Ready = ReadyPolicy{On: ReadyNotify, Timeout: time.Minute}
	migration.Oneshot, migration.Restart.Mode = true, RestartOnFailure
	return []*Spec{h.ordered("proxy", requires("app")), h.ordered("app", requires("migration", "db")), migration, db}
}

// runStack brings it up.
func (h *house) runStack(t *testing.T) {
	t.Helper()
	h.rt.life = func(name string) (time.Duration, ExitStatus) {
		if name == "migration" {
			return time.Second, exited(0)
		}
		return 0, ExitStatus{}
	}
	for _, s := range h.stack() {
		h.add(t, s)
	}
	after(time.Second)
	h.monitor.say("db", Report{Ready: true})
	after(5 * time.Second)
	h.states(t, "app running, db running, migration exited, proxy running")
}

func (h *house) states(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, s := range h.List() {
		got = append(got, s.Name+" "+string(s.State))
	}
	if text := strings.Join(got, ", "); text != want {
		t.Fatalf("%s; want %s", text, want)
	}
}

// wrote tells what began and ended since the last time.
func (h *house) wrote() string {
	synctest.Wait()
	h.rt.mu.Lock()
	defer h.rt.mu.Unlock()
	text := strings.Join(h.rt.journal, " ")
	h.rt.journal = nil
	return text
}

func TestStartsInOrder(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.life = func(name string) (time.Duration, ExitStatus) {
			if name == "migration" {
				return 10 * time.Second, exited(0)
			}
			return 0, ExitStatus{}
		}
		for _, s := range h.stack() {
			h.add(t, s)
		}
		after(time.Second)
		h.states(t, "app waiting, db running, migration waiting, proxy waiting")
		if s := h.want(t, "app", StateWaiting); !slices.Equal(s.WaitingFor, []string{"db", "migration"}) || s.Error != "" {
			t.Errorf("waits for %v, %q", s.WaitingFor, s.Error)
		}
		if !h.Settled() {
			t.Error("not settled, although nothing but readiness is waited for")
		}
		h.monitor.say("db", Report{Ready: true})
		after(time.Second)
		h.states(t, "app waiting, db running, migration running, proxy waiting")
		after(10 * time.Second)
		h.states(t, "app running, db running, migration exited, proxy running")
		if s := h.want(t, "migration", StateExited); !s.Ready {
			t.Error("a task that is done is not ready")
		}
		if got, want := h.wrote(), "+db +migration -migration +app +proxy"; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	})
}

// One that ends by itself takes nobody with it.
func TestDependencyRestartsAlone(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		h.wrote()
		if err := h.Kill(t.Context(), "db", 9, false); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if got := h.wrote(); got != "-db +db" {
			t.Error(got)
		}
	})
}

func TestShutdownInReverseOrder(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		h.add(t, h.spec("alone"))
		after(time.Second)
		h.rt.set(func() { h.rt.stubborn = true }) // each takes its 10 s
		h.wrote()
		begun := time.Now()
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begun)
		got := h.wrote()
		if alone := strings.Index(got, "-alone"); alone < 0 || alone > strings.Index(got, "-app") {
			t.Errorf("%s: a container that nobody needs was waited for", got)
		}
		if rest := strings.ReplaceAll(" "+got, " -alone", ""); rest != " -proxy -app -db" {
			t.Error(rest)
		}
		if took < 30*time.Second || took > 31*time.Second || h.StopBound() < took {
			t.Errorf("took %s, the bound is %s", took, h.StopBound())
		}
	})
}

// An end that does not come holds up those after it for a while and no longer.
func TestShutdownGivesUpOnOne(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.spec("db"))
		h.add(t, h.ordered("app", requires("db")))
		after(time.Second)
		h.rt.mu.Lock()
		undead := h.rt.there["app"]
		h.rt.mu.Unlock()
		undead.undead = true
		h.wrote()
		done := begin(func() error { return h.Shutdown(t.Context()) })
		after(24 * time.Second)
		if got := h.wrote(); got != "" {
			t.Errorf("%s: not held for what needs it", got)
		}
		after(2 * time.Second)
		if got := h.wrote(); got != "-db" {
			t.Errorf("%q: held for ever", got)
		}
		undead.undead = false
		undead.end(signaled(9))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// As systemd has it: an explicit stop takes with it what requires the container, and a start brings what it requires.
func TestStopAndStartTogether(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		h.wrote()
		if err := h.Stop(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		h.states(t, "app stopped, db stopped, migration stopped, proxy stopped")
		if got := h.wrote(); got != "-proxy -app -db" {
			t.Error(got)
		}
		h.Close()
		h.open("boot")
		for _, s := range h.stack() {
			h.add(t, s)
		}
		after(time.Hour)
		h.states(t, "app stopped, db stopped, migration stopped, proxy stopped")
		started := begin(func() error { return h.Start(t.Context(), "proxy") })
		after(time.Second)
		h.states(t, "app waiting, db running, migration waiting, proxy waiting")
		h.monitor.say("db", Report{Ready: true})
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		h.states(t, "app running, db running, migration exited, proxy running")
		if got := h.wrote(); got != "+db +migration -migration +app +proxy" {
			t.Error(got)
		}
		if err := h.Stop(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		h.states(t, "app stopped, db running, migration exited, proxy stopped")
	})
}

// A restart by hand restarts what requires the container, the one after the other; what only is after it runs on.
func TestRestartTogether(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		h.add(t, h.ordered("log", after1("db")))
		after(time.Second)
		h.wrote()
		restarted := begin(func() error { return h.Restart(t.Context(), "db") })
		after(5 * time.Second)
		h.monitor.say("db", Report{Ready: true})
		if err := <-restarted; err != nil {
			t.Fatal(err)
		}
		after(5 * time.Second)
		if got := h.wrote(); got != "-proxy -app -db +db +migration -migration +app +proxy" {
			t.Error(got)
		}
	})
}

// A start during the wait for an end that was put off takes it back, and a stop is not lost.
func TestHeldStop(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		h.rt.set(func() { h.rt.stubborn = true })
		h.wrote()
		stopped := begin(func() error { return h.Stop(t.Context(), "db") })
		if !h.store.get("db").StoppedByHand {
			t.Error("what was said is forgotten if the daemon ends now")
		}
		if err := h.Start(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		if err := <-stopped; err == nil || !strings.Contains(err.Error(), "started again") {
			t.Error(err)
		}
		after(time.Minute)
		h.states(t, "app stopped, db running, migration stopped, proxy stopped")
		if got := h.wrote(); strings.Contains(got, "db") {
			t.Error(got)
		}
	})
}

func TestBindsTo(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.ordered("sidecar", bindsTo("app")))
		h.add(t, h.spec("app"))
		after(time.Second)
		h.wrote()
		if err := h.Kill(t.Context(), "app", 9, false); err != nil {
			t.Fatal(err)
		}
		after(5 * time.Second)
		h.states(t, "app backoff, sidecar waiting")
		if s := h.want(t, "sidecar", StateWaiting); s.LastExit.Reason != ReasonStopped || !strings.Contains(s.Error, `"app"`) {
			t.Errorf("%s, %q", s.LastExit, s.Error)
		}
		after(time.Minute)
		if got := h.wrote(); got != "-app -sidecar +app +sidecar" {
			t.Error(got)
		}
		// A daemon that ends changes nothing of that, but what happens meanwhile does.
		pids := h.rt.living()
		h.Close()
		h.open("boot")
		h.add(t, h.ordered("sidecar", bindsTo("app")))
		h.add(t, h.spec("app"))
		after(time.Minute)
		if now := h.rt.living(); now["sidecar"] != pids["sidecar"] || now["app"] != pids["app"] {
			t.Errorf("%v → %v", pids, now)
		}
		h.Close()
		h.rt.mu.Lock()
		app := h.rt.there["app"]
		h.rt.mu.Unlock()
		app.end(signaled(9))
		h.open("boot")
		h.add(t, h.ordered("sidecar", bindsTo("app")))
		after(time.Second)
		h.add(t, h.spec("app"))
		after(time.Minute)
		if got := h.wrote(); got != "-app -sidecar +app +sidecar" {
			t.Error(got)
		}
	})
}

// After alone orders what starts together, and needs nothing.
func TestAfter(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.Expect("db", "app")
		h.add(t, h.ordered("app", after1("db", "other")))
		after(time.Minute)
		h.want(t, "app", StateWaiting)
		if h.Settled() {
			t.Error("settled while it waits for one that is being built")
		}
		h.add(t, h.spec("db"))
		after(time.Second)
		h.states(t, "app running, db running")
		if err := h.Stop(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		if err := h.Restart(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		h.states(t, "app running, db stopped")
	})
}

// What is refused is not waited for by what is only after it.
func TestAfterARefusedOne(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.Expect("db", "app")
		h.add(t, h.ordered("app", after1("db")))
		h.add(t, h.ordered("needy", requires("db")))
		after(time.Second)
		h.Absent("db", "whose definition is refused")
		after(time.Second)
		h.states(t, "app running, needy waiting")
		if s := h.want(t, "needy", StateWaiting); !strings.Contains(s.Error, `"db", whose definition is refused`) {
			t.Errorf("%q", s.Error)
		}
		if !h.Settled() {
			t.Error("not settled, although it waits in vain")
		}
		h.add(t, h.spec("db"))
		after(time.Second)
		h.states(t, "app running, db running, needy running")
	})
}

// What is required and fails keeps the one that requires it waiting, until it is there after all.
func TestRequiredOneFails(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.trouble, h.rt.faults = 1, []string{"fails"} })
		db := h.spec("db")
		db.Restart.Mode = RestartNo
		h.add(t, db)
		h.add(t, h.ordered("app", requires("db")))
		after(time.Second)
		h.states(t, "app waiting, db failed")
		err := h.Start(t.Context(), "app")
		if !errors.As(err, new(*DependencyError)) || !strings.Contains(err.Error(), `"db", which has failed`) {
			t.Errorf("start: %v", err)
		}
		h.rt.set(func() { h.rt.trouble = 0 })
		if err := h.Start(t.Context(), "app"); err != nil { // and tries db once more
			t.Fatal(err)
		}
		h.states(t, "app running, db running")
	})
}

// The wait for readiness has an end for those who wait, and goes on behind their backs.
func TestRequiredOneIsLate(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		for _, s := range h.stack() {
			h.add(t, s)
		}
		started := begin(func() error { return h.Start(t.Context(), "db") })
		dependent := begin(func() error { return h.Start(t.Context(), "app") })
		after(61 * time.Second)
		if err := <-started; !errors.As(err, new(*LateError)) {
			t.Errorf("start db: %v", err)
		}
		if err := <-dependent; !errors.As(err, new(*DependencyError)) || !strings.Contains(err.Error(), `"db", which runs, but was not ready in time`) {
			t.Errorf("start app: %v", err)
		}
		h.rt.set(func() {
			h.rt.life = func(n string) (time.Duration, ExitStatus) { return time.Duration(len(n)/9) * time.Second, exited(0) }
		})
		h.monitor.say("db", Report{Ready: true})
		after(5 * time.Second)
		h.states(t, "app running, db running, migration exited, proxy running")
	})
}

// A disabled container is started when an enabled one requires it, but not against somebody's will.
func TestPullsIn(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		add := func() {
			db := h.spec("db")
			db.Enabled = false
			h.add(t, h.ordered("app", requires("db")))
			after(time.Second)
			h.add(t, db)
			after(time.Second)
		}
		add()
		h.states(t, "app running, db running")
		if err := h.Stop(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		h.Close()
		h.open("boot")
		add()
		h.states(t, "app stopped, db stopped")
		h.Close()
		h.open("next boot")
		add()
		h.states(t, "app running, db running")
	})
}

// A task that is done stays so across daemons, and is done again after a reboot.
func TestOneshotIsDoneOncePerBoot(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		restart := func(boot string) {
			h.Close()
			if boot != "boot" {
				for _, name := range h.rt.leftovers() {
					h.rt.mu.Lock()
					p := h.rt.there[name]
					delete(h.rt.there, name)
					h.rt.mu.Unlock()
					p.end(signaled(9))
				}
			}
			h.wrote()
			h.open(boot)
			for _, s := range h.stack() {
				h.add(t, s)
			}
			after(time.Second)
			h.monitor.say("db", Report{Ready: true})
			after(time.Minute)
			h.states(t, "app running, db running, migration exited, proxy running")
		}
		restart("boot")
		if got := h.wrote(); got != "" {
			t.Errorf("a restart of the daemon: %s", got)
		}
		if err := h.Start(t.Context(), "migration"); err != nil {
			t.Fatal(err)
		}
		if got := h.wrote(); got != "" {
			t.Errorf("a start of what is done: %s", got)
		}
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		restart("boot")
		if got := h.wrote(); got != "+db +migration -migration +app +proxy" {
			t.Errorf("after a shutdown: %s", got)
		}
		restart("next boot")
		if got := h.wrote(); got != "+db +migration -migration +app +proxy" {
			t.Errorf("after a reboot: %s", got)
		}
	})
}

// A start of a task waits for its end, and tells when it could not be done.
func TestStartOfAOneshot(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		codes := []int{3, 0}
		h.rt.life = func(string) (time.Duration, ExitStatus) {
			code := codes[0]
			codes = codes[1:]
			return 10 * time.Second, exited(code)
		}
		s := h.spec("migration")
		s.Oneshot, s.Enabled, s.Restart.Mode = true, false, RestartOnFailure
		h.add(t, s)
		after(time.Second)
		begun := time.Now()
		if err := h.Start(t.Context(), "migration"); err == nil || !strings.Contains(err.Error(), "exited with code 3") {
			t.Error(err)
		}
		if time.Since(begun) < 10*time.Second {
			t.Error("returned before its end")
		}
		if err := h.Start(t.Context(), "migration"); err != nil {
			t.Error(err)
		}
		h.want(t, "migration", StateExited)
	})
}

// What closes a cycle is refused and changes nothing; what runs does not restart because of its order.
func TestChangedOrder(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.add(t, h.ordered("a", requires("b")))
		h.add(t, h.spec("b"))
		after(time.Second)
		h.wrote()
		var cycle *CycleError
		if _, err := h.Apply(t.Context(), h.ordered("b", after1("a"))); !errors.As(err, &cycle) || strings.Join(cycle.Path, " ") != "b a b" {
			t.Fatalf("b after a: %v", err)
		}
		if err := h.Add(t.Context(), h.ordered("c", after1("c")), Installed{}); !errors.As(err, &cycle) {
			t.Fatalf("c after c: %v", err)
		}
		for _, s := range []*Spec{h.ordered("a", Order{}), h.ordered("b", bindsTo("a"))} {
			if outcome, err := h.Apply(t.Context(), s); err != nil || outcome != OutcomeUnchanged && outcome != OutcomeUpdated {
				t.Fatalf("%s: %s, %v", s.Name, outcome, err)
			}
		}
		after(time.Minute)
		if got := h.wrote(); got != "" {
			t.Error(got)
		}
		if err := h.Kill(t.Context(), "b", 9, false); err != nil {
			t.Fatal(err)
		}
		if err := h.Stop(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		h.states(t, "a stopped, b stopped")
	})
}

// What happens to a container because of another is told with that one's name, and so is the end of a chain of those who
// wait in vain.
func TestTellsBecauseOfWhom(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		var mu sync.Mutex
		told := map[string][]string{}
		h.Close()
		h.Supervisor = New(Config{
			Runtime: h.rt, Store: h.store, Output: fakeOutput{}, BootID: "boot", MaxStarts: 4, Rand: func() float64 { return 0 },
			OnEvent: func(e Event) {
				if e.Type == EventStarted || e.Type == EventStopped {
					mu.Lock()
					defer mu.Unlock()
					told[e.Snapshot.Name] = append(told[e.Snapshot.Name], strings.Join([]string{string(e.Type), string(e.Cause), e.By}, " "))
				}
			},
		})
		h.add(t, h.spec("db"))
		h.add(t, h.ordered("app", requires("db")))
		h.add(t, h.ordered("probe", bindsTo("app")))
		after(time.Second)
		alice := OnBehalfOf(t.Context(), "alice")
		must(t, h.Stop(alice, "db"))
		must(t, h.Start(t.Context(), "app"))
		must(t, h.Restart(alice, "app"))
		after(time.Second)
		h.Close()
		for name, want := range map[string]string{
			"db":    "started definition , stopped hand alice, started dependency app",
			"app":   "started definition , stopped dependency db, started hand , stopped hand alice, started hand alice",
			"probe": "started definition , stopped dependency db",
		} {
			if got := strings.Join(told[name], ", "); got != want {
				t.Errorf("%s: %s; want %s", name, got, want)
			}
		}
	})
}

func TestTellsWhatIsWaitedForInTheEnd(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.lives(time.Second, exited(3))
		migration := h.spec("migration")
		migration.Oneshot, migration.Restart.Mode = true, RestartOnFailure
		h.add(t, migration)
		h.add(t, h.ordered("app", requires("migration")))
		h.add(t, h.ordered("proxy", requires("app")))
		h.add(t, h.ordered("edge", requires("proxy")))
		after(2 * time.Second)
		why := `"migration", which exited with code 3 and is started again later`
		for name, want := range map[string]string{
			"app":   "it needs " + why,
			"proxy": `it needs "app", which waits in vain for ` + why,
			"edge":  `it needs "proxy", which waits in vain for ` + why,
		} {
			if s := h.want(t, name, StateWaiting); !strings.HasSuffix(s.Error, want) {
				t.Errorf("%s: %q; want %q", name, s.Error, want)
			}
		}
		h.lives(0, exited(0))
		after(time.Minute) // it works now, so nobody waits in vain any more, as long as it takes
		for _, name := range []string{"app", "proxy", "edge"} {
			if s := h.want(t, name, StateWaiting); s.Error != "" {
				t.Errorf("%s: %q", name, s.Error)
			}
		}
	})
}
