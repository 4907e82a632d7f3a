package control

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Reexec is what a daemon answers that is told to replace itself by the program on disk.
type Reexec struct {
	// Replacing is false when nothing is done, because the program on disk is the one that runs.
	Replacing bool `json:"replacing"`
	// Program is what is on disk.
	Program VersionInfo `json:"program"`
	// Reexecs is VersionInfo.Reexecs of the daemon that answered; the next one has one more.
	Reexecs int `json:"reexecs"`
}

type reexecOptions struct {
	IfChanged bool `json:"ifChanged,omitempty"`
}

// reexec answers before the daemon is replaced: afterwards there is nobody left to.
func (s *Server) reexec(r request) (answer, error) {
	var o reexecOptions
	if err := r.decode(&o); err != nil {
		return answer{}, err
	}
	done, err := s.backend.Reexec(r.Context(), o.IfChanged)
	if err != nil || !done.Replacing {
		return answer{value: done}, err
	}
	return answer{status: http.StatusAccepted, value: done}, nil
}

const (
	// reexecLook is how often is looked whether the daemon was replaced.
	reexecLook = 50 * time.Millisecond
	// readyPatience is for the new daemon to have taken everything over. One that waits for a container that does not start may
	// never be ready.
	readyPatience = 20 * time.Second
)

// Reexec has the daemon replace itself by the program on disk, and returns when that has taken over, as what it is. With
// ifChanged nothing is done if that is the program which runs; Replacing is false then. An error is that the old daemon runs on, if it is
// an *Error, or that ctx has ended.
func (c *Client) Reexec(ctx context.Context, ifChanged bool) (Reexec, VersionInfo, error) {
	var r Reexec
	if err := c.do(ctx, http.MethodPost, "/v1/reexec", reexecOptions{IfChanged: ifChanged}, &r); err != nil || !r.Replacing {
		return r, VersionInfo{}, err
	}
	c.Close() // who connects anew waits for the next daemon
	look := time.NewTicker(reexecLook)
	defer look.Stop()
	var patience <-chan time.Time
	for {
		v, err := c.Version(ctx)
		if err == nil && v.Reexecs != r.Reexecs {
			if v.ReexecError != "" {
				return r, v, &Error{Code: CodeFailed, Message: "the daemon could not replace itself, and the one before goes on: " + v.ReexecError}
			}
			if v.Ready {
				return r, v, nil
			}
			if patience == nil {
				patience = time.After(readyPatience)
			}
		}
		select { // it was an answer of the old one, or a connection that ended with it, or the new one has just begun
		case <-look.C:
		case <-patience:
			return r, v, nil
		case <-ctx.Done():
			return r, v, fmt.Errorf("gave up waiting for the new daemon: %w", context.Cause(ctx))
		}
	}
}
