package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// workTime is how long the worker works, and workCodes with what it exits, one time after the other.
const workTime = 3 * time.Second

var workCodes = []int{0, 3, 42, 1, 137}

// runPayload is the program inside the demo's containers.
func runPayload(ctx context.Context, stdout io.Writer, args []string) error {
	switch what := strings.Join(args[:1], ""); {
	case what == "web" && len(args) == 2:
		return serveWeb(ctx, args[1])
	case what == "worker":
		return work(stdout, "/worker.count")
	case what == "tell" && len(args) > 1:
		return tell(os.Getenv("NOTIFY_SOCKET"), args[1:])
	case what == "broken":
		return fmt.Errorf("/etc/broken.conf is needed, and not there")
	}
	return &usageError{message: "demo-payload: web ADDRESS, worker, tell TEXT… or broken"}
}

// tell says something to whoever supervises this process, as sd_notify(3) has it.
func tell(socket string, lines []string) error {
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, strings.Join(lines, "\n"))
	return err
}

// serveWeb answers every request with a greeting.
func serveWeb(ctx context.Context, address string) error {
	started := time.Now()
	server := &http.Server{
		Addr: address, ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "Hello from a container: pid %d, user %d, up for %s.\n",
				os.Getpid(), os.Getuid(), time.Since(started).Round(time.Second))
		}),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// work counts its runs in a file, works for a while and exits with the code that is next.
func work(stdout io.Writer, countFile string) error {
	said, _ := os.ReadFile(countFile) // not there at the first run
	runs, _ := strconv.Atoi(strings.TrimSpace(string(said)))
	if err := os.WriteFile(countFile, []byte(strconv.Itoa(runs+1)), 0o644); err != nil {
		return err
	}
	code := workCodes[runs%len(workCodes)]
	_, _ = fmt.Fprintf(stdout, "run %d: working, then exit with %d\n", runs+1, code)
	<-time.After(workTime)
	return exitError(code)
}
