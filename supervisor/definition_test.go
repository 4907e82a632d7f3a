package supervisor

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// slowStore takes a second for each record, and notes which ones had to be durable.
type slowStore struct {
	*fakeStore
	mu      sync.Mutex
	durable []Record
	other   []Record
}

func (s *slowStore) Save(name string, r Record, durable bool) error {
	<-time.After(time.Second)
	s.mu.Lock()
	if durable {
		s.durable = append(s.durable, r)
	} else {
		s.other = append(s.other, r)
	}
	s.mu.Unlock()
	return s.fakeStore.Save(name, r, durable)
}

// What somebody said is on the disk when the answer comes, and only what outlives a reboot has to reach it at once.
func TestIntentIsDurable(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		store := &slowStore{fakeStore: h.store}
		h.with(h.rt, store, 4)
		h.add(t, h.spec("npd"))
		after(10 * time.Second)
		if len(store.durable) != 0 || len(store.other) == 0 {
			t.Errorf("before anybody said anything: %d durable, %d others", len(store.durable), len(store.other))
		}
		if err := h.SetEnabled(t.Context(), "npd", false); err != nil {
			t.Fatal(err)
		}
		if o := h.store.get("npd").EnabledOverride; o == nil || *o || len(store.durable) != 1 {
			t.Errorf("disabled: override %v, %d durable", o, len(store.durable))
		}
		if err := h.Stop(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if !h.store.get("npd").StoppedByHand {
			t.Errorf("stopped: %+v", h.store.get("npd"))
		}
		if err := h.Start(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if i := h.store.get("npd").Instance; i == nil || i.Pid != h.rt.living()["npd"] {
			t.Errorf("started: instance %v, and %d runs", i, h.rt.living()["npd"])
		}
		after(10 * time.Second)
		if h.store.get("npd").StoppedByHand || len(store.durable) != 1 {
			t.Errorf("started: %+v, %d durable: what is void after a reboot need not survive a power cut", h.store.get("npd"), len(store.durable))
		}
	})
}

// While a definition goes nothing is started; when it is back before that, it is.
func TestStartAndReturnDuringRemoval(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.stubborn = true })
		h.add(t, h.spec("npd"))
		h.add(t, h.spec("back"))
		after(time.Second)
		gone := begin(func() error { return h.Remove(t.Context(), "npd") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		back := begin(func() error { return h.Remove(ctx, "back") })
		if err := h.Start(t.Context(), "npd"); err == nil {
			t.Error("a container that is being removed was started")
		}
		if out, err := h.Apply(t.Context(), h.spec("back")); err != nil || out != OutcomeRestarted {
			t.Error(out, err)
		}
		if err := <-gone; err != nil {
			t.Error(err)
		}
		if err := <-back; err == nil {
			t.Error("remove of what came back: no error")
		}
		after(time.Minute)
		h.want(t, "back", StateRunning)
		if _, err := h.Get("npd"); !errors.Is(err, ErrNoContainer) {
			t.Error("npd is still there")
		}
	})
}

// Those that are removed together end in their order, whoever is told first. One that is back while it waits for the others runs on.
func TestRemovedTogether(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.runStack(t)
		h.rt.set(func() { h.rt.stubborn = true }) // each takes its 10 s
		h.wrote()
		names := []string{"db", "migration", "app", "proxy"}
		var gone []<-chan error
		for _, name := range names {
			gone = append(gone, begin(func() error { return h.Remove(t.Context(), name, names...) }))
			synctest.Wait()
		}
		for i, done := range gone {
			if err := <-done; err != nil {
				t.Errorf("%s: %v", names[i], err)
			}
		}
		if got := h.wrote(); got != "-proxy -app -db" {
			t.Error(got)
		}
		h.states(t, "")

		h.add(t, h.spec("db"))
		h.add(t, h.ordered("app", requires("db")))
		after(time.Second)
		h.wrote()
		back := begin(func() error { return h.Remove(t.Context(), "db", "app", "db") })
		gone = []<-chan error{begin(func() error { return h.Remove(t.Context(), "app", "app", "db") })}
		after(time.Second)
		if out, err := h.Apply(t.Context(), h.spec("db")); err != nil || out != OutcomeUnchanged {
			t.Error(out, err)
		}
		if err := <-back; err == nil {
			t.Error("remove of what came back: no error")
		}
		if err := <-gone[0]; err != nil {
			t.Error(err)
		}
		after(time.Minute)
		if got := h.wrote(); got != "-app" {
			t.Error(got)
		}
		h.want(t, "db", StateRunning)
	})
}

