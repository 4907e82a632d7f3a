package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The versions of the two packages that the tests have. The older one has a daemon that can be made to hang.
const olderVersion, newerVersion = "1.0.0", "1.1.0"

// packagesEnv names a directory with a directory of packages for each version, for tests where none can be made.
const packagesEnv = "RUNCSUP_E2E_PACKAGES"

// packageFiles are the packages of one version.
type packageFiles struct{ deb, rpm string }

// builtPackages makes the packages of both versions, once for all tests.
var builtPackages = sync.OnceValues(func() (map[string]packageFiles, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience) // the tool that makes packages may have to be built
	defer cancel()
	tool := os.Getenv("GO")
	if tool == "" {
		tool = "go"
	}
	built := map[string]packageFiles{}
	given := os.Getenv(packagesEnv)
	for version, tags := range map[string]string{olderVersion: "hang", newerVersion: ""} {
		dir := filepath.Join(baseDir, "packages-"+version)
		if given != "" {
			dir = filepath.Join(given, version)
		}
		program := filepath.Join(dir, "runcsup")
		for _, c := range []*exec.Cmd{
			exec.CommandContext(ctx, tool, "build", "-buildvcs=false", "-trimpath", "-tags", tags, "-ldflags", "-s -w -X main.version="+version, "-o", program, "../cmd/runcsup"),
			exec.CommandContext(ctx, "../tools/packages", program, version, dir),
		} {
			if given != "" {
				break
			}
			c.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := c.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", c, err, out)
			}
		}
		found := packageFiles{}
		for pattern, file := range map[string]*string{"*.deb": &found.deb, "*.rpm": &found.rpm} {
			files, _ := filepath.Glob(filepath.Join(dir, pattern))
			if len(files) != 1 {
				return nil, fmt.Errorf("in %s is not one %s but %q", dir, pattern, files)
			}
			*file = files[0]
		}
		built[version] = found
	}
	return built, nil
})

// packagesOf returns the packages of a version.
func packagesOf(t testing.TB, version string) packageFiles {
	t.Helper()
	built, err := builtPackages()
	check(t, err)
	return built[version]
}

// copyPackage copies a package into the machine and returns where it is there.
func (m *sdMachine) copyPackage(file string) string {
	m.Helper()
	inside := "/root/" + filepath.Base(file)
	check(m, m.CopyIn(m.ctx, file, inside, 0o644))
	return inside
}

func TestPackagesAreSound(t *testing.T) {
	t.Parallel()
	p := packagesOf(t, newerVersion)
	lintian := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", p.deb)
	lintian.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // it leaves files
	out, err := lintian.CombinedOutput()
	if err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
	// rpm has a database of its own, and digests of everything in the package.
	out, err = exec.Command("rpm", "--dbpath", t.TempDir(), "-K", "-v", p.rpm).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Payload SHA256") {
		t.Errorf("rpm -K: %v\n%s", err, out)
	}
	deb := run(t, "dpkg-deb", "-c", p.deb)
	rpm := run(t, "rpm", "--dbpath", t.TempDir(), "-qlp", p.rpm)
	for _, file := range []string{
		"/usr/bin/runcsup", "/usr/lib/systemd/system/runcsup.service", "/usr/lib/systemd/system/runcsup-stop.service", "/usr/lib/systemd/system/runcsup.slice",
		"/usr/lib/sysusers.d/runcsup.conf", "/usr/lib/tmpfiles.d/runcsup.conf", "/etc/runcsup/runcsup.yaml",
		"/usr/share/bash-completion/completions/runcsup", "/usr/share/fish/vendor_completions.d/runcsup.fish",
		"/usr/share/man/man1/runcsup.1.gz", "/usr/share/man/man1/runcsup-reload.1.gz", "/usr/share/man/man5/runcsup-definition.5.gz",
		"/usr/share/runcsup/prometheus/alerts.yaml", "/usr/share/runcsup/prometheus/recording.yaml", "/usr/share/runcsup/grafana/runcsup.json",
		"/usr/share/runcsup/definition.schema.json", "/usr/share/doc/runcsup/README.md", "/usr/share/doc/runcsup/examples/redis.yaml",
		"/usr/share/doc/runcsup/third-party-licenses.gz",
	} {
		if !strings.Contains(deb, file+"\n") {
			t.Errorf("the deb has no %s", file)
		}
		if !strings.Contains(rpm, file+"\n") {
			t.Errorf("the rpm has no %s", file)
		}
	}
	if !strings.Contains(deb, "/usr/share/zsh/vendor-completions/_runcsup\n") || !strings.Contains(rpm, "/usr/share/zsh/site-functions/_runcsup\n") {
		t.Error("completion for zsh is missing")
	}
	if out := run(t, "dpkg-deb", "-I", p.deb, "conffiles"); out != "/etc/runcsup/runcsup.yaml\n" {
		t.Errorf("conffiles are %q", out)
	}
	// Every command has its page, which reads as one.
	dir := t.TempDir()
	run(t, "dpkg-deb", "-x", p.deb, dir)
	// The settings file that comes with it has every setting, commented out, with its default.
	settings := readFile(t, filepath.Join(dir, "etc/runcsup/runcsup.yaml"))
	if !strings.Contains(settings, "\n#containers: /etc/runcsup/containers.d\n") || !strings.Contains(settings, "\n#rescanInterval: 30s\n") {
		t.Errorf("the settings file is\n%s", settings)
	}
	for line := range strings.Lines(run(t, binary, "__complete", "")) {
		name, _, described := strings.Cut(line, "\t")
		if !described || name == "help" {
			continue
		}
		page := filepath.Join(dir, "usr/share/man/man1/runcsup-"+name+".1.gz")
		if text := run(t, "zcat", page); !strings.Contains(text, ".SH NAME") || !strings.Contains(text, ".SH EXIT STATUS") {
			t.Errorf("the manual page of %s is\n%s", name, text)
		}
	}
}

