package usage

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// What a Linux 6.1 with cgroup v2 has for a container with limits.
var filesV2 = map[string]string{
	"cpu.stat":            "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\ncore_sched.force_idle_usec 0\nnr_periods 30\nnr_throttled 12\nthrottled_usec 1250000\nnr_bursts 0\nburst_usec 0\n",
	"cpu.max":             "50000 100000\n",
	"memory.current":      "10485760\n",
	"memory.peak":         "20971520\n",
	"memory.max":          "67108864\n",
	"memory.swap.current": "4096\n",
	"memory.stat":         "anon 4194304\nfile 6291456\nkernel 1048576\nfile_mapped 1048576\ninactive_anon 0\nactive_anon 4194304\ninactive_file 2097152\nactive_file 3145728\npgfault 1000\npgmajfault 7\n",
	"memory.events":       "low 0\nhigh 0\nmax 21\noom 3\noom_kill 2\noom_group_kill 0\n",
	"pids.current":        "5\n",
	"pids.max":            "100\n",
	"io.stat":             "8:0 \n8:16 rbytes=8192 wbytes=4096 rios=2 wios=1 dbytes=0 dios=0\n",
	"cpu.pressure":        "some avg10=12.50 avg60=3.00 avg300=0.50 total=1500000\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=250000\n",
	"memory.pressure":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"io.pressure":         "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n",
}

// The same on cgroup v1, where each controller has a directory.
var filesV1 = map[string]string{
	"cpuacct/cpuacct.usage":                           "2500000000\n",
	"cpuacct/cpuacct.stat":                            "user 200\nsystem 50\n",
	"cpu/cpu.stat":                                    "nr_periods 30\nnr_throttled 12\nthrottled_time 1250000000\n",
	"cpu/cpu.cfs_quota_us":                            "50000\n",
	"cpu/cpu.cfs_period_us":                           "100000\n",
	"memory/memory.usage_in_bytes":                    "10485760\n",
	"memory/memory.max_usage_in_bytes":                "20971520\n",
	"memory/memory.limit_in_bytes":                    "67108864\n",
	"memory/memory.failcnt":                           "21\n",
	"memory/memory.stat":                              "cache 1\nrss 2\ninactive_file 3\ntotal_cache 6291456\ntotal_rss 4194304\ntotal_mapped_file 1048576\ntotal_swap 4096\ntotal_pgfault 1000\ntotal_pgmajfault 7\ntotal_inactive_file 2097152\ntotal_active_file 3145728\n",
	"memory/memory.oom_control":                       "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
	"pids/pids.current":                               "5\n",
	"pids/pids.max":                                   "100\n",
	"blkio/blkio.throttle.io_service_bytes_recursive": "8:16 Read 8192\n8:16 Write 4096\n8:16 Sync 1\n8:16 Total 12288\nTotal 12288\n",
	"blkio/blkio.throttle.io_serviced_recursive":      "8:16 Read 2\n8:16 Write 1\nTotal 3\n",
	"unified/cpu.stat":                                "usage_usec 99\n",
	"unified/cpu.pressure":                            filesV2["cpu.pressure"],
	"unified/memory.pressure":                         filesV2["memory.pressure"],
	"unified/io.pressure":                             filesV2["io.pressure"],
}

