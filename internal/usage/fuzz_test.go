package usage

import (
	"math"
	"strconv"
	"testing"
)

// Whatever is in the files, reading them gives finite numbers that are in the text, and does not panic.
func FuzzParse(f *testing.F) {
	for _, files := range []map[string]string{filesV1, filesV2} {
		for _, content := range files {
			f.Add([]byte(content))
		}
	}
	f.Add([]byte("max 0\n"))
	f.Add([]byte("8:0 rbytes=18446744073709551616\n"))
	f.Add([]byte("some avg10=NaN total=1\n"))
	f.Add([]byte("some avg10=1e999 total=99999999999999999999\nfull"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := stall(b); s != nil {
			for _, v := range []float64{s.SomeSeconds, s.FullSeconds, s.SomePercent} {
				if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
					t.Errorf("stall %+v", s)
				}
			}
		}
		for _, d := range ioStat(b) {
			if d == (Device{Major: d.Major, Minor: d.Minor}) {
				t.Errorf("a device without I/O: %+v", d)
			}
		}
		var d devices
		d.blkio(b, func(d *Device) *uint64 { return &d.ReadBytes }, func(d *Device) *uint64 { return &d.WriteBytes })
		flat(b, field{"nr_periods", new(uint64)})
		c := CPU{}
		c.setQuota(cpuMax(b))
		if math.IsNaN(c.Limit) || math.IsInf(c.Limit, 0) {
			t.Errorf("limit %v", c.Limit)
		}
		limit(b)
	})
}

// number is strconv's for what the kernel writes.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"0", "7\n", "18446744073709551615", "18446744073709551616", "-1", "max", "", "+1", "1_0", "00000000000000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := number([]byte(s))
		if !ok {
			return
		}
		if want, err := strconv.ParseUint(trimmed(s), 10, 64); err != nil || n != want {
			t.Errorf("%q: %d, want %d, %v", s, n, want, err)
		}
	})
}

func trimmed(s string) string {
	for len(s) > 0 && (s[len(s)-1] < '0' || s[len(s)-1] > '9') {
		s = s[:len(s)-1]
	}
	for len(s) > 0 && (s[0] < '0' || s[0] > '9') {
		s = s[1:]
	}
	return s
}
