package importer

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/runcsup/runcsup/internal/config"
)

// Unit is what was read of a unit that wraps a container.
type Unit struct {
	Name string // of the unit, npd.service
	File string
	// Container is the name that the definition is for.
	Container string
	// Definition is the text of the definition, with comments.
	Definition string

	// How the unit runs the container.
	Runtime string // program
	Root    string // the runtime's state directory
	ID      string // of the container in it
	Bundle  string
}

// FromUnit reads the unit in a file (an absolute path, or the name of a unit that systemd finds) and its drop-ins, and
// writes the definition of a container called name, or as the runtime calls it if name is empty.
func FromUnit(fsys fs.FS, file, name string) (*Unit, error) {
	u, err := loadUnit(fsys, file)
	if err != nil {
		return nil, err
	}
	w, err := u.findContainer(fsys)
	if err != nil {
		return nil, err
	}
	result := &Unit{Name: u.name, File: u.file, Runtime: w.run.runtime, Root: w.root, ID: w.run.id, Bundle: w.bundle, Container: name}
	if name == "" {
		result.Container = validName(w.run.id)
	}
	if !config.ValidName(result.Container) {
		return nil, fmt.Errorf("%q cannot be the name of a container", result.Container)
	}
	b := &builder{u: u, w: w, fsys: fsys, name: result.Container}
	result.Definition, err = b.build()
	return result, err
}

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)

// validName makes a container's name of an id that the runtime accepts.
func validName(id string) string {
	name := strings.TrimLeft(notInNames.ReplaceAllString(id, "-"), "_.-")
	name = name[:min(len(name), 64)]
	if name == "" {
		name = "container"
	}
	return name
}

// builder makes one definition.
type builder struct {
	u     *unit
	w     *wrapped
	fsys  fs.FS
	name  string
	notes notes
	body  strings.Builder
}

func (b *builder) build() (string, error) {
	fmt.Fprintf(&b.body, "bundle: %s\n", quote(b.w.bundle))
	commands, err := b.readCommands()
	if err != nil {
		return "", err
	}
	if err := b.restart(); err != nil {
		return "", err
	}
	if err := b.stop(commands); err != nil {
		return "", err
	}
	b.log()
	b.ready()
	b.dependencies()
	b.process()
	b.u.others(&b.notes)

	var head strings.Builder
	fmt.Fprintf(&head, "# %s\n", oneLine("The container of "+b.u.file+", for "+b.name+config.Extension+" in the directory of definitions."))
	if about := b.u.value("Unit", "Description"); about != "" {
		fmt.Fprintf(&head, "# %s\n", oneLine("Description: "+about))
	}
	if b.name != b.w.run.id {
		fmt.Fprintf(&head, "# %s\n", oneLine(fmt.Sprintf("The unit calls it %q.", b.w.run.id)))
	}
	b.notes.write(&head)
	text := head.String() + b.body.String()
	if _, err := config.Parse(b.name+config.Extension, []byte(text)); err != nil {
		return "", fmt.Errorf("%s: no definition can be made of it: %w", b.u.file, err)
	}
	return text, nil
}

// add adds lines if the definition is accepted with them, and says why not if it is not: a version of this program may not
// know them yet.
func (b *builder) add(lines string) error {
	text := b.body.String() + lines
	if _, err := config.Parse(b.name+config.Extension, []byte(text)); err != nil {
		return err
	}
	b.body.WriteString(lines)
	return nil
}

// quote is a YAML scalar, which JSON is.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	_ = e.Encode(strings.ToValidUTF8(s, "\uFFFD")) // a string is always encoded
	return strings.TrimSuffix(out.String(), "\n")
}

var plain = regexp.MustCompile(`^/[a-zA-Z0-9_./+-]*$`)

// span reads a time span of the unit, or gives the one that systemd has.
func (b *builder) span(section, key string, otherwise time.Duration) (time.Duration, error) {
	values := b.u.list(section, key)
	if len(values) == 0 {
		return otherwise, nil
	}
	a := values[len(values)-1]
	d, err := timeSpan(a.value)
	if err != nil {
		return 0, fmt.Errorf("%s: %s=: %w", a.where(), key, err)
	}
	return d, nil
}

// number reads a number of the unit; what is none is noted, and none.
func (b *builder) number(section, key string) (int, bool) {
	values := b.u.list(section, key)
	if len(values) == 0 {
		return 0, false
	}
	a := values[len(values)-1]
	n, err := strconv.Atoi(a.value)
	if err != nil || n < 0 {
		b.notes.lacks(a, "no number; systemd ignores it too")
		return 0, false
	}
	return n, true
}

// modes are systemd's restart policies. on-watchdog has no counterpart.
var modes = []string{"no", "always", "on-success", "on-failure", "on-abnormal", "on-abort"}

const (
	systemdRestartDelay = 100 * time.Millisecond // DefaultRestartSec=
	systemdTimeoutStop  = 90 * time.Second       // DefaultTimeoutStopSec=
	systemdInterval     = 10 * time.Second       // DefaultStartLimitIntervalSec=
	systemdBurst        = 5                      // DefaultStartLimitBurst=
)