// What the package installs does what a Debian user expects: the service runs, and the unit is one that systemd finds
// nothing wrong with.
func TestUnit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("dpkg", "-i", m.copyPackage(packagesOf(t, newerVersion).deb))
	if state := m.must("systemctl", "is-enabled", "runcsup") + " " + m.must("systemctl", "is-active", "runcsup"); state != "enabled active" {
		t.Errorf("after the installation the service is %s", state)
	}
	if out := m.must("systemd-analyze", "verify", "--man=no", "runcsup.service", "runcsup-stop.service", "runcsup.slice"); out != "" {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
	// As low as it gets: the unit says why.
	if out, err := m.try("systemd-analyze", "security", "--no-pager", "--threshold=95", "runcsup.service"); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	if out := m.must("getent", "group", "runcsup"); !strings.HasPrefix(out, "runcsup:") {
		t.Errorf("the group is %q", out)
	}
	for path, want := range map[string]string{
		"/etc/runcsup/containers.d": "750 root runcsup", "/var/lib/runcsup": "700 root root", "/var/log/runcsup": "750 root root",
		"/run/runcsup": "711 root root", "/run/runcsup/control.sock": "660 root runcsup",
	} {
		if got := m.must("stat", "-c", "%a %U %G", path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	// A member of the group may use it, others may not.
	m.must("useradd", "-G", "runcsup", "member")
	m.must("useradd", "stranger")
	m.must("runuser", "-u", "member", "runcsup", "list")
	if out, err := m.try("runuser", "-u", "stranger", "runcsup", "list"); err == nil || !strings.Contains(out, "denied") {
		t.Errorf("a stranger's list: %v %s", err, out)
	}
	// What is refused is a failure of the reload, and can be found.
	m.write("/etc/runcsup/containers.d/typo.yaml", "rootfs: /\ncomand: [x]\n")
	out, err := m.try("systemctl", "reload", "runcsup")
	if err == nil {
		t.Errorf("systemctl reload succeeds with a definition that is refused: %s", out)
	}
	eventually(t, patience, "the reason is in the journal and the status", func() error {
		journal := m.must("journalctl", "-b", "--no-pager", "-u", "runcsup", "-o", "cat")
		status := m.property("runcsup", "StatusText")
		if !strings.Contains(journal, `typo.yaml:2:1: unknown key "comand"`) || !strings.Contains(status, "refused: typo") {
			return fmt.Errorf("the status is %q, the journal is\n%s", status, journal)
		}
		return nil
	})
}

// Shutdown of the machine: containers are stopped by the daemon, with their own signals, and not by systemd behind its back.
func TestShutdownStopsContainersAsDefined(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("dpkg", "-i", m.copyPackage(packagesOf(t, newerVersion).deb))
	m.rootfs("/srv/rootfs")
	m.must("mkdir", "/srv/told")
	m.write("/etc/runcsup/containers.d/app.yaml", `rootfs: /srv/rootfs
command: [sh, -c, "trap 'echo USR1 >>/told/signals; sleep 1; echo done >>/told/signals; exit 0' USR1; trap 'echo TERM >>/told/signals; exit 0' TERM; echo up >>/told/signals; while :; do sleep 0.1; done"]
mounts: [{source: /srv/told, target: /told}]
stop: {signal: USR1, timeout: 50s}
`)
	m.must("runcsup", "reload")
	m.waitRunning("app")
	m.eventuallyOutput("up", "cat", "/srv/told/signals")
	ctx, cancel := context.WithTimeout(m.ctx, 2*patience)
	defer cancel()
	check(t, m.Reboot(ctx))
	m.waitRunning("app")
	m.eventuallyOutput("up\nUSR1\ndone\nup", "cat", "/srv/told/signals")
}

// waitDaemon waits until the daemon that answers is of a version.
func (m *sdMachine) waitDaemon(version string) {
	m.Helper()
	eventually(m, patience, "the daemon is "+version, func() error {
		out, err := m.try("runcsup", "version", "-o", "json")
		if err != nil {
			return err
		}
		_, daemon, _ := strings.Cut(out, `"daemon":`)
		if !strings.Contains(daemon, `"version":"`+version+`"`) && !strings.Contains(daemon, `"version": "`+version+`"`) {
			return fmt.Errorf("it is %s", out)
		}
		return nil
	})
}

// eventuallyOutput waits until a command prints this, spaces around it aside.
func (m *sdMachine) eventuallyOutput(want, name string, args ...string) {
	m.Helper()
	eventually(m, patience, name+" prints "+want, func() error {
		out, err := m.try(name, args...)
		if err != nil {
			return err
		}
		if out = strings.TrimSpace(out); out != want {
			return fmt.Errorf("it prints %q", out)
		}
		return nil
	})
}