func wantUsage() Usage {
	return Usage{
		Cgroup: "/runcsup/npd",
		CPU: &CPU{
			UsageSeconds: 2.5, UserSeconds: 2, SystemSeconds: 0.5, Limit: 0.5, Periods: 30, ThrottledPeriods: 12,
			ThrottledSeconds: 1.25, quotaUsec: 50000, periodUsec: 100000,
		},
		Memory: &Memory{
			Usage: 10 << 20, WorkingSet: 8 << 20, Peak: 20 << 20, Limit: 64 << 20, RSS: 4 << 20, Cache: 6 << 20,
			MappedFile: 1 << 20, Swap: 4096, LimitHits: 21, OOMKills: 2, Faults: 1000, MajorFault: 7,
			activeFile: 3 << 20, inactiveFile: 2 << 20,
		},
		Pids:     &Pids{Current: 5, Limit: 100},
		IO:       []Device{{Major: 8, Minor: 16, ReadBytes: 8192, WriteBytes: 4096, Reads: 2, Writes: 1}},
		Pressure: &Pressure{CPU: &Stall{SomeSeconds: 1.5, FullSeconds: 0.25, SomePercent: 12.5}, Memory: &Stall{}, IO: &Stall{SomeSeconds: 0.001}},
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func cgroupV1(dir string) Cgroup {
	c := Cgroup{Path: "/runcsup/npd", V1: map[string]string{}, V2: filepath.Join(dir, "unified")}
	for _, controller := range []string{"cpuacct", "cpu", "memory", "pids", "blkio"} {
		c.V1[controller] = filepath.Join(dir, controller)
	}
	return c
}

// The same container reads the same in every version of cgroups, one after the other with one Reader.
func TestReadIsTheSameOnAllVersions(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	write(t, v1, filesV1)
	write(t, v2, filesV2)
	var r Reader
	for name, c := range map[string]Cgroup{"v1 hybrid": cgroupV1(v1), "v2": {Path: "/runcsup/npd", V2: v2}} {
		u, err := r.Read(c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if age := time.Since(u.At); age < 0 || age > time.Minute {
			t.Errorf("%s: read %s ago", name, age)
		}
		u.At = time.Time{}
		if want := wantUsage(); !reflect.DeepEqual(u, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, u, want)
		}
	}
}

// A cgroup that is gone is an error, not zeros.
func TestReadOfACgroupThatIsGone(t *testing.T) {
	var r Reader
	dir := t.TempDir()
	for name, c := range map[string]Cgroup{
		"v2": {V2: filepath.Join(dir, "gone")}, "v1": cgroupV1(filepath.Join(dir, "gone")), "no hierarchy": {},
	} {
		if u, err := r.Read(c); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
}

// Without limits, and where a kernel has fewer files, what is unknown is left out and the rest is there.
func TestReadOfLess(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"cpu.stat": "usage_usec 1000000\nuser_usec 0\nsystem_usec 0\n", "cpu.max": "max 100000\n",
		"memory.current": "4096\n", "memory.max": "max\n", "memory.stat": "inactive_file 8192\n", "pids.current": "1\n", "pids.max": "max\n",
	})
	var r Reader
	u, err := r.Read(Cgroup{V2: dir})
	if err != nil {
		t.Fatal(err)
	}
	u.At = time.Time{}
	want := Usage{
		CPU: &CPU{UsageSeconds: 1, periodUsec: 100000}, Pids: &Pids{Current: 1}, IO: []Device{},
		// More inactive pages than all that is used happens: the two are not counted at one moment.
		Memory: &Memory{Usage: 4096, WorkingSet: 0, inactiveFile: 8192},
	}
	if !reflect.DeepEqual(u, want) {
		t.Errorf("got  %+v\nwant %+v", u, want)
	}
}

// cgroup v1 writes no limit as a very large one, and -1.
func TestNoLimitOnV1(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	for name, content := range filesV1 {
		files[name] = content
	}
	files["memory/memory.limit_in_bytes"] = "9223372036854771712\n"
	files["cpu/cpu.cfs_quota_us"] = "-1\n"
	files["pids/pids.max"] = "max\n"
	write(t, dir, files)
	var r Reader
	u, err := r.Read(cgroupV1(dir))
	if err != nil {
		t.Fatal(err)
	}
	if quota, _ := u.CPU.Quota(); u.Memory.Limit != 0 || u.CPU.Limit != 0 || quota != 0 || u.Pids.Limit != 0 {
		t.Errorf("%+v %+v %+v", u.CPU, u.Memory, u.Pids)
	}
}
