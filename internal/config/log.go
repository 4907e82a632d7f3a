package config

// LogDriver is what receives a container's output.
type LogDriver string

// The log drivers.
const (
	LogFile     LogDriver = "file"     // files in the log directory
	LogJournald LogDriver = "journald" // the system's journal
	LogNone     LogDriver = "none"     // nothing: output is discarded
)

// LogOptions is what a definition says about a container's output.
type LogOptions struct {
	Driver LogDriver
	// MaxSize, in bytes, is when a file is full, and MaxFiles how many there are at most with the current one. They are 0
	// for other drivers than LogFile.
	MaxSize  int64
	MaxFiles int
}

// DefaultLogOptions are those of a definition that says nothing about output.
func DefaultLogOptions() LogOptions {
	return LogOptions{Driver: LogFile, MaxSize: 10 << 20, MaxFiles: 5}
}

// The bounds of maxSize, which is at least a line of full length with its header, and of maxFiles.
const (
	minLogSize  = 20 << 10
	maxLogFiles = 1000
)

var logDrivers = []string{string(LogFile), string(LogJournald), string(LogNone)}

var logKeys = []key[LogOptions]{
	{"driver", func(p *problems, n *node, l *LogOptions) {
		if w, ok := p.word(n, logDrivers...); ok {
			l.Driver = LogDriver(w)
		}
	}},
	{"maxSize", func(p *problems, n *node, l *LogOptions) { set(&l.MaxSize)(p.size(n, minLogSize)) }},
	{"maxFiles", func(p *problems, n *node, l *LogOptions) {
		if v, ok := p.integer(n, 1, maxLogFiles); ok {
			l.MaxFiles = int(v)
		}
	}},
}

func (p *problems) log(n *node, d *Definition) {
	l := DefaultLogOptions()
	if n.kind == kindString {
		if w, ok := p.word(n, logDrivers...); ok {
			l.Driver = LogDriver(w)
		}
	} else if !readMapping(p, n, logKeys, &l) {
		return
	}
	if l.Driver != LogFile {
		for _, name := range []string{"maxSize", "maxFiles"} {
			if f := n.get(name); f != nil {
				p.fail(f, "remove it", "%s is for the driver file only", quotePath(f))
			}
		}
		l.MaxSize, l.MaxFiles = 0, 0
	}
	d.Log = l
}

func effectiveLog(l LogOptions) map[string]any {
	out := map[string]any{"driver": l.Driver}
	if l.Driver == LogFile {
		out["maxSize"], out["maxFiles"] = l.MaxSize, l.MaxFiles
	}
	return out
}
