package importer

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// command is one command line of a unit.
type command struct {
	assignment
	mayFail bool // begins with -
	args    []string
}

// text is the command as it is shown.
func (c command) text() string { return strings.Join(c.args, " ") }

// commands reads the command lines of a key: prefixes, quotes, specifiers, variables, several in a line.
func (u *unit) commands(fsys fs.FS, key string) (all []command, err error) {
	env := u.environment(fsys)
	for _, a := range u.list("Service", key) {
		var line []string
		flush := func() error {
			if len(line) == 0 {
				return nil
			}
			c := command{assignment: a}
			first := strings.TrimLeft(line[0], "@-:+!|")
			prefixes := line[0][:len(line[0])-len(first)]
			c.mayFail = strings.Contains(prefixes, "-")
			words := append([]string{first}, line[1:]...)
			if strings.Contains(prefixes, "@") && len(words) > 1 {
				words = slices.Delete(words, 1, 2) // the name that the program is told
			}
			for i := range words {
				if words[i], err = u.specifiers(words[i]); err != nil {
					return fmt.Errorf("%s: %s=: %w", a.where(), key, err)
				}
			}
			if !strings.Contains(prefixes, ":") {
				words = expand(words, env)
			}
			if c.args, line = unwrap(words), nil; len(c.args) > 0 {
				all = append(all, c)
			}
			return nil
		}
		for _, word := range splitWords(a.value) {
			if word == ";" {
				if err := flush(); err != nil {
					return nil, err
				}
				continue
			}
			line = append(line, word)
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// shellWords are what a shell does something with: a script with one of them is more than a command.
const shellWords = "|&;<>()$`\\\"'*?[]#~=%{}!\n"

// unwrap takes away what only starts another program: env, sh -c 'exec …', nice and the like without options.
func unwrap(args []string) []string {
	for len(args) > 1 {
		switch path.Base(args[0]) {
		case "env":
			args = args[1:]
			for len(args) > 1 && strings.Contains(args[0], "=") {
				args = args[1:]
			}
			continue
		case "sh", "bash", "dash", "ash":
			if len(args) != 3 || args[1] != "-c" || strings.ContainsAny(args[2], shellWords) {
				return args
			}
			words := strings.Fields(args[2])
			if len(words) > 1 && words[0] == "exec" {
				words = words[1:]
			}
			if len(words) == 0 {
				return args
			}
			args = words
			continue
		}
		return args
	}
	return args
}

// call is a command line of an OCI runtime.
type call struct {
	command
	runtime string // as it is called
	verb    string
	id      string
	rest    []string // arguments behind the id
	flags   map[string]string
}

// valueFlags are those of the runtimes' flags that take a value: of the runtime itself, and of the verbs that are read.
var valueFlags = map[string]bool{
	"root": true, "log": true, "log-format": true, "log-level": true, "criu": true, "rootless": true, "cgroup-manager": true,
	"bundle": true, "b": true, "console-socket": true, "pidfd-socket": true, "pid-file": true, "preserve-fds": true, "config": true, "f": true,
}

// knownRuntimes are programs with runc's command line.
var knownRuntimes = []string{"runc", "crun", "youki", "runsc", "kata-runtime", "crun-vm", "crun-wasm"}

// runtimeCall reads a command as a call of an OCI runtime. ok is false for any other command.
func runtimeCall(c command) (k call, ok bool) {
	if !slices.Contains(knownRuntimes, path.Base(c.args[0])) {
		return call{}, false
	}
	k = call{command: c, runtime: c.args[0], flags: map[string]string{}}
	args := c.args[1:]
	var words []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, isFlag := strings.CutPrefix(arg, "-")
		// -f is a flag with a value of crun's run, and one without of delete.
		if !isFlag || name == "" {
			words = append(words, arg)
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		force := name == "f" && len(words) > 0 && words[0] == "delete"
		if !given && valueFlags[name] && len(args) > 0 && !force {
			value, args = args[0], args[1:]
		}
		k.flags[name] = value
	}
	if len(words) > 0 {
		k.verb = words[0]
	}
	if len(words) > 1 {
		k.id, k.rest = words[1], words[2:]
	}
	return k, true
}

func (k call) has(flags ...string) bool {
	for _, f := range flags {
		if value, ok := k.flags[f]; ok && value != "false" {
			return true
		}
	}
	return false
}

func (k call) flag(names ...string) string {
	for _, name := range names {
		if value := k.flags[name]; value != "" {
			return value
		}
	}
	return ""
}

// wrapped is the container that a unit runs.
type wrapped struct {
	run     call
	bundle  string // absolute
	root    string // the runtime's state directory, absolute
	pidFile string // absolute, or empty
	systemd bool   // the runtime has cgroups made by systemd
}

// findContainer looks for the command that runs a container: run, or create if it is followed by start.
func (u *unit) findContainer(fsys fs.FS) (*wrapped, error) {
	var seen []command
	for _, key := range []string{"ExecStart", "ExecStartPre"} {
		all, err := u.commands(fsys, key)
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			k, ok := runtimeCall(c)
			if !ok && key == "ExecStart" {
				seen = append(seen, c)
			}
			if !ok || k.verb != "run" && k.verb != "create" {
				continue
			}
			return u.wrappedBy(k)
		}
	}
	if len(seen) > 0 {
		return nil, fmt.Errorf("%s: it does not run a container with an OCI runtime: ExecStart= is %q, not like \"runc run NAME\"",
			seen[0].where(), shorten(seen[0].text()))
	}
	return nil, fmt.Errorf("%s: it has no ExecStart= that runs a container, like \"runc run NAME\"", u.file)
}

func (u *unit) wrappedBy(k call) (*wrapped, error) {
	if k.id == "" {
		return nil, fmt.Errorf("%s: %q does not say which container it runs", k.where(), shorten(k.text()))
	}
	w := &wrapped{run: k, systemd: k.has("systemd-cgroup") || k.flag("cgroup-manager") == "systemd"}
	dir, err := u.specifiers(u.value("Service", "WorkingDirectory"))
	if err != nil {
		return nil, fmt.Errorf("%s: WorkingDirectory=: %w", u.file, err)
	}
	dir = strings.TrimPrefix(dir, "-")
	if dir == "~" {
		dir = "/root"
	}
	if dir == "" {
		dir = "/"
	}
	in := func(file string) string {
		if path.IsAbs(file) {
			return path.Clean(file)
		}
		return path.Join(dir, file)
	}
	w.bundle = in(k.flag("bundle", "b"))
	if !path.IsAbs(w.bundle) || w.bundle == "/" {
		return nil, fmt.Errorf("%s: %q does not say where the bundle is, neither with --bundle nor by WorkingDirectory=", k.where(), shorten(k.text()))
	}
	w.root = k.flag("root")
	if w.root == "" {
		w.root = "/run/" + path.Base(k.runtime)
	}
	w.root = in(w.root)
	if file := k.flag("pid-file"); file != "" {
		w.pidFile = in(file)
	}
	return w, nil
}
