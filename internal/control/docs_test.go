package control_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/internal/logs"
	"github.com/runcsup/runcsup/internal/usage"
	"github.com/runcsup/runcsup/supervisor"
)

const apiPage = "../../docs/api.md"

// exampleBackend is the daemon of the page's examples.
func exampleBackend(t *testing.T) *controltest.Backend {
	return &controltest.Backend{
		Containers: []supervisor.Snapshot{
			npd(t),
			{Name: "web", Enabled: true, State: supervisor.StateStopped, Health: supervisor.HealthNone, Bundle: "/srv/web"},
			{Name: "idle", State: supervisor.StateStopped, Health: supervisor.HealthNone, Bundle: "/srv/idle"},
		},
		Order: supervisor.Graph{"web": {Requires: []string{"npd"}}},
		Changes: []control.Change{
			{Name: "npd", Action: control.ActionRestarted, Why: []string{"env TZ changed"}},
			{Name: "idle", Action: control.ActionUnchanged},
			{Name: "web", Action: control.ActionRefused, Error: `web.yaml:7:3: unknown key "comand"`},
		},
		Usage: []control.Stats{{Name: "npd", Pid: 4711, Usage: usage.Usage{
			At: time.Date(2026, 11, 23, 5, 9, 12, 345678900, time.UTC), Cgroup: "/runcsup/npd",
			CPU:    &usage.CPU{UsageSeconds: 2.5, UserSeconds: 2, SystemSeconds: 0.5, Limit: 0.5, Periods: 30, ThrottledPeriods: 12, ThrottledSeconds: 1.25},
			Memory: &usage.Memory{Usage: 10 << 20, WorkingSet: 8 << 20, Peak: 20 << 20, Limit: 64 << 20, RSS: 4 << 20, Cache: 6 << 20, MappedFile: 1 << 20, Faults: 1000, MajorFault: 7},
			Pids:   &usage.Pids{Current: 5, Limit: 100}, IO: []usage.Device{{Major: 8, ReadBytes: 8192, WriteBytes: 4096, Reads: 2, Writes: 1}},
			Pressure: &usage.Pressure{CPU: &usage.Stall{SomeSeconds: 1.5, FullSeconds: 0.25, SomePercent: 12.5}, Memory: &usage.Stall{}, IO: &usage.Stall{}},
		}}},
		Lines: map[string][]logs.Line{"npd": {{Time: time.Date(2026, 11, 25, 3, 1, 12, 123456789, time.UTC), Stream: logs.Stderr,
			Text: []byte("kernel: oom <killed>"), Cursor: "2026-11-25T03:01:12.123456789Z"}}},
		Entries: []history.Entry{
			{ID: 1764039672123456, At: *at(t, "2026-11-25T03:01:12.123Z"), Container: "npd", Type: "exited",
				Exit: &history.Exit{Reason: "exited", Code: 3}, RanSeconds: 61.5, MemoryPeakBytes: 12_910_592},
			{ID: 1764039672123501, At: *at(t, "2026-11-25T03:01:12.123Z"), Container: "npd", Type: "restart", Why: "policy always",
				Attempt: 2, NextStartAt: at(t, "2026-11-25T03:01:37.500Z")},
		},
		Shown: control.Shown{File: "/etc/runcsup/containers.d/npd.yaml", Definition: "bundle: /srv/npd\n",
			Effective: json.RawMessage(`{"bundle":"/srv/npd","enabled":true}`)},
		Executed: control.Executed{Output: "PONG\n"},
		Info: control.VersionInfo{Version: "0.1.0", Commit: "1f2e3d4c", BuildDate: "2026-11-23T04:00:00Z", Go: "go1.26.8",
			Platform: "linux/amd64", Runtime: "runc 1.1.5", Pid: 812, Ready: true},
	}
}

var (
	routeHeading = regexp.MustCompile("(?m)^### `([A-Z]+ /v1/.*)`$")
	exampleForm  = regexp.MustCompile("(?s)```sh\ncurl --unix-socket \\$S (?:-X POST |-d '([^']*)' )?'?http://localhost(\\S+?)'?\n```\n```json\n(.*?)```")
)

// docs/api.md has every route and no other, and its examples are what a daemon answers.
func TestPageHasEveryRouteAndTheTruth(t *testing.T) {
	text, err := os.ReadFile(apiPage)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	headings := routeHeading.FindAllSubmatchIndex(text, -1)
	for i, h := range headings {
		end := len(text)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		sections[string(text[h[2]:h[3]])] = string(text[h[1]:end])
	}
	routes := control.Routes()
	for heading := range sections {
		if !slices.Contains(routes, heading) {
			t.Errorf("%s describes %s, which the server does not have", apiPage, heading)
		}
	}
	for _, route := range routes {
		t.Run(route, func(t *testing.T) {
			section, ok := sections[route]
			if !ok {
				t.Fatalf("%s does not describe it", apiPage)
			}
			example := exampleForm.FindStringSubmatch(section)
			if example == nil {
				t.Fatalf("%s has no example for it", apiPage)
			}
			method, pattern, _ := strings.Cut(route, " ")
			body, path, want := example[1], example[2], example[3]
			if (method == "POST") != (strings.Contains(section, "-X POST http") || body != "") {
				t.Errorf("the example's method is not %s", method)
			}
			bare, _, _ := strings.Cut(path, "?")
			if form := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\{name\}`, `[^/]+`); !regexp.MustCompile("^" + form + "$").MatchString(bare) {
				t.Errorf("the example asks for %s, which is another route", path)
			}
			socket := controltest.Serve(t, exampleBackend(t), quiet)
			status, got := ask(t, socket, method, path, body)
			if status >= 300 {
				t.Errorf("status is %d", status)
			}
			var squeezed bytes.Buffer
			if err := json.Compact(&squeezed, []byte(want)); err != nil {
				t.Fatalf("the example is no JSON: %v", err)
			}
			if got != squeezed.String() {
				t.Errorf("the server answers\n%s\nthe page says\n%s", got, squeezed.String())
			}
		})
	}
}

// The table of errors has every code with its status.
func TestPageHasEveryCode(t *testing.T) {
	text, err := os.ReadFile(apiPage)
	if err != nil {
		t.Fatal(err)
	}
	for code, status := range map[control.Code]string{
		control.CodeUsage: "400", control.CodeNoSuchContainer: "404", control.CodeNoSuchRoute: "404", control.CodeMethodNotAllowed: "405",
		control.CodeConflict: "409", control.CodeStartLimit: "409", control.CodeRefused: "422",
		control.CodeCommandNotFound: "422", control.CodeNotExecutable: "422", control.CodeFailed: "500",
		control.CodeInternal: "500", control.CodeUnavailable: "503", control.CodeTooSlow: "503",
	} {
		if row := "| " + status + " | `" + string(code) + "` |"; !strings.Contains(string(text), row) {
			t.Errorf("%s has no row %s", apiPage, row)
		}
	}
}
