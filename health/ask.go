package health

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrTimeout is what an Exec returns when the command ran, and was ended because the context did.
var ErrTimeout = errors.New("did not end in time")

// errNotCarriedOut marks what is no answer of the container: the probe could not be carried out.
var errNotCarriedOut = errors.New("the probe could not be carried out")

// asker returns what carries a probe out, nil for one that nobody asks.
func (w *Watch) asker(p *Probe) func(context.Context) (Outcome, string) {
	switch p.Kind() {
	case KindExec:
		return func(ctx context.Context) (Outcome, string) { return askExec(ctx, w.target.Exec, p) }
	case KindHTTP:
		request := newHTTPRequest(p.HTTP)
		return func(ctx context.Context) (Outcome, string) { return verdictOn(p)(request.ask(ctx, w.net)) }
	case KindTCP:
		return func(ctx context.Context) (Outcome, string) { return verdictOn(p)(askTCP(ctx, w.net, p.TCP)) }
	case KindGRPC:
		return func(ctx context.Context) (Outcome, string) { return verdictOn(p)(askGRPC(ctx, w.net, p.GRPC)) }
	}
	return nil
}

// verdictOn turns what a probe by network returns into its outcome.
func verdictOn(p *Probe) func(answer string, err error) (Outcome, string) {
	return func(answer string, err error) (Outcome, string) {
		switch {
		case err == nil:
			return Success, answer
		case errors.Is(err, errNotCarriedOut):
			return Unknown, err.Error()
		case isTimeout(err):
			return Failure, fmt.Sprintf("no answer within %s", p.Timeout)
		case answer != "":
			return Failure, err.Error() + ": " + answer
		}
		return Failure, err.Error()
	}
}

// isTimeout tells whether a deadline has passed, whoever set it.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func askExec(ctx context.Context, exec Exec, p *Probe) (Outcome, string) {
	r, err := exec(ctx, p.Exec)
	output := string(r.Output)
	switch {
	case errors.Is(err, ErrTimeout):
		return Failure, strings.TrimSpace(fmt.Sprintf("did not end within %s\n%s", p.Timeout, output))
	case err != nil:
		return Unknown, err.Error()
	case r.Code != 0:
		return Failure, strings.TrimSpace(fmt.Sprintf("exit code %d\n%s", r.Code, output))
	}
	return Success, output
}
