package words

import (
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	for bytes, want := range map[float64]string{
		0: "0B", 1023: "1023B", 1024: "1.0K", 1536: "1.5K", 24 << 20: "24.0M", 128 << 20: "128M", 1023.6 * 1024: "1.0M",
		2 << 30: "2.0G", 8 << 60: "8.0E", -1: "0B", 102340: "99.9K", 102400: "100K",
	} {
		if got := Size(bytes); got != want {
			t.Errorf("%v: %s, want %s", bytes, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for p, want := range map[float64]string{0: "0.0", 0.26: "0.3", 99.94: "99.9", 99.96: "100", 199.9: "200", -1: "0.0"} {
		if got := Percent(p); got != want {
			t.Errorf("%v: %s, want %s", p, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 999 * time.Millisecond: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m",
		3*time.Hour + 12*time.Minute: "3h12m", 24 * time.Hour: "1d0h", 12*24*time.Hour + 3*time.Hour: "12d3h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 23, 5, 5, 0, 0, time.UTC)
	for want, at := range map[string]time.Time{
		"2026-11-23 05:01:00 UTC, 4m ago": now.Add(-4 * time.Minute), "2026-11-23 05:05:11 UTC, in 12s": now.Add(11500 * time.Millisecond),
		"2026-11-23 05:05:00 UTC, 0s ago": now,
	} {
		if got := Moment(at, now); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := Until(now, now); got != "now" {
		t.Error(got)
	}
}

// What came from elsewhere cannot command the terminal.
func TestPrintable(t *testing.T) {
	if got := Printable("a\x1b[2Jb\tc\nd\u202e"); got != "a\ufffd[2Jb\tc\nd\ufffd" {
		t.Errorf("%q", got)
	}
}
