package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/runcsup/runcsup/internal/logs"
)

func (s *Server) logs(r request) (answer, error) {
	q, err := logsQuery(r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	if _, err := s.backend.Get(r.name); err != nil {
		return answer{}, err
	}
	return answer{stream: func(ctx context.Context, send func(any) error) error {
		return s.backend.Logs(ctx, r.name, q, func(l logs.Line) error { return send(l) })
	}}, nil
}

// logsQuery reads the parameters of a query for lines.
func logsQuery(v url.Values) (logs.Query, error) {
	q := logs.Query{Tail: -1}
	for name, values := range v {
		for _, value := range values {
			var err error
			switch name {
			case "tail":
				var n uint64
				n, err = strconv.ParseUint(value, 10, 31)
				q.Tail = int(n)
			case "since":
				q.Since, err = time.Parse(time.RFC3339, value)
			case "until":
				q.Until, err = time.Parse(time.RFC3339, value)
			case "after":
				q.After = value
			case "follow":
				q.Follow, err = strconv.ParseBool(value)
			case "stream":
				if q.Stream = value; value != logs.Stdout && value != logs.Stderr {
					err = fmt.Errorf("it is %s or %s", logs.Stdout, logs.Stderr)
				}
			default:
				return q, &Error{Code: CodeUsage, Message: fmt.Sprintf("unknown parameter %q", name), Hint: "docs/api.md lists them"}
			}
			if err != nil {
				return q, &Error{Code: CodeUsage, Message: fmt.Sprintf("wrong parameter %s=%s: %v", name, value, err)}
			}
		}
	}
	return q, nil
}

// logsQueryString is what logsQuery reads.
func logsQueryString(q logs.Query) string {
	v := url.Values{}
	if q.Tail >= 0 {
		v.Set("tail", strconv.Itoa(q.Tail))
	}
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.After != "" {
		v.Set("after", q.After)
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	if q.Stream != "" {
		v.Set("stream", q.Stream)
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// Logs calls each with lines of a container's output, oldest first, and with Query.Follow then with what comes. It returns
// nil when that was all or the daemon ended, each's error, or an *Error: CodeUnavailable is a reason to ask again with
// Query.After of the last line's cursor.
func (c *Client) Logs(ctx context.Context, name string, q logs.Query, each func(logs.Line) error) error {
	if name == "" || name == "." || name == ".." {
		return noContainer(name)
	}
	return c.stream(ctx, "/v1/containers/"+url.PathEscape(name)+"/logs"+logsQueryString(q), func(line []byte) error {
		var l logs.Line
		if err := json.Unmarshal(line, &l); err != nil {
			return &Error{Code: CodeInternal, Message: fmt.Sprintf("the daemon sends a log line that is none: %v", err)}
		}
		return each(l)
	})
}