// Limits: brought in line after a start with older ones and after adoption, once; a runtime that fails is not asked again,
// and one that hangs holds up nothing.
func TestLimitsAreBroughtInLine(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		rt := &oddRuntime{fakeRuntime: h.rt}
		h.with(rt, h.store, 4)
		spec := func(limit int64) *Spec { s := h.spec("npd"); s.Resources = memoryLimit(limit); return s }
		h.add(t, spec(1))
		after(10 * time.Millisecond)
		h.want(t, "npd", StateStarting)
		if _, err := h.Apply(t.Context(), spec(2)); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if n := h.rt.updates["npd"]; n != 1 {
			t.Errorf("limits that changed during the start: %d updates", n)
		}
		// Adopted with others.
		h.with(rt, h.store, 4)
		if err := h.Add(t.Context(), spec(3), Installed{Hash: "1", Spec: spec(2)}); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if n := h.rt.updates["npd"]; n != 2 {
			t.Errorf("adopted with other limits: %d updates", n)
		}
		h.with(rt, h.store, 4)
		if err := h.Add(t.Context(), spec(3), Installed{Hash: "1", Spec: spec(3)}); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if n := h.rt.updates["npd"]; n != 2 {
			t.Errorf("adopted with the same limits: %d updates", n)
		}
		// A runtime that fails.
		calls := 0
		rt.update = func(context.Context, string) error { calls++; return errFake }
		h.with(rt, h.store, 4)
		if err := h.Add(t.Context(), spec(4), Installed{Hash: "1", Spec: spec(3)}); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if s := h.want(t, "npd", StateRunning); calls != 1 || !strings.Contains(s.Error, "cannot apply the new limits") {
			t.Errorf("%d calls of a runtime that fails, %q", calls, s.Error)
		}
		// One that hangs.
		rt.update = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		applied := begin(func() error { _, err := h.Apply(t.Context(), spec(5)); return err })
		begun := time.Now()
		if err := h.Stop(t.Context(), "npd"); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d > time.Second {
			t.Errorf("a stop waited %s for an update that hangs", d)
		}
		if err := <-applied; err != nil {
			t.Errorf("limits for a container that was stopped meanwhile: %v", err)
		}
	})
}

// A definition that is enabled starts its container, unless somebody stopped that.
func TestEnabledInTheFile(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		for name, byHand := range map[string]bool{"npd": false, "stopped": true} {
			off := h.spec(name)
			off.Enabled = false
			h.add(t, off)
			synctest.Wait()
			want, outcome := StateRunning, OutcomeStarted
			if byHand {
				want, outcome = StateStopped, OutcomeUpdated
				if err := h.Stop(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := h.Apply(t.Context(), h.spec(name)); err != nil || out != outcome {
				t.Errorf("%s: %s, %v", name, out, err)
			}
			after(time.Second)
			h.want(t, name, want)
		}
	})
}

// notedBundle counts what is done with it.
type notedBundle struct {
	fakeBundle
	installed, released *int
}

func newNotedBundle() notedBundle {
	return notedBundle{fakeBundle{"/b"}, new(int), new(int)}
}
func (b notedBundle) Install(context.Context) (string, error) { *b.installed++; return b.path, nil }
func (b notedBundle) Released() error                         { *b.released++; return nil }