func (b *builder) restart() error {
	mode := "no"
	for _, a := range b.u.list("Service", "Restart") {
		if mode = a.value; !slices.Contains(modes, mode) {
			b.notes.lacks(a, "a container is restarted when its liveness probe fails, whatever the policy")
			mode = "no"
		}
	}
	delay, err := b.span("Service", "RestartSec", systemdRestartDelay)
	if err != nil {
		return err
	}
	limit, err := b.limit(delay)
	if err != nil {
		return err
	}
	statuses := b.statuses()
	growth, err := b.growth(delay)
	if err != nil {
		return err
	}
	b.body.WriteString("restart:\n  policy: " + mode + "\n")
	if mode == "no" && statuses == "" {
		return nil
	}
	b.body.WriteString("  delay: " + inDefinition(delay) + "\n" + growth + "  jitter: 0%\n" + limit + statuses)
	return nil
}

// growth is how the delay grows. Without it, it does not, as in systemd.
func (b *builder) growth(delay time.Duration) (string, error) {
	steps, _ := b.number("Service", "RestartSteps")
	longest, err := b.span("Service", "RestartMaxDelaySec", 0)
	if err != nil {
		return "", err
	}
	if steps > 0 && steps <= 1000 && longest > delay && delay > 0 {
		return fmt.Sprintf("  maxDelay: %s\n  steps: %d\n  resetAfter: 0s # as with systemd; 10m without this line\n", inDefinition(longest), steps), nil
	}
	return "  steps: 0 # as with systemd; without this line the delay grows to 5m\n", nil
}

// limit is the start limit. systemd's own is left out where the delay keeps it from being reached.
func (b *builder) limit(delay time.Duration) (string, error) {
	interval, given := systemdInterval, false
	for _, key := range []string{"StartLimitInterval", "StartLimitIntervalSec"} {
		for _, section := range []string{"Service", "Unit"} {
			if len(b.u.list(section, key)) == 0 {
				continue
			}
			var err error
			if interval, err = b.span(section, key, 0); err != nil {
				return "", err
			}
			given = true
		}
	}
	burst := systemdBurst
	for _, section := range []string{"Service", "Unit"} {
		if n, ok := b.number(section, "StartLimitBurst"); ok {
			burst, given = n, true
		}
	}
	if interval == 0 || burst == 0 || !given && time.Duration(burst)*delay >= interval {
		return "", nil
	}
	return fmt.Sprintf("  limit: {burst: %d, interval: %s}\n", min(burst, 10000), inDefinition(interval)), nil
}

// exitNames are the exit codes that systemd has names for (systemd.exec(5)), those of sysexits.h.
var exitNames = map[string]int{
	"SUCCESS": 0, "FAILURE": 1, "INVALIDARGUMENT": 2, "NOTIMPLEMENTED": 3, "NOPERMISSION": 4, "NOTINSTALLED": 5, "NOTCONFIGURED": 6,
	"NOTRUNNING": 7, "USAGE": 64, "DATAERR": 65, "NOINPUT": 66, "NOUSER": 67, "NOHOST": 68, "UNAVAILABLE": 69, "SOFTWARE": 70, "OSERR": 71,
	"OSFILE": 72, "CANTCREAT": 73, "IOERR": 74, "TEMPFAIL": 75, "PROTOCOL": 76, "NOPERM": 77, "CONFIG": 78,
}

func (b *builder) statuses() string {
	var out strings.Builder
	never := map[string]bool{}
	for _, key := range []struct{ unit, here string }{
		{"RestartPreventExitStatus", "preventExitStatus"}, {"RestartForceExitStatus", "forceExitStatus"}, {"SuccessExitStatus", "successExitStatus"},
	} {
		var items []string
		for _, a := range b.u.list("Service", key.unit) {
			for _, word := range strings.Fields(a.value) {
				item, ok := status(word)
				switch {
				case !ok:
					b.notes.lacks(a, "%s is no exit code and no signal here", shorten(word))
				case key.here == "forceExitStatus" && never[item]:
					b.notes.lacks(a, "%s is in RestartPreventExitStatus= too, which comes first", item)
				case !slices.Contains(items, item):
					items = append(items, item)
				}
				if key.here == "preventExitStatus" && ok {
					never[item] = true
				}
			}
		}
		if len(items) > 0 {
			fmt.Fprintf(&out, "  %s: [%s]\n", key.here, strings.Join(items, ", "))
		}
	}
	return out.String()
}

// status is an exit code or a signal as definitions have it.
func status(word string) (string, bool) {
	if code, ok := exitNames[strings.TrimPrefix(word, "EX_")]; ok {
		return strconv.Itoa(code), true
	}
	if code, err := strconv.Atoi(word); err == nil {
		return strconv.Itoa(code), code >= 0 && code <= 255
	}
	return signalName(word)
}

// signalName is a signal without SIG.
func signalName(word string) (string, bool) {
	if n, err := strconv.Atoi(word); err == nil {
		name := unix.SignalName(unix.Signal(n))
		return strings.TrimPrefix(name, "SIG"), name != ""
	}
	name := strings.TrimPrefix(strings.ToUpper(word), "SIG")
	return name, unix.SignalNum("SIG"+name) != 0
}
