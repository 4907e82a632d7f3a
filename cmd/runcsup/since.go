package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// sinceLayouts are the points in time that people write. Without a zone they are local, without a day today.
var sinceLayouts = []string{
	time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly,
}

// parseSince reads a point in time, or how long ago it is ("90s", "10m", "3h", "2d").
func parseSince(text string, now time.Time) (time.Time, error) {
	switch text {
	case "today":
		return midnight(now, 0), nil
	case "yesterday":
		return midnight(now, -1), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 {
			return now.Add(-time.Duration(n * float64(24*time.Hour))), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("%s is in the future; leave the sign away", text)
		}
		return now.Add(-d), nil
	}
	for _, layout := range sinceLayouts {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if at, err := time.Parse(layout, text); err == nil {
			year, month, day := now.Date()
			return time.Date(year, month, day, at.Hour(), at.Minute(), at.Second(), 0, now.Location()), nil
		}
	}
	return time.Time{}, errors.New("it is no time: write 10m, 2d, 03:00, 2026-11-25, \"2026-11-25 03:00\" or RFC 3339")
}

// midnight is the beginning of the day that is so many days from now.
func midnight(now time.Time, days int) time.Time {
	year, month, day := now.Date()
	return time.Date(year, month, day+days, 0, 0, 0, 0, now.Location())
}
