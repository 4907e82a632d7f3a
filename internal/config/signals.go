package config

import (
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Real-time signals as glibc and docker number them.
const (
	sigRTMin = 34
	sigRTMax = 64
)

var realTime = regexp.MustCompile(`^RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?$`)

// signalByName knows all of Linux' signals, with or without SIG, in capitals: TERM, SIGKILL, RTMIN+3.
func signalByName(name string) (syscall.Signal, bool) {
	short := strings.TrimPrefix(name, "SIG")
	if m := realTime.FindStringSubmatch(short); m != nil {
		offset := 0
		if m[3] != "" {
			offset, _ = strconv.Atoi(m[3]) // one or two digits, by the pattern
		}
		switch {
		case m[1] == "MIN" && m[2] != "-" && sigRTMin+offset <= sigRTMax:
			return syscall.Signal(sigRTMin + offset), true
		case m[1] == "MAX" && m[2] != "+" && sigRTMax-offset >= sigRTMin:
			return syscall.Signal(sigRTMax - offset), true
		}
		return 0, false
	}
	for s := syscall.Signal(1); s < 32; s++ {
		if "SIG"+short == unix.SignalName(s) {
			return s, true
		}
	}
	return 0, false
}

// signalNames are the short names of signals 1 to 31.
func signalNames() []string {
	names := make([]string, 0, 31)
	for s := syscall.Signal(1); s < 32; s++ {
		names = append(names, strings.TrimPrefix(unix.SignalName(s), "SIG"))
	}
	return names
}

// signal reads the name of a signal.
func (p *problems) signal(n *node) (syscall.Signal, bool) {
	if n.kind == kindInt {
		hint := ""
		if number, err := strconv.Atoi(n.text); err == nil && number > 0 && number < 32 {
			hint = "write " + strings.TrimPrefix(unix.SignalName(syscall.Signal(number)), "SIG")
		}
		p.fail(n, hint, "%s must be the name of a signal like TERM, not a number", quotePath(n))
		return 0, false
	}
	s, ok := p.text(n, "the name of a signal like TERM")
	if !ok {
		return 0, false
	}
	sig, ok := signalByName(s)
	if !ok {
		p.unknownSignal(n, s)
	}
	return sig, ok
}

func (p *problems) unknownSignal(n *node, name string) {
	upper := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	p.fail(n, "", "%s: unknown signal %s%s", quotePath(n), quote(name), didYouMean(upper, signalNames()))
}
