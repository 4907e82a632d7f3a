package health

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkHTTP is one probe of a server that answers at once, in this network namespace and as if in another one.
func BenchmarkHTTP(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		buf := make([]byte, 4096)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(buf)
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
			_ = conn.Close()
		}
	}()
	for name, open := range map[string]func() (*os.File, error){
		"here": nil, "setns": func() (*os.File, error) { return os.Open("/proc/self/ns/net") },
	} {
		b.Run(name, func(b *testing.B) {
			w := &Watch{net: &network{open: open, home: new(homeNetwork)}}
			defer w.net.close()
			ask := w.asker(&Probe{HTTP: &HTTP{Port: portOfListener(l.Addr())}, Timeout: time.Minute})
			b.ReportAllocs()
			var before, after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
			for b.Loop() {
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				if got, text := ask(ctx); got != Success {
					b.Fatal(text)
				}
				cancel()
			}
			_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N)/1000, "µs-CPU/op") // with the server's share
		})
	}
}
