package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// DefaultSettingsFile is where the daemon looks for its settings unless told otherwise.
const DefaultSettingsFile = "/etc/runcsup/runcsup.yaml"

// CgroupManager is who makes the containers' cgroups.
type CgroupManager string

// The cgroup managers.
const (
	CgroupAuto    CgroupManager = "auto" // systemd where that is running, else cgroupfs
	CgroupSystemd CgroupManager = "systemd"
	CgroupFS      CgroupManager = "cgroupfs"
)

// ReadyWhen is when the daemon tells systemd that it is ready.
type ReadyWhen string

// The moments of readiness.
const (
	ReadySettled ReadyWhen = "settled" // every enabled container was started or has failed its first start
	ReadyRunning ReadyWhen = "running" // every enabled container runs
)

// OnTerminate is what SIGTERM means for the containers.
type OnTerminate string

// The meanings of SIGTERM.
const (
	TerminateAuto  OnTerminate = "auto"  // leave when systemd is restarting the daemon, else stop
	TerminateStop  OnTerminate = "stop"  // they are stopped
	TerminateLeave OnTerminate = "leave" // they run on
)

// LogFormat is how the daemon writes its own log.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Settings is how the daemon itself works. All paths are absolute.
type Settings struct {
	Containers string // directory of definitions
	StateDir   string // what has to survive a reboot
	RunDir     string // control socket, runtime state; emptied by a reboot
	LogDir     string // containers' output
	Runtime    string // a name to be found in PATH, or an absolute path

	CgroupManager CgroupManager
	// SocketGroup may use the control socket: a group's name or number. Empty is DefaultSocketGroup if there is one, else
	// root.
	SocketGroup string
	ReadyWhen   ReadyWhen
	OnTerminate OnTerminate
	LogLevel    slog.Level
	LogFormat   LogFormat
	Watch       bool // apply changes of files without being told to
	// Starts is how many containers are started at the same time at most. 0: twice the number of CPUs.
	Starts         int
	StartTimeout   time.Duration // for one start by the runtime
	RescanInterval time.Duration // between looks for changes that no event told of; 0: never
	// WebListenAddresses are where metrics are served, host:port each; none: nowhere but on the control socket.
	WebListenAddresses []string
	// WebConfigFile has TLS and passwords for them, in the form of Prometheus' exporter-toolkit; empty for neither.
	WebConfigFile string
}

// DefaultSocketGroup is the group that packages create.
const DefaultSocketGroup = "runcsup"

// DefaultWebListenAddress is reached from the machine itself only. The ports that Prometheus keeps a list of for exporters
// (9100 to 9999) are all taken; this one is above them, and below those that Linux gives to outgoing connections.
const DefaultWebListenAddress = "127.0.0.1:10920"

// DefaultSettings is what the daemon does without a settings file.
func DefaultSettings() Settings {
	return Settings{
		Containers: "/etc/runcsup/containers.d", StateDir: "/var/lib/runcsup", RunDir: "/run/runcsup", LogDir: "/var/log/runcsup",
		Runtime: "runc", CgroupManager: CgroupAuto, ReadyWhen: ReadySettled, OnTerminate: TerminateAuto, LogLevel: slog.LevelInfo, LogFormat: LogText,
		Watch: true, StartTimeout: time.Minute, RescanInterval: 30 * time.Second,
		WebListenAddresses: []string{DefaultWebListenAddress},
	}
}

// maxRunDir leaves room for "/control.sock" in the 107 characters that a socket's path may have.
const maxRunDir = 107 - len("/control.sock")

