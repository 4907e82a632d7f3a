package config

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// namePattern is what containers may be called: what the runtimes accept as an id and is safe as a file name.
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

const nameRule = `a name is up to 64 letters, digits, "_", "." and "-", and begins with a letter or digit`

// ValidName tells whether a container may have that name.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// container reads the name of a container.
func (p *problems) container(n *node) (string, bool) {
	s, ok := p.text(n, "the name of a container")
	if ok && !ValidName(s) {
		p.fail(n, nameRule, "%s is not the name of a container: %s", quotePath(n), quote(s))
		return "", false
	}
	return s, ok
}

// maxPath is the kernel's limit, in bytes.
const maxPath = 4095

func (p *problems) pathText(n *node, what string) (string, bool) {
	s, ok := p.text(n, what)
	if ok && len(s) > maxPath {
		p.fail(n, "", "%s is longer than the %d bytes that a path can have", quotePath(n), maxPath)
		return "", false
	}
	return s, ok
}

// hostPath reads an absolute path on the host. It is kept as written: cleaning it would change what ".." after a symlink
// means.
func (p *problems) hostPath(n *node) (string, bool) {
	s, ok := p.pathText(n, "an absolute path")
	if ok && !strings.HasPrefix(s, "/") {
		p.fail(n, "", "%s must be an absolute path, not %s", quotePath(n), quote(s))
		return "", false
	}
	return s, ok
}

var dotDot = regexp.MustCompile(`(^|/)\.\.(/|$)`)

// innerPath reads an absolute path in the container, and cleans it.
func (p *problems) innerPath(n *node) (string, bool) {
	s, ok := p.pathText(n, "an absolute path in the container")
	switch {
	case !ok:
		return "", false
	case !strings.HasPrefix(s, "/"):
		p.fail(n, "", "%s must be an absolute path in the container, not %s", quotePath(n), quote(s))
		return "", false
	case dotDot.MatchString(s):
		p.fail(n, "", `%s must not contain "..": %s`, quotePath(n), quote(s))
		return "", false
	}
	return path.Clean(s), true
}

// targetPath reads where in the container something is put: anywhere but on the root itself.
func (p *problems) targetPath(n *node) (string, bool) {
	s, ok := p.innerPath(n)
	if ok && s == "/" {
		p.fail(n, "", "%s cannot be / itself", quotePath(n))
		return "", false
	}
	return s, ok
}

const durationTerm = `([0-9]+(?:\.[0-9]+)?) ?(ns|us|µs|ms|msec|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?|w|weeks?)`

var (
	durationWhole = regexp.MustCompile(`^` + durationTerm + `( ?` + durationTerm + `)*$`)
	durationPart  = regexp.MustCompile(`^ ?([0-9]+(?:\.[0-9]+)?) ?([a-zµ]+)`)
)

var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "µs": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond,
	"s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// longest keeps sums of durations far from overflowing.
const longest = 365 * 24 * time.Hour

// duration reads a time span as Go writes it (1m30s) or as systemd does (1min 30s), 0 to 365 days.
func (p *problems) duration(n *node) (time.Duration, bool) {
	hint := ""
	if n.kind == kindInt || n.kind == kindFloat || n.kind == kindString && plainInt.MatchString(n.text) {
		hint = fmt.Sprintf("a duration needs a unit: %ss", n.text)
	}
	if n.kind != kindString || !durationWhole.MatchString(n.text) {
		p.fail(n, hint, "%s must be a duration like 15s, 5m or 1h30m, not %s", quotePath(n), shown(n))
		return 0, false
	}
	total := 0.0
	for rest := n.text; rest != ""; {
		m := durationPart.FindStringSubmatch(rest)
		number, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			number = math.Inf(1)
		}
		total += number * float64(durationUnits[m[2]])
		rest = rest[len(m[0]):]
	}
	if total > float64(longest) {
		p.fail(n, "", "%s is longer than 365 days: %s", quotePath(n), quote(n.text))
		return 0, false
	}
	return time.Duration(math.Round(total)), true
}

