package control

import (
	"context"
	"log/slog"
	"net"

	"golang.org/x/sys/unix"
)

type peerKey struct{}

// withPeer keeps who is at the other end of a connection, as the kernel says.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) {
		cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || cred == nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred)
}

// peerAttr is the caller for the log.
func peerAttr(ctx context.Context) slog.Attr {
	cred, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if !ok {
		return slog.String("peer", "unknown")
	}
	return slog.Group("peer", "uid", cred.Uid, "pid", cred.Pid)
}
