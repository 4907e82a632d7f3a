//go:build hang

package daemon

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// A daemon that is built for the test of the watchdog hangs when it gets SIGUSR2: its main loop never comes back.

func hangSignal(signals chan<- os.Signal) { signal.Notify(signals, unix.SIGUSR2) }

func hangOn(s os.Signal) {
	if s == unix.SIGUSR2 {
		select {}
	}
}