// positive is a duration of more than nothing.
func (p *problems) positive(n *node) (time.Duration, bool) {
	d, ok := p.duration(n)
	if ok && d == 0 {
		p.fail(n, "", "%s must be more than 0s", quotePath(n))
		return 0, false
	}
	return d, ok
}

// sizePattern is the part of docker/go-units' forms that nobody can misread.
var sizePattern = regexp.MustCompile(`^[0-9]+(\.[0-9]+)? ?([kKmMgGtTpP]([iI]?[bB])?|[bB])?$`)

// size reads a number of bytes from least on: an integer, or as docker has it, where k, m, g, t and p are powers of 1024
// in all spellings (M, MB and MiB are the same).
func (p *problems) size(n *node, least int64) (int64, bool) {
	var bytes int64
	var err error
	switch {
	case n.kind == kindInt:
		bytes, err = strconv.ParseInt(n.text, 10, 64)
	case n.kind == kindString && sizePattern.MatchString(n.text):
		if bytes, err = units.RAMInBytes(n.text); err == nil && bytes < 0 {
			err = strconv.ErrRange // go-units lets large numbers overflow
		}
	default:
		p.fail(n, "", "%s must be a size like 256MiB or a number of bytes, not %s", quotePath(n), shown(n))
		return 0, false
	}
	if err != nil || bytes > 1<<60 {
		p.fail(n, "", "%s is not a possible size: %s", quotePath(n), quote(n.text))
		return 0, false
	}
	if bytes < least {
		hint := ""
		if n.kind == kindInt && bytes > 0 {
			hint = "a number without a unit is bytes; write " + n.text + "MiB for mebibytes"
		}
		p.fail(n, hint, "%s must be at least %s, not %s", quotePath(n), units.BytesSize(float64(least)), quote(n.text))
		return 0, false
	}
	return bytes, true
}

var percentPattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)%$`)

// fraction reads a part of one: "10%" or 0.1.
func (p *problems) fraction(n *node) (float64, bool) {
	value, hint := -1.0, ""
	switch m := percentPattern.FindStringSubmatch(n.text); {
	case n.kind == kindString && m != nil:
		if v, err := strconv.ParseFloat(m[1], 64); err == nil {
			value = v / 100
		}
	case n.kind == kindInt || n.kind == kindFloat:
		if v, err := strconv.ParseFloat(n.text, 64); err == nil {
			value = v
			if v > 1 && v <= 100 {
				hint = "write " + n.text + "%"
			}
		}
	}
	if value < 0 || value > 1 {
		p.fail(n, hint, "%s must be from 0%% to 100%%, or from 0 to 1, not %s", quotePath(n), shown(n))
		return 0, false
	}
	return value, true
}

// number reads a plain number from least to most.
func (p *problems) number(n *node, least, most float64) (float64, bool) {
	hint := ""
	if n.kind == kindInt || n.kind == kindFloat {
		if v, err := strconv.ParseFloat(n.text, 64); err == nil && v >= least && v <= most {
			return v, true
		}
	} else if n.kind == kindString && plainFloat.MatchString(n.text) {
		hint = "remove the quotes"
	}
	p.fail(n, hint, "%s must be a number from %v to %v, not %s", quotePath(n), least, most, shown(n))
	return 0, false
}

var modePattern = regexp.MustCompile(`^[0-7]{3,4}$`)

// mode reads permission bits, in octal and in quotes, up to most.
func (p *problems) mode(n *node, most uint64) (uint64, bool) {
	if n.kind == kindInt || n.kind == kindOdd {
		p.fail(n, `put it in quotes: "`+n.text+`"`, "%s must be octal permissions in quotes, like \"0400\"", quotePath(n))
		return 0, false
	}
	if n.kind == kindString && modePattern.MatchString(n.text) {
		if v, err := strconv.ParseUint(n.text, 8, 32); err == nil && v > 0 && v <= most {
			return v, true
		}
	}
	p.fail(n, "", "%s must be octal permissions from \"0001\" to \"%04o\", not %s", quotePath(n), most, shown(n))
	return 0, false
}
