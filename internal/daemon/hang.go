//go:build hang

package daemon

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// A daemon that is built for tests hangs when it gets SIGUSR2: its main loop never comes back. And if there is a FIFO of this
// name, a program that was executed in the place of another one waits for a writer before it hears of signals.
const hangFIFO = "/run/runcsup-hang"

func init() {
	if os.Getenv(handoverEnv) == "" {
		return
	}
	if f, err := os.Open(hangFIFO); err == nil {
		_ = f.Close() // it is only waited for
	}
}

func hangSignal(signals chan<- os.Signal) { signal.Notify(signals, unix.SIGUSR2) }

func hangOn(s os.Signal) {
	if s == unix.SIGUSR2 {
		select {}
	}
}
