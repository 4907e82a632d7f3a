package notify

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// errSilent is what is logged of a check that does not even obey its context.
var errSilent = errors.New("the check does not return")

// Watchdog pings the service manager for as long as the daemon's loops answer.
type Watchdog struct {
	interval time.Duration
	ping     func() error
	check    func(context.Context) error
	log      *slog.Logger
}

// NewWatchdog returns a Watchdog for Environment.Watchdog. check makes a round trip through every loop that has to live,
// returns soon after its context has ended, and names in its error the loop that did not answer. ping is Notifier.Ping.
func NewWatchdog(interval time.Duration, check func(context.Context) error, ping func() error, log *slog.Logger) *Watchdog {
	return &Watchdog{interval: interval, ping: ping, check: check, log: log}
}

// Run checks at once and then every third of the interval, and pings after each check that answered within another
// third: of two pings in a row one may be late without the service manager noticing. While a check has not returned no
// other one is begun. Run returns when the context ends, or at once when the interval is 0.
func (w *Watchdog) Run(ctx context.Context) {
	period := w.interval / 3
	if period <= 0 {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	ticker := time.NewTicker(period)
	defer ticker.Stop()
	answers := make(chan error, 1) // a check that returns after Run finds room
	failing := false
	for {
		checkCtx, cancelCheck := context.WithTimeout(ctx, period)
		go func() { answers <- w.check(checkCtx) }()
		err := w.await(checkCtx, answers)
		late := checkCtx.Err() != nil
		cancelCheck()
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil && !late:
			if failing {
				failing = false
				w.log.Info("answers to the watchdog again")
			}
			if err := w.ping(); err != nil {
				w.log.Warn("watchdog ping failed", "error", err)
			}
		case err == nil:
			failing = true
			w.log.Error("watchdog: answered too late, no ping is sent", "deadline", period)
		default:
			failing = true
			w.log.Error("watchdog: no ping is sent", "error", err)
		}
		if errors.Is(err, errSilent) {
			select {
			case err = <-answers:
				w.log.Info("watchdog: the check that did not return has returned", "error", err)
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// await returns the check's answer. A check whose context has ended gets a moment to say which loop it waited for.
func (w *Watchdog) await(ctx context.Context, answers <-chan error) error {
	select {
	case err := <-answers:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(w.interval / 10)
	defer grace.Stop()
	select {
	case err := <-answers:
		return err
	case <-grace.C:
		return errSilent
	}
}
