package control_test

import (
	"context"
	"errors"
	"net/http"
	"os/user"
	"slices"
	"strings"
	"testing"

	"github.com/runcsup/runcsup/internal/control"
	"github.com/runcsup/runcsup/internal/control/controltest"
	"github.com/runcsup/runcsup/internal/history"
	"github.com/runcsup/runcsup/supervisor"
)

func threeEvents(t *testing.T) []history.Entry {
	return []history.Entry{
		{ID: 1, At: *at(t, "2026-11-25T03:01:12Z"), Type: history.TypeBoot},
		{ID: 2, At: *at(t, "2026-11-25T03:01:13Z"), Container: "npd", Type: "started", Pid: 7},
		{ID: 3, At: *at(t, "2026-11-25T03:01:14Z"), Container: "web", Type: "start-failed", Error: `{"error":"no"}`},
	}
}

func TestEventsAreToldAsAsked(t *testing.T) {
	socket := controltest.Serve(t, &controltest.Backend{Entries: threeEvents(t)}, quiet)
	c := control.NewClient(socket)
	defer c.Close()
	for name, tt := range map[string]struct {
		q    history.Query
		want []int64
	}{
		"all":   {history.Query{}, []int64{1, 2, 3}},
		"one":   {history.Query{Containers: []string{"web"}}, []int64{1, 3}},
		"after": {history.Query{After: 2}, []int64{3}},
		"since": {history.Query{Since: *at(t, "2026-11-25T03:01:13Z")}, []int64{2, 3}},
		"limit": {history.Query{Limit: 1}, []int64{3}},
		"none":  {history.Query{Limit: -1}, nil},
	} {
		var got []int64
		err := c.Events(t.Context(), tt.q, false, func(e history.Entry) error { got = append(got, e.ID); return nil })
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.want)
		}
	}
	for _, query := range []string{"follow=perhaps", "limit=-1", "since=yesterday", "after=x", "container=../x", "containers=web"} {
		if status, body := ask(t, socket, http.MethodGet, "/v1/events?"+query, ""); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}

// A stream goes on until somebody ends it, and says why it ended.
func TestEventsAreFollowed(t *testing.T) {
	live := make(chan history.Entry)
	b := &controltest.Backend{Entries: threeEvents(t), Live: live}
	c := control.NewClient(controltest.Serve(t, b, quiet))
	defer c.Close()
	follow := func(ctx context.Context, got chan<- int64) <-chan error {
		ended := make(chan error, 1)
		go func() {
			ended <- c.Events(ctx, history.Query{After: 2}, true, func(e history.Entry) error { got <- e.ID; return nil })
		}()
		return ended
	}
	got := make(chan int64, 8)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := follow(ctx, got)
	if id := <-got; id != 3 {
		t.Errorf("the first is %d", id)
	}
	live <- history.Entry{ID: 4, Type: "started"}
	if id := <-got; id != 4 {
		t.Errorf("the next is %d", id)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the client left: %v", err)
	}
	ended = follow(t.Context(), got)
	<-got
	close(live)
	if err := <-ended; code(err) != control.CodeTooSlow {
		t.Errorf("it was cut off: %v", err)
	}
}

// The end of the server ends those who follow, at once and with a word.
func TestEndOfTheServerEndsStreams(t *testing.T) {
	b := &controltest.Backend{Entries: threeEvents(t)}
	socket, stop := controltest.ServeUntil(t, b, quiet)
	c := control.NewClient(socket)
	defer c.Close()
	got, ended := make(chan int64, 8), make(chan error, 1)
	go func() {
		ended <- c.Events(t.Context(), history.Query{After: 2}, true, func(e history.Entry) error { got <- e.ID; return nil })
	}()
	<-got
	stop()
	if err := <-ended; code(err) != control.CodeUnavailable {
		t.Errorf("%v", err)
	}
}

func TestHistoryOfOne(t *testing.T) {
	b := exampleBackend(t)
	c := control.NewClient(controltest.Serve(t, b, quiet))
	defer c.Close()
	entries, err := c.History(t.Context(), "npd", history.Query{Limit: 1})
	if err != nil || len(entries) != 1 || entries[0].Type != "restart" {
		t.Errorf("%+v, %v", entries, err)
	}
	if entries, err := c.History(t.Context(), "idle", history.Query{}); err != nil || entries == nil || len(entries) != 0 {
		t.Errorf("without entries: %v, %v", entries, err)
	}
	if _, err := c.History(t.Context(), "nope", history.Query{}); code(err) != control.CodeNoSuchContainer {
		t.Errorf("%v", err)
	}
}

// witness is a daemon that sees on whose behalf it is told to do something.
type witness struct {
	*controltest.Backend
	whom chan string
}

func (w witness) Stop(ctx context.Context, name string) error {
	w.whom <- supervisor.Behalf(ctx)
	return w.Backend.Stop(ctx, name)
}

// Who calls is known, also when it does not wait.
func TestCallerIsNamed(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	w := witness{exampleBackend(t), make(chan string, 1)}
	c := control.NewClient(controltest.Serve(t, w, quiet))
	defer c.Close()
	for _, wait := range []bool{true, false} {
		if _, err := c.Stop(t.Context(), "npd", wait); err != nil {
			t.Fatal(err)
		}
		if who := <-w.whom; who != me.Username && !strings.HasPrefix(who, me.Username+", logged in as ") {
			t.Errorf("wait %t: it was called by %q", wait, who)
		}
	}
}
