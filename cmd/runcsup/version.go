package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/control"
)

// versionTimeout is for a daemon that does not answer: version is what one calls then.
const versionTimeout = 2 * time.Second

// versions is what version prints as JSON.
type versions struct {
	control.VersionInfo
	Daemon *control.VersionInfo `json:"daemon"` // null: not there
}

func newVersionCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print the versions of this program and of the daemon",
		GroupID:           groupService,
		Long:              "Print the versions of this program and, if it is there, of the daemon." + exitStatus(exitFailed),
		Args:              wantNone,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(c *cobra.Command, _ []string) error { return runVersion(c.Context(), p) },
	}
}

func runVersion(ctx context.Context, p *program) error {
	v := versions{VersionInfo: thisVersion()}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	c := p.client()
	defer c.Close()
	daemon, err := c.Version(ctx)
	if err == nil {
		v.Daemon = &daemon
	}
	if p.format == formatJSON {
		return p.printJSON(v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "runcsup %s\n", v.Version)
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s%s\n", key+":", printable(value))
		}
	}
	line("commit", v.Commit)
	line("built", v.BuildDate)
	line("go", v.Go+" "+v.Platform)
	if err != nil {
		line("daemon", err.Error())
	} else {
		line("daemon", fmt.Sprintf("%s (pid %d, %s)", daemon.Version, daemon.Pid, daemon.Runtime))
		for _, m := range daemon.Metrics {
			line("metrics", metricsText(m))
		}
	}
	return p.print(b.String())
}

// metricsText is where metrics are served, or why not.
func metricsText(a control.WebAddress) string {
	if a.Error != "" {
		return a.Address + ": not served: " + a.Error
	}
	return a.Address
}

// thisVersion is what the linker was told or else what the go command noted of the source.
func thisVersion() control.VersionInfo {
	v := control.VersionInfo{Version: version, Commit: commit, BuildDate: date, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "devel"
	}
	if v.Commit != "" {
		return v
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.BuildDate = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && v.Commit != "" {
		v.Commit += "-dirty"
	}
	return v
}
