package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The daemon is killed a hundred times, at random moments, while containers start, stop, restart and end by themselves.
// There are never two instances of one name, never one that the next daemon does not know, and what was stopped stays
// stopped. RUNCSUP_E2E_SEED repeats a run, as far as timing lets it.
func TestKillDaemonAtRandom(t *testing.T) {
	t.Parallel()
	const rounds, settleEvery = 100, 10
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("RUNCSUP_E2E_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		check(t, err)
	}
	t.Logf("RUNCSUP_E2E_SEED=%d", seed)
	n := newNode(t, "--log-level", "info")
	r := &restless{node: n, rand: rand.New(rand.NewPCG(seed, 0))}
	for name, text := range map[string]string{
		"steady-1": "trap 'exit 0' TERM; sleep 1000000 & wait",
		"steady-2": "trap 'exit 0' TERM; sleep 1000000 & wait",
		"stubborn": "trap '' TERM; sleep 1000000 & wait; wait",
		"brief-1":  "sleep 0.3; exit 3",
		"brief-2":  "sleep 0.05; exit 0",
		"waits":    "sleep 0.1; exit 1",
		"once":     "sleep 0.4; exit 4",
	} {
		delay := map[string]string{"brief-1": "100ms, maxDelay: 200ms", "waits": "400ms, maxDelay: 400ms"}[name]
		if delay == "" {
			delay = "0s"
		}
		policy := "always"
		if name == "once" {
			policy = "no"
		}
		n.define(name, fmt.Sprintf("command: [sh, -c, %q, %q]\nstop: {timeout: 300ms}\nrestart: {policy: %s, delay: %s, jitter: 0%%}\n",
			text, r.marker(name), policy, delay))
		r.add(name)
	}

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i, d := range r.driven {
		wg.Go(func() { r.drive(ctx, d, rand.New(rand.NewPCG(seed, uint64(i+1)))) })
	}
	wg.Go(func() { r.sample(ctx) })

	for round := range rounds {
		n.launch()
		if r.rand.IntN(4) > 0 { // else it is killed at its very start
			r.awaitAnswer()
			if r.rand.IntN(3) == 0 {
				r.supervised()
			}
		}
		r.pause(80 << r.rand.IntN(4))
		if round%settleEvery == settleEvery-1 {
			r.awaitAnswer()
			r.settled()
		}
		n.killNow()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	n.start()
	r.settled()
	r.busy.Lock() // for good
	cancel()
	for _, d := range r.driven {
		n.must("start", d.name, "--no-wait")
	}
	for _, name := range []string{"steady-1", "steady-2", "stubborn"} {
		n.waitState(name, "running")
	}
	r.supervised()
	r.busy.Unlock()
	wg.Wait()
	n.stop()
	t.Logf("commands: %d done, %d refused, %d failed, %d cut off by the daemon's end; %d looks at the processes",
		r.done.Load(), r.refused.Load(), r.failed.Load(), r.cut.Load(), r.looks.Load())
	if r.done.Load() < rounds {
		t.Errorf("only %d commands were done: that shows little", r.done.Load())
	}
}

// restless is a node whose containers are not left in peace.
type restless struct {
	*node
	rand   *rand.Rand
	driven []*driven
	busy   sync.RWMutex // held for reading during a command

	done, refused, failed, cut, looks atomic.Int64
}

// driven is a container that gets commands.
type driven struct {
	name string
	// down is not 0 from the moment when a stop was reported as done until the next start is asked for.
	down  atomic.Uint64
	stops uint64
}

func (r *restless) add(name string) { r.driven = append(r.driven, &driven{name: name}) }

// marker is an argument of a container's init by which it is found.
func (r *restless) marker(name string) string { return r.dir + ":" + name }

// pause waits for a random time below ms milliseconds.
func (r *restless) pause(ms int) {
	<-time.After(time.Duration(r.rand.IntN(ms*1000)) * time.Microsecond)
}

func (r *restless) awaitAnswer() {
	r.Helper()
	eventually(r, patience, "the daemon answers", func() error {
		if !r.running() {
			r.Fatalf("the daemon ended by itself, with code %d", r.daemon.code)
		}
		_, err := r.tryList()
		return err
	})
}

// drive sends one container random commands.
func (r *restless) drive(ctx context.Context, d *driven, rng *rand.Rand) {
	for ctx.Err() == nil {
		verb, body := "start", ""
		switch rng.IntN(9) {
		case 0, 1:
			verb = "stop"
		case 2, 3:
			verb = "restart"
		case 4:
			verb, body = "kill", `{"signal":"KILL"}`
		case 5:
			verb, body = "kill", `{"signal":"TERM"}`
		case 6:
			verb, body = "kill", `{"signal":"KILL","all":true}`
		}
		r.busy.RLock()
		if verb == "start" || verb == "restart" {
			d.down.Store(0)
		}
		r.command(ctx, d, verb, body)
		r.busy.RUnlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rng.IntN(300)) * time.Millisecond):
		}
	}
}

