package usage

import (
	"bytes"
	"strconv"
)

// What the kernel writes is read leniently: an unknown line is skipped, so that a newer kernel changes nothing, and a
// number that is none leaves its field alone.

// number reads a decimal number. Anything else is not ok: among it "max", which is how cgroup v2 writes no limit.
func number(b []byte) (n uint64, ok bool) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		d := uint64(c - '0')
		if n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// limit reads a limit of bytes or processes; 0 is none. cgroup v1 writes none as the largest number of whole pages.
func limit(b []byte) uint64 {
	n, ok := number(b)
	if !ok || n >= 1<<63-1<<16 {
		return 0
	}
	return n
}

// field says where the value of a key goes.
type field struct {
	key string
	to  *uint64
}

// flat reads lines "key value" of a flat keyed file such as cpu.stat and memory.stat, and tells whether any of the fields was
// there.
func flat(b []byte, fields ...field) (found bool) {
	for line := range bytes.Lines(b) {
		key, value, _ := bytes.Cut(line, []byte(" "))
		n, ok := number(value)
		if !ok {
			continue
		}
		for _, f := range fields {
			if f.key == string(key) {
				*f.to, found = n, true
			}
		}
	}
	return found
}

// cpuMax reads cpu.max: "50000 100000" or "max 100000", in microseconds. quota 0 is no limit.
func cpuMax(b []byte) (quota, period uint64) {
	q, p, found := bytes.Cut(b, []byte(" "))
	if !found {
		return 0, 0
	}
	period, _ = number(p)
	quota, _ = number(q)
	return quota, period
}

// device reads "8:16".
func device(b []byte) (major, minor uint32, ok bool) {
	a, c, found := bytes.Cut(b, []byte(":"))
	if !found {
		return 0, 0, false
	}
	n, okMajor := number(a)
	m, okMinor := number(c)
	if !okMajor || !okMinor || n > 1<<32-1 || m > 1<<32-1 {
		return 0, 0, false
	}
	return uint32(n), uint32(m), true
}

// devices collects lines about block devices, each of which may be named several times.
type devices []Device

func (d *devices) at(major, minor uint32) *Device {
	for i := range *d {
		if (*d)[i].Major == major && (*d)[i].Minor == minor {
			return &(*d)[i]
		}
	}
	*d = append(*d, Device{Major: major, Minor: minor})
	return &(*d)[len(*d)-1]
}

// ioStat reads cgroup v2's io.stat: "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6".
func ioStat(b []byte) devices {
	var all devices
	for line := range bytes.Lines(b) {
		name, rest, _ := bytes.Cut(line, []byte(" "))
		major, minor, ok := device(name)
		if !ok {
			continue
		}
		var one Device
		for _, pair := range bytes.Fields(rest) {
			key, value, _ := bytes.Cut(pair, []byte("="))
			n, ok := number(value)
			if !ok {
				continue
			}
			switch string(key) {
			case "rbytes":
				one.ReadBytes = n
			case "wbytes":
				one.WriteBytes = n
			case "rios":
				one.Reads = n
			case "wios":
				one.Writes = n
			}
		}
		one.Major, one.Minor = major, minor
		if one != (Device{Major: major, Minor: minor}) {
			*all.at(major, minor) = one
		}
	}
	return all
}

// blkio reads cgroup v1's blkio files, "8:16 Read 1" and "8:16 Write 2" among others, into the fields that read and write
// give.
func (d *devices) blkio(b []byte, read, write func(*Device) *uint64) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 3 {
			continue
		}
		major, minor, ok := device(f[0])
		n, okNumber := number(f[2])
		if !ok || !okNumber || n == 0 {
			continue
		}
		switch string(f[1]) {
		case "Read":
			*read(d.at(major, minor)) = n
		case "Write":
			*write(d.at(major, minor)) = n
		}
	}
}

// stall reads a pressure file: "some avg10=0.12 avg60=0.00 avg300=0.00 total=345" and the same for full, total in
// microseconds. It is nil for anything else.
func stall(b []byte) *Stall {
	var s Stall
	found := false
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) == 0 {
			continue
		}
		for _, pair := range f[1:] {
			key, value, _ := bytes.Cut(pair, []byte("="))
			switch string(f[0]) + " " + string(key) {
			case "some total":
				n, ok := number(value)
				s.SomeSeconds, found = seconds(n, 1e6), found || ok
			case "full total":
				n, _ := number(value)
				s.FullSeconds = seconds(n, 1e6)
			case "some avg10":
				if p, err := strconv.ParseFloat(string(value), 64); err == nil && p >= 0 && p <= 100 {
					s.SomePercent = p
				}
			}
		}
	}
	if !found {
		return nil
	}
	return &s
}

func seconds(n uint64, perSecond float64) float64 { return float64(n) / perSecond }