// What a bundle made for an instance goes with that, whatever the definition is by then.
func TestBundleIsReleased(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		one, two := newNotedBundle(), newNotedBundle()
		spec := h.spec("npd")
		spec.Bundle = one
		h.add(t, spec)
		after(time.Second)
		if *one.installed != 1 || *one.released != 0 {
			t.Errorf("while it runs: %d, %d", *one.installed, *one.released)
		}
		changed := h.spec("npd")
		changed.Bundle, changed.Hash = two, "2"
		if _, err := h.Apply(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if *one.released != 1 || *two.installed != 1 || *two.released != 0 {
			t.Errorf("replaced: %d, %d, %d", *one.released, *two.installed, *two.released)
		}
		if err := h.Stop(t.Context(), "npd"); err != nil {
			t.Fatal(err)
		}
		if *one.released != 1 || *two.released != 1 {
			t.Errorf("stopped: %d, %d", *one.released, *two.released)
		}
	})
}

// notedProcess notes that it was closed.
type notedProcess struct {
	*fakeProcess
	closed  *atomic.Int32
	waitErr error
}

func (p notedProcess) Close() error { p.closed.Add(1); return nil }
func (p notedProcess) Wait(ctx context.Context) (ExitStatus, error) {
	s, err := p.fakeProcess.Wait(ctx)
	if err == nil && p.waitErr != nil {
		return ExitStatus{Known: true}, p.waitErr
	}
	return s, err
}

// Every process handle is closed: after the end of the instance, at the end of the daemon, and when a start comes to its
// end after that. An end that could not be watched is unknown.
func TestProcessesAreClosed(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		var opened, closed atomic.Int32
		var waitErr atomic.Bool
		rt := &oddRuntime{fakeRuntime: h.rt}
		rt.run = func(_ context.Context, req RunRequest) (Process, error) {
			p, err := h.rt.Run(context.Background(), req) // does not obey its context
			if err != nil {
				return nil, err
			}
			opened.Add(1)
			return notedProcess{p.(*fakeProcess), &closed, map[bool]error{true: errFake}[waitErr.Load()]}, nil
		}
		h.with(rt, h.store, 4)
		waitErr.Store(true)
		h.add(t, h.spec("npd"))
		after(time.Second)
		if err := h.Kill(t.Context(), "npd", syscall.SIGKILL, true); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if s := h.want(t, "npd", StateBackoff); s.LastExit.Reason != ReasonUnknown || s.LastExit.Code != -1 {
			t.Errorf("an end that could not be watched: %+v", s.LastExit)
		}
		if n := closed.Load(); n != 1 {
			t.Errorf("closed %d times after an end", n)
		}
		waitErr.Store(false)
		after(time.Minute)
		h.want(t, "npd", StateRunning)
		h.add(t, h.spec("late"))
		after(10 * time.Millisecond)
		h.Close()
		if opened.Load() != 3 || closed.Load() != 3 {
			t.Errorf("after the end of the daemon: opened %d, closed %d", opened.Load(), closed.Load())
		}
		if err := h.Add(t.Context(), h.spec("more"), Installed{}); !errors.Is(err, ErrClosed) {
			t.Errorf("add after close: %v", err)
		}
	})
}

// An instance is ended as its own definition says, not as the one says that replaces it.
func TestReplacedInstanceIsEndedItsOwnWay(t *testing.T) {
	world(t, func(t *testing.T, h *house) {
		h.rt.set(func() { h.rt.stubborn = true })
		h.add(t, h.spec("npd"))
		after(time.Second)
		changed := h.spec("npd")
		changed.Hash, changed.Stop.Timeout = "2", time.Hour
		if _, err := h.Apply(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		after(11 * time.Second)
		if h.want(t, "npd", StateRunning); h.rt.runs["npd"] != 2 {
			t.Errorf("%d starts", h.rt.runs["npd"])
		}
	})
}
