package bundle

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
)

// Options is what a definition says about its bundle. Exactly one of Bundle, Rootfs and RootfsArchive is set; with
// Bundle everything else but Name and Notify is empty.
type Options struct {
	Name string

	Bundle        string // absolute directory of a ready bundle
	Rootfs        string // absolute directory, used in place
	RootfsArchive string // absolute path of a tar, plain or compressed by gzip or zstd (told by content)

	Command  []string          // args of the process; the first is looked up by the runtime in the container's PATH
	Env      map[string]string // wins over EnvFiles
	EnvFiles []string          // absolute paths, later ones win; lines KEY=VALUE as systemd's EnvironmentFile= has them
	User     string            // "user", "uid", "user:group", "uid:gid"; empty is 0:0
	Workdir  string            // absolute in the container; empty is /
	ReadOnly bool              // root file system
	Hostname string            // empty: Name, or the host's on the host's network

	Mounts       []Mount
	Secrets      []Secret
	Capabilities Capabilities
	Network      Network
	Resources    Resources
	Rlimits      []Rlimit
	OCI          map[string]any // JSON merge patch (RFC 7396) onto the generated config.json

	Notify *Notify // also with Bundle; nil: no socket
}

// Mount is one entry of mounts:.
type Mount struct {
	Type     string   // "bind" or "tmpfs"; empty is bind
	Source   string   // bind: absolute path on the host
	Target   string   // absolute path in the container
	ReadOnly bool     // bind: not what is mounted below the source; the option "rro" has that too, where the runtime knows it
	Size     int64    // tmpfs: bytes, 0 for the kernel's default
	Mode     string   // tmpfs: octal, empty is 1777
	Options  []string // further mount options, as in runtime-spec
}

// Secret is a file that the container sees as a private read-only copy with a mode and owner of its own.
type Secret struct {
	Source string      // absolute path on the host
	Target string      // absolute path in the container
	Mode   os.FileMode // permission bits; 0 means 0400
}

// Capabilities changes the default set. Names are full ("CAP_SYSLOG") or ALL. ALL counts before single names, and Drop
// before Add: ALL added and CAP_SYS_ADMIN dropped is everything but that.
type Capabilities struct {
	Add  []string
	Drop []string
}

// NetworkMode is which network namespace a container lives in.
type NetworkMode string

// The network modes.
const (
	NetworkNone      NetworkMode = "none"      // its own, with loopback up
	NetworkHost      NetworkMode = "host"      //
	NetworkPath      NetworkMode = "netns"     // the one at Network.Path
	NetworkContainer NetworkMode = "container" // that of the container Network.Container
)

// Network is where a container's network namespace comes from. The zero value is NetworkNone.
type Network struct {
	Mode      NetworkMode
	Path      string
	Container string
}

// Resources are limits; zero values set none.
type Resources struct {
	Memory int64   // bytes, RAM and (on a kernel that accounts it) no swap beyond it
	CPUs   float64 // of one CPU's time: 0.5 is half a core
	Pids   int64   // processes and threads
}

// Rlimit is one entry of rlimits:, as setrlimit(2) has it.
type Rlimit struct {
	Type string // "RLIMIT_NOFILE"
	Soft uint64
	Hard uint64
}

// Inputs are the files whose content decides what is built, to be watched, whether they exist or not: config.json of a
// ready bundle, env files, the archive. Secrets and what is mounted are not among them: a start reads them anew.
func (o Options) Inputs() []string {
	if o.Bundle != "" {
		return []string{filepath.Join(o.Bundle, configFile)}
	}
	inputs := slices.Clone(o.EnvFiles)
	if o.RootfsArchive != "" {
		inputs = append(inputs, o.RootfsArchive)
	}
	return inputs
}

// onlyBundle tells whether nothing is set besides the fields that a ready bundle has.
func (o Options) onlyBundle() bool {
	o.Name, o.Bundle, o.Notify = "", "", nil
	if o.Network.Mode == NetworkNone {
		o.Network.Mode = ""
	}
	v := reflect.ValueOf(o)
	for i := range v.NumField() {
		if !isEmpty(v.Field(i)) {
			return false
		}
	}
	return true
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		for i := range v.NumField() {
			if !isEmpty(v.Field(i)) {
				return false
			}
		}
		return true
	}
	return v.IsZero()
}