func (r *restless) command(ctx context.Context, d *driven, verb, body string) {
	answer, err := r.client.Post("http://runcsup/v1/containers/"+d.name+"/"+verb, "application/json", strings.NewReader(body))
	if err != nil {
		r.cut.Add(1)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		r.cut.Add(1)
	case answer.StatusCode < 300:
		r.done.Add(1)
		if verb == "stop" {
			d.stops++
			d.down.Store(d.stops)
		}
	case answer.StatusCode < 500, answer.StatusCode == http.StatusServiceUnavailable:
		r.refused.Add(1)
	case bytes.Contains(text, []byte("ended at once")): // as some of them do
		r.done.Add(1)
	default:
		r.failed.Add(1)
		if ctx.Err() == nil {
			r.Errorf("%s %s: %s %s", verb, d.name, answer.Status, text)
		}
	}
}

// instance is the init process of a container.
type instance struct {
	name  string
	pid   int
	start string // field 22 of its stat
}

func (i instance) String() string { return fmt.Sprintf("%s (pid %d)", i.name, i.pid) }

// instances returns the init processes of all containers in the order in which they were seen.
func (r *restless) instances() (found []instance) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")) // empty once it has ended
		_, name, ok := strings.Cut(string(cmdline), r.dir+":")
		if !ok || !isInit(pid) {
			continue
		}
		if start := startTime(pid); start != "" {
			found = append(found, instance{strings.TrimRight(name, "\x00"), pid, start})
		}
	}
	return found
}

// isInit tells whether a process is number 1 in a pid namespace below this one.
func isInit(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	f := strings.Fields(line)
	return len(f) > 1 && f[len(f)-1] == "1"
}

// startTime is empty when the process has ended.
func startTime(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return ""
	}
	return f[19]
}

func (i instance) lives() bool { return startTime(i.pid) == i.start }

// sample looks at the processes all the time.
func (r *restless) sample(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !r.Failed() {
		down := make([]uint64, len(r.driven))
		for i, d := range r.driven {
			down[i] = d.down.Load()
		}
		found := r.instances()
		r.looks.Add(1)
		first := map[string]instance{}
		for _, in := range found {
			// Two lived at one time only if the first still does now that the second was seen.
			if other, ok := first[in.name]; ok && other.lives() {
				r.Errorf("two instances of one name: %v and %v", other, in)
			}
			first[in.name] = in
		}
		for i, d := range r.driven {
			if in, ok := first[d.name]; ok && down[i] != 0 && d.down.Load() == down[i] {
				r.Errorf("%s was stopped, and %v runs", d.name, in)
			}
		}
		<-tick.C
	}
}

// supervised waits until each container that runs now has ended or is one that the daemon knows.
func (r *restless) supervised() {
	r.Helper()
	found := r.instances()
	eventually(r, patience, "every process of a container is supervised", func() error {
		list, err := r.tryList()
		if err != nil {
			return err
		}
		known := map[int]string{}
		for _, c := range list {
			known[c.Pid] = c.Name
		}
		var errs []error
		for _, in := range found {
			if known[in.pid] != in.name && in.lives() {
				errs = append(errs, fmt.Errorf("%v is not", in))
			}
		}
		return errors.Join(errs...)
	})
}

// settled lets no more commands in, and waits until what runs is exactly what the daemon says.
func (r *restless) settled() {
	r.Helper()
	r.busy.Lock()
	defer r.busy.Unlock()
	r.supervised()
	eventually(r, patience, "the daemon's list and the processes agree", func() error {
		list, err := r.tryList()
		if err != nil {
			return err
		}
		found := map[string]instance{}
		for _, in := range r.instances() {
			found[in.name] = in
		}
		for _, c := range list {
			if in := found[c.Name]; c.State == "running" && in.pid != c.Pid || c.State == "stopped" && in.pid != 0 {
				return fmt.Errorf("%s is %s, and its process is %d", c.Name, c.brief(), in.pid)
			}
		}
		return nil
	})
}
