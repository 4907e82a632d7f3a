package supervisor

import (
	"math"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The values are systemd's, computed for RestartSec=, RestartMaxDelaySec= and RestartSteps=.
func TestDelay(t *testing.T) {
	seconds := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	for _, c := range []struct {
		delay, maxDelay float64
		steps           int
		want            []float64
	}{
		{1, 60, 5, []float64{1, 2.268, 5.144, 11.665, 26.456, 60, 60, 60}},
		{2, 120, 5, []float64{2, 4.54, 10.29, 23.33, 52.91, 120, 120}},
		{15, 240, 4, []float64{15, 30, 60, 120, 240, 240}},
		{15, 0, 0, []float64{15, 15, 15, 15, 15, 15, 15}},
		{15, 240, 0, []float64{15, 15, 15}},
	} {
		p := RestartPolicy{Delay: seconds(c.delay), MaxDelay: seconds(c.maxDelay), Steps: c.steps}
		for i, want := range c.want {
			if got := p.delay(i + 1).Seconds(); math.Abs(got-want) > want*0.001 {
				t.Errorf("%v/%v/%d: restart %d after %.3fs, want %.3fs", c.delay, c.maxDelay, c.steps, i+1, got, want)
			}
		}
	}
}

func TestDelayBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := RestartPolicy{
			Delay:    time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "delay")),
			MaxDelay: time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "maxDelay")),
			Steps:    rapid.IntRange(0, 50).Draw(t, "steps"),
			Jitter:   rapid.Float64Range(0, 1).Draw(t, "jitter"),
		}
		n := rapid.IntRange(1, 1000).Draw(t, "n")
		d, next := p.delay(n), p.delay(n+1)
		if d < p.Delay || d > max(p.Delay, p.MaxDelay) {
			t.Fatalf("delay %s out of %s to %s", d, p.Delay, p.MaxDelay)
		}
		if next < d {
			t.Fatalf("delay shrinks from %s to %s", d, next)
		}
		random := rapid.Float64Range(0, 0.999).Draw(t, "random")
		if j := p.jittered(d, random); j < d || float64(j) > float64(d)*(1+p.Jitter)+1 {
			t.Fatalf("jitter makes %s of %s", j, d)
		}
	})
}

// systemd.service(5), the table at Restart=: a column per mode, a row per end. "unknown" is ours: a failure.
func TestDecision(t *testing.T) {
	modes := []RestartMode{RestartNo, RestartAlways, RestartOnSuccess, RestartOnFailure, RestartOnAbnormal, RestartOnAbort}
	core := ExitStatus{Known: true, Wait: syscall.WaitStatus(syscall.SIGSEGV | 0x80)}
	for name, c := range map[string]struct {
		end  end
		want string // a letter per mode
	}{
		"exit 0":                   {end{ReasonExited, exited(0)}, "nyynnn"},
		"exit 3":                   {end{ReasonExited, exited(3)}, "nynynn"},
		"exit 137 by itself":       {end{ReasonExited, exited(137)}, "nynynn"},
		"SIGTERM":                  {end{ReasonSignaled, signaled(syscall.SIGTERM)}, "nyynnn"},
		"SIGHUP":                   {end{ReasonSignaled, signaled(syscall.SIGHUP)}, "nyynnn"},
		"SIGINT":                   {end{ReasonSignaled, signaled(syscall.SIGINT)}, "nyynnn"},
		"SIGPIPE":                  {end{ReasonSignaled, signaled(syscall.SIGPIPE)}, "nyynnn"},
		"SIGKILL":                  {end{ReasonSignaled, signaled(syscall.SIGKILL)}, "nynyyy"},
		"SIGSEGV with a core":      {end{ReasonSignaled, core}, "nynyyy"},
		"OOM":                      {end{ReasonOOM, ExitStatus{Known: true, Wait: 9, OOMKilled: true}}, "nynyyn"},
		"failed start":             {end{reason: ReasonStartFailed}, "nynyyn"},
		"unhealthy":                {end{ReasonUnhealthy, signaled(syscall.SIGTERM)}, "nynyyn"},
		"unknown":                  {end{reason: ReasonUnknown}, "nynyyn"},
		"exited, nobody knows how": {end{reason: ReasonExited}, "nynyyn"},
	} {
		for i, mode := range modes {
			if got := (RestartPolicy{Mode: mode}).restarts(c.end); got != (c.want[i] == 'y') {
				t.Errorf("%s, %s: restarts %v", name, mode, got)
			}
		}
	}
}

func TestDecisionByStatus(t *testing.T) {
	seven := StatusSet{Codes: []int{7}}
	for name, c := range map[string]struct {
		policy RestartPolicy
		end    end
		want   bool
	}{
		"prevented":                     {RestartPolicy{Mode: RestartAlways, PreventStatuses: seven}, end{ReasonExited, exited(7)}, false},
		"another code is not prevented": {RestartPolicy{Mode: RestartAlways, PreventStatuses: seven}, end{ReasonExited, exited(8)}, true},
		"forced":                        {RestartPolicy{Mode: RestartNo, ForceStatuses: seven}, end{ReasonExited, exited(7)}, true},
		"prevent wins over force":       {RestartPolicy{Mode: RestartAlways, PreventStatuses: seven, ForceStatuses: seven}, end{ReasonExited, exited(7)}, false},
		"success status is no failure":  {RestartPolicy{Mode: RestartOnFailure, SuccessStatuses: seven}, end{ReasonExited, exited(7)}, false},
		"success status is a success":   {RestartPolicy{Mode: RestartOnSuccess, SuccessStatuses: seven}, end{ReasonExited, exited(7)}, true},
		"a signal in the set":           {RestartPolicy{Mode: RestartAlways, PreventStatuses: StatusSet{Signals: []syscall.Signal{9}}}, end{ReasonSignaled, signaled(9)}, false},
		"exit 9 is not signal 9":        {RestartPolicy{Mode: RestartAlways, PreventStatuses: StatusSet{Signals: []syscall.Signal{9}}}, end{ReasonExited, exited(9)}, true},
		"unknown is in no set":          {RestartPolicy{Mode: RestartAlways, PreventStatuses: StatusSet{Codes: []int{0}}}, end{reason: ReasonUnknown}, true},
	} {
		if got := c.policy.restarts(c.end); got != c.want {
			t.Errorf("%s: restarts %v", name, got)
		}
	}
}

func TestExitInWords(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status ExitStatus
		want   Exit
		words  string
	}{
		{exited(0), Exit{ReasonExited, 0, "", at}, "exited with code 0"},
		{exited(137), Exit{ReasonExited, 137, "", at}, "exited with code 137"},
		{signaled(syscall.SIGSEGV), Exit{ReasonSignaled, -1, "SEGV", at}, "signaled by SIGSEGV"},
		{ExitStatus{Known: true, Wait: 9, OOMKilled: true}, Exit{ReasonOOM, -1, "KILL", at}, "oom by SIGKILL"},
		{ExitStatus{Known: true, Wait: 3 << 8, OOMKilled: true}, Exit{ReasonExited, 3, "", at}, "exited with code 3"},
		{ExitStatus{}, Exit{ReasonUnknown, -1, "", at}, "unknown"},
	} {
		got := exitOf(reasonOf(c.status), c.status, at)
		if *got != c.want || got.String() != c.words {
			t.Errorf("%v: %+v, %q", c.status, *got, got)
		}
	}
}
