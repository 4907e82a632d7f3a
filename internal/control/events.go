package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/runcsup/runcsup/internal/history"
)

func (s *Server) history(r request) (answer, error) {
	q, _, err := eventsQuery(r.URL.Query(), "since", "after", "limit")
	if err != nil {
		return answer{}, err
	}
	entries, err := s.backend.History(r.name, q)
	if entries == nil {
		entries = []history.Entry{}
	}
	return answer{value: entries}, err
}

func (s *Server) events(r request) (answer, error) {
	q, follow, err := eventsQuery(r.URL.Query(), "since", "after", "limit", "follow", "container")
	if err != nil {
		return answer{}, err
	}
	return answer{stream: func(ctx context.Context, send func(any) error) error {
		return s.backend.Events(ctx, q, follow, func(e history.Entry) error { return send(e) })
	}}, nil
}

// eventsQuery reads the parameters of a query for events; others than those allowed are errors.
func eventsQuery(v url.Values, allowed ...string) (q history.Query, follow bool, err error) {
	known := map[string]func(string) error{
		"since": func(s string) (err error) {
			q.Since, err = time.Parse(time.RFC3339, s)
			return err
		},
		"after": func(s string) (err error) {
			q.After, err = strconv.ParseInt(s, 10, 64)
			return err
		},
		"limit": func(s string) error {
			n, err := strconv.ParseUint(s, 10, 31)
			if q.Limit = int(n); err == nil && n == 0 {
				q.Limit = -1 // nothing that was
			}
			return err
		},
		"follow": func(s string) (err error) {
			follow, err = strconv.ParseBool(s)
			return err
		},
		"container": func(s string) error {
			if q.Containers = append(q.Containers, s); !history.ValidName(s) {
				return fmt.Errorf("no container can have that name")
			}
			return nil
		},
	}
	parameters := map[string]func(string) error{}
	for _, name := range allowed {
		parameters[name] = known[name]
	}
	for name, values := range v {
		read := parameters[name]
		if read == nil {
			return q, false, &Error{Code: CodeUsage, Message: fmt.Sprintf("unknown parameter %q", name), Hint: "docs/api.md lists them"}
		}
		for _, value := range values {
			if err := read(value); err != nil {
				return q, false, &Error{Code: CodeUsage, Message: fmt.Sprintf("wrong parameter %s=%s: %v", name, value, err)}
			}
		}
	}
	return q, follow, nil
}

// queryString is what eventsQuery reads.
func queryString(q history.Query, follow bool) string {
	v := url.Values{}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.After != 0 {
		v.Set("after", strconv.FormatInt(q.After, 10))
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(max(q.Limit, 0)))
	}
	if follow {
		v.Set("follow", "true")
	}
	if len(q.Containers) > 0 {
		v["container"] = q.Containers
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// History returns what happened to a container, oldest first. Query.Containers is of no importance.
func (c *Client) History(ctx context.Context, name string, q history.Query) ([]history.Entry, error) {
	q.Containers = nil
	var entries []history.Entry
	return entries, c.container(ctx, http.MethodGet, name, "/history"+queryString(q, false), nil, &entries)
}

// Events calls each with what happened, oldest first, and with follow then with what happens. It returns nil when all was
// told, each's error, or an *Error: CodeTooSlow and CodeUnavailable (the daemon ends, or was killed) are reasons to ask again
// with Query.After of the last entry.
func (c *Client) Events(ctx context.Context, q history.Query, follow bool, each func(history.Entry) error) error {
	return c.stream(ctx, "/v1/events"+queryString(q, follow), func(line []byte) error {
		var e history.Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return &Error{Code: CodeInternal, Message: fmt.Sprintf("the daemon tells an event that is none: %v", err)}
		}
		return each(e)
	})
}
