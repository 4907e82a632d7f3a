package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// key is one key of a mapping: how it is called, and what reads its value into a T.
type key[T any] struct {
	name string
	read func(*problems, *node, *T)
}

func keyNames[T any](keys []key[T]) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// fail adds a problem at a node.
func (p *problems) fail(n *node, hint, format string, args ...any) {
	p.at(n.line, n.column, hint, fmt.Sprintf(format, args...))
}

// readMapping reads the keys of a mapping into a T. Any key that is not in keys is a problem, as is a key without value.
func readMapping[T any](p *problems, n *node, keys []key[T], into *T) bool {
	if n.kind != kindMap {
		p.fail(n, "write keys and values: {"+keys[0].name+": …}", "%s must be a mapping, not %s", quotePath(n), n.kind)
		return false
	}
	before := len(p.list)
	for _, f := range n.fields {
		read := lookup(keys, f.name)
		switch {
		case read == nil:
			p.unknownKey(n, f, keyNames(keys))
		case f.value.kind == kindNull:
			p.at(f.line, f.column, "give it a value, or remove it", fmt.Sprintf("%s has no value", quotePath(f.value)))
		default:
			read(p, f.value, into)
		}
	}
	return len(p.list) == before
}

func lookup[T any](keys []key[T], name string) func(*problems, *node, *T) {
	for _, k := range keys {
		if k.name == name {
			return k.read
		}
	}
	return nil
}

func (p *problems) unknownKey(parent *node, f field, known []string) {
	where, hint := "", ""
	if parent.path != "" {
		where = " in " + quotePath(parent)
	}
	guess := didYouMean(f.name, known)
	if other, ok := elsewhere[strings.ToLower(f.name)]; ok && parent.path == "" && contains(known, other) {
		guess = `, did you mean "` + other + `"?`
	}
	if guess == "" {
		hint = "known keys here: " + strings.Join(known, ", ")
	}
	p.at(f.line, f.column, hint, fmt.Sprintf("unknown key %s%s%s", quote(f.name), where, guess))
}

// elsewhere is what docker, compose, Kubernetes and systemd call the keys of a definition, in lower case.
var elsewhere = map[string]string{
	"args": "command", "cmd": "command", "entrypoint": "command", "execstart": "command",
	"environment": "env", "env_file": "envFile", "environmentfile": "envFile", "envfrom": "envFile",
	"volumes": "mounts", "volumemounts": "mounts", "binds": "mounts", "tmpfs": "mounts",
	"working_dir": "workdir", "workingdir": "workdir", "workingdirectory": "workdir", "cwd": "workdir",
	"runasuser": "user", "read_only": "readOnly", "readonlyrootfilesystem": "readOnly",
	"cap_add": "capabilities", "cap_drop": "capabilities", "securitycontext": "capabilities",
	"network_mode": "network", "networks": "network", "net": "network", "hostnetwork": "network",
	"ulimits": "rlimits", "mem_limit": "resources", "cpus": "resources", "memory": "resources", "limits": "resources",
	"healthcheck": "health", "livenessprobe": "health", "readinessprobe": "health", "startupprobe": "health",
	"depends_on": "requires", "stop_signal": "stop", "stop_grace_period": "stop", "logging": "log",
	"restartpolicy": "restart", "restartsec": "restart", "rootfsarchive": "rootfs-archive", "archive": "rootfs-archive",
}

func contains(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// quote puts text of the file into a message: in quotes, on one line, and not too long.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return strconv.Quote(s)
}

// quotePath names a node in a message.
func quotePath(n *node) string {
	if n.path == "" {
		return "the file"
	}
	return quote(n.path)
}

// shown is the value of a scalar for a message, or what it is instead.
func shown(n *node) string {
	if n.kind == kindList || n.kind == kindMap || n.kind == kindNull {
		return n.kind.String()
	}
	return quote(n.text)
}

// items returns the items of a list. example is an item for the hint.
func (p *problems) items(n *node, example string) []*node {
	if n.kind == kindList {
		return n.items
	}
	if n.kind == kindString && !strings.Contains(n.text, "\n") && example == "" {
		example = n.text
	}
	if example == "" {
		example = "…"
	}
	p.fail(n, "write a list: ["+example+"]", "%s must be a list, not %s", quotePath(n), n.kind)
	return nil
}

// text is a scalar that has to be text: a number or a boolean needs quotes. Control characters are refused.
func (p *problems) text(n *node, what string) (string, bool) {
	switch n.kind {
	case kindString:
	case kindNull, kindList, kindMap:
		p.fail(n, "", "%s must be %s, not %s", quotePath(n), what, n.kind)
		return "", false
	default:
		p.fail(n, `put it in quotes: "`+n.text+`"`, "%s must be %s, not %s", quotePath(n), what, n.kind)
		return "", false
	}
	if n.text == "" {
		p.fail(n, "", "%s is empty, but must be %s", quotePath(n), what)
		return "", false
	}
	if strings.ContainsFunc(n.text, unicode.IsControl) {
		p.fail(n, "", "%s contains a newline or another control character", quotePath(n))
		return "", false
	}
	return n.text, true
}

// written is any scalar as it is written, for places where numbers and booleans are as good as text.
func (p *problems) written(n *node, hint string) (string, bool) {
	if n.kind == kindNull || n.kind == kindList || n.kind == kindMap {
		p.fail(n, hint, "%s must be text or a number, not %s", quotePath(n), n.kind)
		return "", false
	}
	if strings.Contains(n.text, "\x00") {
		p.fail(n, "", "%s contains a NUL character", quotePath(n))
		return "", false
	}
	return n.text, true
}

// boolean reads true or false.
func (p *problems) boolean(n *node) (value, ok bool) {
	if n.kind == kindBool {
		return strings.EqualFold(n.text, "true"), true
	}
	hint := ""
	switch strings.ToLower(n.text) {
	case "yes", "on", "1", "true":
		hint = "write true"
	case "no", "off", "0", "false":
		hint = "write false"
	}
	p.fail(n, hint, "%s must be true or false, not %s", quotePath(n), shown(n))
	return false, false
}

// integer reads a whole number from least to most.
func (p *problems) integer(n *node, least, most int64) (int64, bool) {
	hint := ""
	if n.kind == kindString && plainInt.MatchString(n.text) {
		hint = "remove the quotes"
	}
	if n.kind == kindOdd {
		hint = "write it as a plain decimal number"
	}
	if n.kind == kindInt {
		if v, err := strconv.ParseInt(n.text, 10, 64); err == nil && v >= least && v <= most {
			return v, true
		}
	}
	switch {
	case most == noMost && least == 0:
		p.fail(n, hint, "%s must be a whole number, not %s", quotePath(n), shown(n))
	case most == noMost:
		p.fail(n, hint, "%s must be a whole number, %d or more, not %s", quotePath(n), least, shown(n))
	default:
		p.fail(n, hint, "%s must be a whole number from %d to %d, not %s", quotePath(n), least, most, shown(n))
	}
	return 0, false
}

// noMost is an upper limit that is none.
const noMost = 1<<63 - 1

// word reads one of a few words.
func (p *problems) word(n *node, words ...string) (string, bool) {
	if n.kind == kindString && contains(words, n.text) {
		return n.text, true
	}
	hint := ""
	if n.kind != kindList && n.kind != kindMap {
		if s := suggest(n.text, words); s != "" {
			hint = "write " + s
		}
	}
	p.fail(n, hint, "%s must be %s, not %s", quotePath(n), oneOf(words), shown(n))
	return "", false
}

// oneOf is "a, b or c".
func oneOf(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