var settingsKeys = []key[Settings]{
	{"containers", func(p *problems, n *node, s *Settings) { set(&s.Containers)(p.directory(n)) }},
	{"stateDir", func(p *problems, n *node, s *Settings) { set(&s.StateDir)(p.directory(n)) }},
	{"runDir", func(p *problems, n *node, s *Settings) { set(&s.RunDir)(p.directory(n)) }},
	{"logDir", func(p *problems, n *node, s *Settings) { set(&s.LogDir)(p.directory(n)) }},
	{"runtime", func(p *problems, n *node, s *Settings) {
		set(&s.Runtime)(p.text(n, "the name or absolute path of a runtime"))
	}},
	{"cgroupManager", func(p *problems, n *node, s *Settings) {
		if w, ok := p.word(n, string(CgroupAuto), string(CgroupSystemd), string(CgroupFS)); ok {
			s.CgroupManager = CgroupManager(w)
		}
	}},
	{"socketGroup", func(p *problems, n *node, s *Settings) {
		if n.kind == kindInt {
			if id, ok := p.integer(n, 0, maxID); ok {
				s.SocketGroup = strconv.FormatInt(id, 10)
			}
			return
		}
		set(&s.SocketGroup)(p.text(n, "the name or number of a group"))
	}},
	{"readyWhen", func(p *problems, n *node, s *Settings) {
		if w, ok := p.word(n, string(ReadySettled), string(ReadyRunning)); ok {
			s.ReadyWhen = ReadyWhen(w)
		}
	}},
	{"onTerminate", func(p *problems, n *node, s *Settings) {
		if w, ok := p.word(n, string(TerminateAuto), string(TerminateStop), string(TerminateLeave)); ok {
			s.OnTerminate = OnTerminate(w)
		}
	}},
	{"logLevel", func(p *problems, n *node, s *Settings) {
		if w, ok := p.word(n, "debug", "info", "warn", "error"); ok {
			s.LogLevel = logLevels[w]
		}
	}},
	{"logFormat", func(p *problems, n *node, s *Settings) {
		if w, ok := p.word(n, string(LogText), string(LogJSON)); ok {
			s.LogFormat = LogFormat(w)
		}
	}},
	{"watch", func(p *problems, n *node, s *Settings) { set(&s.Watch)(p.boolean(n)) }},
	{"starts", func(p *problems, n *node, s *Settings) {
		if v, ok := p.integer(n, 0, 1000); ok {
			s.Starts = int(v)
		}
	}},
	{"startTimeout", func(p *problems, n *node, s *Settings) { set(&s.StartTimeout)(p.positive(n)) }},
	{"rescanInterval", func(p *problems, n *node, s *Settings) { set(&s.RescanInterval)(p.duration(n)) }},
	{"webListenAddresses", func(p *problems, n *node, s *Settings) {
		s.WebListenAddresses = nil
		for _, item := range p.items(n, DefaultWebListenAddress) {
			if v, ok := p.text(item, "host:port"); ok {
				s.WebListenAddresses = append(s.WebListenAddresses, v)
			}
		}
	}},
	{"webConfigFile", func(p *problems, n *node, s *Settings) { set(&s.WebConfigFile)(p.hostPath(n)) }},
}

var logLevels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (p *problems) directory(n *node) (string, bool) {
	s, ok := p.hostPath(n)
	return filepath.Clean(s), ok
}

// LoadSettings reads a settings file on top of the defaults. A file without content is one that changes nothing, and so is
// a missing one unless mustExist. What is wrong with the content is of type Errors.
func LoadSettings(path string, mustExist bool) (Settings, error) {
	if path == os.DevNull { // how people say that there is none
		return DefaultSettings(), nil
	}
	src, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && !mustExist {
		return DefaultSettings(), nil
	}
	if err != nil {
		return Settings{}, err
	}
	return ParseSettings(path, src)
}

// LoadGoodSettings returns what of a file with mistakes is good, and defaults for the rest: for who must not fail because of a typo.
func LoadGoodSettings(path string) Settings {
	src, err := readFile(path)
	if err != nil {
		return DefaultSettings()
	}
	s, err := parseSettings(path, src)
	if err != nil && s.Validate() != nil { // not only unknown keys and values that cannot be read
		return DefaultSettings()
	}
	return s
}

// ParseSettings is LoadSettings of a file that was read already.
func ParseSettings(file string, src []byte) (Settings, error) {
	s, err := parseSettings(file, src)
	if err != nil {
		return Settings{}, err
	}
	return s, nil
}

