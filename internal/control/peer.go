package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/supervisor"
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

// onBehalfOfPeer has events name who is at the other end.
func onBehalfOfPeer(ctx context.Context) context.Context {
	cred, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if !ok {
		return ctx
	}
	who := userName(cred.Uid)
	// What the audit system remembers of a login goes through sudo and su.
	login, err := os.ReadFile(fmt.Sprintf("/proc/%d/loginuid", cred.Pid))
	if uid, parseErr := strconv.ParseUint(strings.TrimSpace(string(login)), 10, 32); err == nil && parseErr == nil &&
		uint32(uid) != noLogin && uint32(uid) != cred.Uid {
		who += ", logged in as " + userName(uint32(uid))
	}
	return supervisor.OnBehalfOf(ctx, who)
}

// noLogin is the login uid of what was not started by a login.
const noLogin = ^uint32(0)

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

// peerAttr is the caller for the log.
func peerAttr(ctx context.Context) slog.Attr {
	cred, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if !ok {
		return slog.String("peer", "unknown")
	}
	return slog.Group("peer", "uid", cred.Uid, "pid", cred.Pid)
}
