package importer

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// stopping is what ExecStop= does.
type stopping struct {
	signal string // of runc kill
	force  bool   // runc delete --force comes before anything gentler
}

// readCommands goes through all command lines. What the runtime is told there runcsup does by itself.
func (b *builder) readCommands() (stop stopping, err error) {
	for _, key := range []string{"ExecStartPre", "ExecStart", "ExecStartPost", "ExecStop", "ExecStopPost", "ExecReload", "ExecCondition"} {
		commands, err := b.u.commands(b.fsys, key)
		if err != nil {
			return stop, err
		}
		for _, c := range commands {
			b.command(key, c, &stop)
		}
	}
	return stop, nil
}

func (b *builder) command(key string, c command, stop *stopping) {
	k, isRuntime := runtimeCall(c)
	isOwn := isRuntime && (k.id == b.w.run.id || k.id == "")
	switch {
	case isOwn && (k.verb == "run" || k.verb == "create" || k.verb == "start"):
		b.runFlags(k)
	case isOwn && k.verb == "kill" && key == "ExecReload":
		b.notes.lacks(c.assignment, "runcsup kill -s %s %s sends it", killSignal(k), b.name)
	case isOwn && k.verb == "kill" && key == "ExecStop":
		if stop.signal == "" && !stop.force {
			stop.signal = killSignal(k)
		}
	case isOwn && k.verb == "delete" && key == "ExecStop":
		stop.force = stop.force || stop.signal == "" && k.has("force", "f")
	case isOwn && slices.Contains([]string{"kill", "delete", "state", "list"}, k.verb):
		b.notes.does(c.assignment, "what an earlier instance left is removed before every start")
	case isOwn && (k.verb == "events" || k.verb == "checkpoint" || k.verb == "update" || k.verb == "exec"):
		b.notes.lacks(c.assignment, "runcsup calls the runtime itself; do it with what config.json says, or from another unit")
	case b.harmless(c):
		b.notes.does(c.assignment, "nothing of the kind is needed")
	default:
		b.notes.lacks(c.assignment, "put it into the container, its hooks in config.json, or another unit before runcsup.service")
	}
}

// harmless tells that a command only tidies up or waits.
func (b *builder) harmless(c command) bool {
	switch path.Base(c.args[0]) {
	case "true", "sleep", "echo":
		return true
	case "rm":
		last := c.args[len(c.args)-1]
		return last == b.w.pidFile || last == b.u.value("Service", "PIDFile") || strings.HasPrefix(last, b.w.root+"/")
	}
	return false
}

func killSignal(k call) string {
	if len(k.rest) > 0 {
		if name, ok := signalName(k.rest[0]); ok && name != "" {
			return name
		}
	}
	return "TERM"
}

// runFlags notes those of the flags that runcsup does not give.
func (b *builder) runFlags(k call) {
	whys := map[string]string{
		"no-pivot": "runcsup runs containers with pivot_root(2), which needs a root file system that is no ramfs", "no-new-keyring": "a container gets a session keyring of its own",
		"preserve-fds": "no descriptors are handed to a container", "console-socket": "a container has no terminal; runcsup exec -t gives one to a command",
		"rootless": "runcsup runs as root; user namespaces are set in config.json", "config": "the bundle's config.json is used", "debug": "run runcsup with --log-level debug", "criu": "nothing is checkpointed",
		"cgroup-manager": "--cgroup-manager is a flag of runcsup daemon",
		"systemd-cgroup": "--cgroup-manager systemd is a flag of runcsup daemon, and the default where systemd runs; linux.cgroupsPath of config.json has to be of the form slice:prefix:name",
	}
	for _, name := range slices.Sorted(keysOf(k.flags)) {
		if why, ok := whys[name]; ok && k.has(name) {
			b.notes.lacks(assignment{key: "--" + name, value: k.flags[name]}, "%s", why)
		}
	}
	if runtime := path.Base(k.runtime); runtime != "runc" && k.verb != "start" {
		b.notes.lacks(k.assignment, "the daemon has one runtime for all containers: runcsup daemon --runtime %s", runtime)
	}
}