// parseSettings returns what could be read also with an error.
func parseSettings(file string, src []byte) (Settings, error) {
	s := DefaultSettings()
	p := &problems{file: file}
	root := p.parseSource(src)
	switch {
	case root == nil:
	case root.kind != kindMap:
		p.fail(root, "write keys and values, like runtime: crun", "settings must be a mapping, not %s", root.kind)
	default:
		readMapping(p, root, settingsKeys, &s)
		for _, problem := range s.problems() {
			at := root.place
			for _, name := range []string{problem.other, problem.key} {
				if n := root.get(name); n != nil {
					at = n.place
				}
			}
			p.at(at.line, at.column, "", problem.msg)
		}
	}
	return s, p.err()
}

// Validate checks settings that did not come from a file alone: after flags changed them.
func (s Settings) Validate() error {
	var all []error
	for _, problem := range s.problems() {
		all = append(all, errors.New(problem.msg))
	}
	return errors.Join(all...)
}

// settingProblem is a value that cannot be, or two that contradict each other.
type settingProblem struct{ key, other, msg string }

func (s Settings) problems() []settingProblem {
	var all []settingProblem
	add := func(key, format string, args ...any) {
		all = append(all, settingProblem{key: key, msg: fmt.Sprintf(format, args...)})
	}
	dirs := []struct{ key, path string }{
		{"containers", s.Containers}, {"stateDir", s.StateDir}, {"runDir", s.RunDir}, {"logDir", s.LogDir},
	}
	for i, d := range dirs {
		if !filepath.IsAbs(d.path) || filepath.Clean(d.path) == "/" {
			add(d.key, "%q must be an absolute path below /, not %s", d.key, quote(d.path))
			continue
		}
		for _, other := range dirs[:i] {
			if filepath.Clean(other.path) == filepath.Clean(d.path) {
				all = append(all, settingProblem{d.key, other.key, fmt.Sprintf("%q and %q are the same directory", other.key, d.key)})
			}
		}
	}
	if len(s.RunDir) > maxRunDir {
		add("runDir", "%q is too long for a socket in it: at most %d characters", "runDir", maxRunDir)
	}
	if s.Runtime == "" || strings.Contains(s.Runtime, "/") && !filepath.IsAbs(s.Runtime) {
		add("runtime", "%q must be a name or an absolute path, not %s", "runtime", quote(s.Runtime))
	}
	switch s.CgroupManager {
	case CgroupAuto, CgroupSystemd, CgroupFS:
	default:
		add("cgroupManager", "%q must be auto, systemd or cgroupfs, not %s", "cgroupManager", quote(string(s.CgroupManager)))
	}
	switch s.ReadyWhen {
	case ReadySettled, ReadyRunning:
	default:
		add("readyWhen", "%q must be settled or running, not %s", "readyWhen", quote(string(s.ReadyWhen)))
	}
	switch s.OnTerminate {
	case TerminateAuto, TerminateStop, TerminateLeave:
	default:
		add("onTerminate", "%q must be auto, stop or leave, not %s", "onTerminate", quote(string(s.OnTerminate)))
	}
	if strings.ContainsAny(s.SocketGroup, " :/\n") {
		add("socketGroup", "%q must be the name or number of a group, not %s", "socketGroup", quote(s.SocketGroup))
	}
	for _, address := range s.WebListenAddresses {
		_, port, err := net.SplitHostPort(address)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || strconv.FormatUint(n, 10) != port {
			add("webListenAddresses", "%q must be host:port or :port, not %s", "webListenAddresses", quote(address))
		}
	}
	return all
}

// SocketGID is the number of the group that may use the control socket.
func (s Settings) SocketGID() (int, error) {
	if id, err := strconv.ParseUint(s.SocketGroup, 10, 32); err == nil {
		return int(id), nil
	}
	name := s.SocketGroup
	if name == "" {
		name = DefaultSocketGroup
	}
	group, err := user.LookupGroup(name)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) && s.SocketGroup == "" {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot find the socket's group %q: %w", name, err)
	}
	id, err := strconv.Atoi(group.Gid)
	if err != nil {
		return 0, fmt.Errorf("cannot find the socket's group %q: %w", name, err)
	}
	return id, nil
}
