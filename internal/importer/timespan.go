package importer

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// forever is what stands for infinity: the longest that a definition takes.
const forever = 365 * 24 * time.Hour

var (
	spanPart  = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Zµμ]*)`)
	spanUnits = map[string]time.Duration{
		"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
		"us": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond, "usec": time.Microsecond,
		"ms": time.Millisecond, "msec": time.Millisecond,
		"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
		"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
		"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
		"M": 2629800 * time.Second, "month": 2629800 * time.Second, "months": 2629800 * time.Second,
		"y": 31557600 * time.Second, "year": 31557600 * time.Second, "years": 31557600 * time.Second,
	}
)

// timeSpan reads a time span as systemd.time(7) has it: "15", "1min 30s", "infinity". What is longer than a definition takes
// is forever.
func timeSpan(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if s == "infinity" {
		return forever, nil
	}
	if s == "" {
		return 0, fmt.Errorf("an empty time span")
	}
	var total float64
	for rest := s; rest != ""; {
		m := spanPart.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("%q is no time span", shorten(s))
		}
		unit, ok := spanUnits[m[2]]
		if !ok {
			return 0, fmt.Errorf("%q is no time span: unknown unit %q", shorten(s), m[2])
		}
		number, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, fmt.Errorf("%q is no time span", shorten(s))
		}
		total += number * float64(unit)
		rest = strings.TrimSpace(rest[len(m[0]):])
	}
	return time.Duration(math.Min(math.Round(total), float64(forever))), nil
}

// inDefinition is a duration as definitions have it, at least a nanosecond exact.
func inDefinition(d time.Duration) string {
	switch {
	case d == 0:
		return "0s"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d%time.Second == 0:
		return fmt.Sprintf("%ds", d/time.Second)
	case d%time.Millisecond == 0:
		return fmt.Sprintf("%dms", d/time.Millisecond)
	case d%time.Microsecond == 0:
		return fmt.Sprintf("%dus", d/time.Microsecond)
	}
	return fmt.Sprintf("%dns", d)
}