func keysOf(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (b *builder) stop(commands stopping) error {
	timeout, err := b.span("Service", "TimeoutSec", systemdTimeoutStop)
	if err != nil {
		return err
	}
	if timeout, err = b.span("Service", "TimeoutStopSec", timeout); err != nil {
		return err
	}
	if timeout == 0 { // systemd's other word for infinity
		timeout = forever
	}
	signal := "TERM"
	for _, a := range b.u.list("Service", "KillSignal") {
		name, ok := signalName(a.value)
		if !ok {
			b.notes.lacks(a, "no signal that is known here")
			continue
		}
		signal = name
	}
	if commands.signal != "" {
		signal = commands.signal
	}
	for _, a := range b.u.list("Service", "KillMode") {
		switch a.value {
		case "control-group", "mixed":
			b.notes.does(a, "the signal goes to the container's first process, SIGKILL after the timeout to all of them")
		default:
			b.notes.lacks(a, "SIGKILL after the timeout goes to all processes of the container")
		}
	}
	if commands.force {
		signal, timeout = "KILL", 0
	}
	b.body.WriteString("stop: {signal: " + signal + ", timeout: " + inDefinition(timeout) + "}")
	if timeout == forever {
		b.body.WriteString(" # the unit waited for ever")
	}
	b.body.WriteString("\n")
	return nil
}

// log puts the output where the unit did.
func (b *builder) log() {
	for _, a := range b.u.list("Service", "StandardOutput") {
		switch {
		case a.value == "null":
			b.body.WriteString("log: {driver: none}\n")
			return
		case a.value != "journal" && a.value != "inherit" && !strings.HasPrefix(a.value, "journal+"):
			b.notes.lacks(a, "the output goes to a file of runcsup's: log: in the definition, runcsup logs")
			return
		}
	}
	if err := b.add("log: {driver: journald}\n"); err != nil {
		b.notes.lacks(assignment{key: "StandardOutput", value: "journal"}, "this version writes it to files: log: in the definition")
	}
}

// ready keeps Type=notify, which the runtime passes on to the container, and says so of a oneshot.
func (b *builder) ready() {
	for _, a := range b.u.list("Service", "Type") {
		switch a.value {
		case "notify", "notify-reload":
			if err := b.add("ready: {on: notify}\n"); err != nil {
				b.notes.lacks(a, "this version has no ready: on: notify")
			}
		case "oneshot":
			if isTrue(b.u.value("Service", "RemainAfterExit")) {
				continue // it only started the container
			}
			if err := b.add("type: oneshot\n"); err != nil {
				b.notes.lacks(a, "this version has no type: oneshot; with restart: no the container is run once at boot")
			}
		}
	}
	if install := b.u.words("Install", "WantedBy"); len(install) == 0 && len(b.u.words("Install", "RequiredBy")) == 0 {
		b.notes.lacks(assignment{key: "[Install]"}, "the unit has none, so something else starts it; add enabled: false if the container is not to start by itself")
	}
}

// process notes what came to the container, or did not, by way of the runtime's process.
func (b *builder) process() {
	for _, key := range []string{"Environment", "EnvironmentFile"} {
		for _, a := range b.u.list("Service", key) {
			b.notes.lacks(a, "%s", whyEnvironment)
		}
	}
	// An [Install] section, PIDFile and the directory are in what was read already.
	b.u.used["Service.PIDFile"], b.u.used["Service.WorkingDirectory"] = true, true
}

// dependencies keeps what the unit says of other units that wrap containers.
func (b *builder) dependencies() {
	after, requires, binds := b.wrappedUnits("After"), b.wrappedUnits("Requires", "Requisite"), b.wrappedUnits("BindsTo")
	for _, d := range []struct {
		systemd, key string
		names        []string
	}{{"After", "after", after}, {"Requires", "requires", requires}, {"BindsTo", "bindsTo", binds}} {
		if len(d.names) == 0 {
			continue
		}
		line := d.key + ": [" + strings.Join(d.names, ", ") + "]\n"
		if err := b.add(line); err != nil {
			b.notes.lacks(assignment{key: d.systemd, value: strings.Join(d.names, " ")}, "containers here as well, but this version has no %s:", d.key)
		}
	}
	_ = b.wrappedUnits("Wants")
}

// wrappedUnits are the containers of the units that some keys name, and notes the others.
func (b *builder) wrappedUnits(keys ...string) (names []string) {
	for _, key := range keys {
		for _, a := range b.u.list("Unit", key) {
			var foreign []string
			for _, word := range strings.Fields(a.value) {
				other, err := b.containerOf(word)
				switch {
				case err != nil:
					foreign = append(foreign, word)
				case key == "Wants":
					b.notes.does(assignment{key: key, value: word}, "the container %s starts by itself, if it is enabled", other)
				case other != b.name && !slices.Contains(names, other):
					names = append(names, other)
				}
			}
			if len(foreign) > 0 {
				b.notes.lacks(assignment{key: key, value: strings.Join(foreign, " ")}, "add it to a drop-in of runcsup.service, if it does not wait for it anyway")
			}
		}
	}
	return names
}

var errNoUnit = errors.New("not a unit that wraps a container")

// containerOf is the container that another unit wraps: one beside this unit, or one that systemd finds.
func (b *builder) containerOf(word string) (string, error) {
	name, err := b.u.specifiers(word)
	if err != nil || strings.Contains(name, "/") || !strings.HasSuffix(name, ".service") {
		return "", errNoUnit
	}
	other, err := loadUnit(b.fsys, path.Join(path.Dir(b.u.file), name))
	if errors.Is(err, fs.ErrNotExist) {
		other, err = loadUnit(b.fsys, name)
	}
	if err != nil {
		return "", errNoUnit
	}
	w, err := other.findContainer(b.fsys)
	if err != nil {
		return "", errNoUnit
	}
	return validName(w.run.id), nil
}
