package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/runcsup/runcsup/internal/config"
	"github.com/runcsup/runcsup/internal/daemon"
	"github.com/runcsup/runcsup/internal/notify"
)

// daemonOptions are the settings that the command line gives; they win over the settings file.
type daemonOptions struct {
	config     string
	checkState bool
	stopLeft   bool
	asGood     bool // the settings file may have mistakes

	containers, stateDir, runDir, logDir                        string
	runtime, cgroupManager, socketGroup, readyWhen, onTerminate string
	logLevel, logFormat                                         string

	webListenAddresses []string
	webConfigFile      string
}

func newDaemonCommand(p *program) *cobra.Command {
	var o daemonOptions
	c := &cobra.Command{
		Use:     "daemon",
		Short:   "The service: keep the containers running",
		GroupID: groupService,
		Long: "Start every enabled container that has a definition, take over those that an earlier daemon started, and keep them\n" +
			"running. SIGTERM and SIGINT stop all containers and then the daemon; a second one kills them. SIGHUP reloads.\n" +
			"If the daemon ends in any other way the containers run on, and the next daemon takes them over; so they do when\n" +
			"systemd sends SIGTERM to restart the daemon (see --on-terminate)." +
			exitStatus(exitFailed),
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runDaemon(c.Context(), p, o, c.Flags()) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", config.DefaultSettingsFile, "`file` with settings; it need not exist unless it is named here")
	f.StringVar(&o.containers, "containers", "", "`directory` with the definitions, NAME.yaml each")
	f.StringVar(&o.stateDir, "state-dir", "", "`directory` for what has to survive a reboot")
	f.StringVar(&o.runDir, "run-dir", "", "`directory` for the control socket and the runtime's state")
	f.StringVar(&o.logDir, "log-dir", "", "`directory` for the containers' output")
	f.StringVar(&o.runtime, "runtime", "", "OCI `runtime`: runc, crun, or a path")
	f.StringVar(&o.cgroupManager, "cgroup-manager", "", "auto, systemd or cgroupfs")
	f.StringVar(&o.socketGroup, "socket-group", "", "`group` that may use the control socket")
	f.StringVar(&o.readyWhen, "ready-when", "", "tell systemd of readiness when all is settled (or has failed) or running")
	f.StringVar(&o.onTerminate, "on-terminate", "", "what SIGTERM means for the containers: stop, leave, or auto: leave them if systemd restarts the daemon")
	f.StringVar(&o.logLevel, "log-level", "", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "", "text or json")
	f.StringArrayVar(&o.webListenAddresses, "web.listen-address", nil, "`host:port` to serve metrics at, repeated for several; empty for none (default "+config.DefaultWebListenAddress+")")
	f.StringVar(&o.webConfigFile, "web.config.file", "", "`file` with TLS and passwords for the metrics, in Prometheus' form")
	f.BoolVar(&o.checkState, daemon.CheckStateFlag, false, "only say whether this program can go on from the state")
	_ = f.MarkHidden(daemon.CheckStateFlag) // a running daemon asks the program that is to replace it
	f.BoolVar(&o.stopLeft, daemon.StopLeftFlag, false, "only stop what a daemon that has ended left running, if systemd is stopping the unit that asks for it")
	_ = f.MarkHidden(daemon.StopLeftFlag) // the units do
	for _, dir := range []string{"containers", "state-dir", "run-dir", "log-dir"} {
		_ = c.MarkFlagDirname(dir)
	}
	for name, words := range map[string][]string{
		"cgroup-manager": {"auto", "systemd", "cgroupfs"}, "ready-when": {"settled", "running"}, "on-terminate": {"auto", "stop", "leave"},
		"log-level": {"debug", "info", "warn", "error"}, "log-format": {"text", "json"}, "runtime": {"runc", "crun"},
	} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return c
}

func runDaemon(ctx context.Context, p *program, o daemonOptions, flags *pflag.FlagSet) error {
	if os.Geteuid() != 0 {
		return errors.New("the daemon runs containers, which needs root")
	}
	if o.checkState {
		settings, err := o.settings(flags)
		if err != nil {
			return err
		}
		check, err := daemon.CheckState(settings, thisVersion())
		if err != nil {
			return err
		}
		return p.printJSON(check)
	}
	handover, err := daemon.TakeHandover()
	if err != nil {
		return err
	}
	env, err := notify.TakeEnvironment()
	if err != nil {
		return err
	}
	settings, err := o.settings(flags)
	faults, faulty := errors.AsType[config.Errors](err)
	if o.stopLeft && faulty {
		o.asGood = true
		settings, err = o.settings(flags)
	}
	if err != nil {
		return err
	}
	this, err := daemon.ThisProgram()
	if err != nil {
		return err
	}
	options := daemon.Options{
		Settings: settings, Environment: env, Handover: handover, Program: this, Version: thisVersion(), Log: newLogger(p, settings),
	}
	if o.stopLeft {
		if faulty {
			options.Faults = faults.Summary()
		}
		return daemon.StopLeft(ctx, options)
	}
	return daemon.Run(ctx, options)
}

// settings are those of the file with what the command line says instead.
func (o daemonOptions) settings(flags *pflag.FlagSet) (config.Settings, error) {
	s, err := config.LoadSettings(o.config, flags.Changed("config"))
	if o.asGood {
		s, err = config.LoadGoodSettings(o.config), nil
	}
	if err != nil {
		return s, err
	}
	for _, dir := range []struct {
		flag string
		to   *string
	}{{o.containers, &s.Containers}, {o.stateDir, &s.StateDir}, {o.runDir, &s.RunDir}, {o.logDir, &s.LogDir}} {
		if dir.flag == "" {
			continue
		}
		if *dir.to, err = filepath.Abs(dir.flag); err != nil {
			return s, err
		}
	}
	if flags.Changed("web.listen-address") {
		s.WebListenAddresses = slices.DeleteFunc(o.webListenAddresses, func(a string) bool { return a == "" })
	}
	if o.webConfigFile != "" {
		if s.WebConfigFile, err = filepath.Abs(o.webConfigFile); err != nil {
			return s, err
		}
	}
	for _, word := range []struct {
		flag string
		set  func(string)
	}{
		{o.runtime, func(v string) { s.Runtime = v }},
		{o.cgroupManager, func(v string) { s.CgroupManager = config.CgroupManager(v) }},
		{o.socketGroup, func(v string) { s.SocketGroup = v }},
		{o.readyWhen, func(v string) { s.ReadyWhen = config.ReadyWhen(v) }},
		{o.onTerminate, func(v string) { s.OnTerminate = config.OnTerminate(v) }},
		{o.logFormat, func(v string) { s.LogFormat = config.LogFormat(v) }},
	} {
		if word.flag != "" {
			word.set(word.flag)
		}
	}
	if o.logLevel != "" {
		if err := s.LogLevel.UnmarshalText([]byte(o.logLevel)); err != nil {
			return s, &usageError{message: "unknown log level " + o.logLevel, hint: "it is debug, info, warn or error"}
		}
	}
	if err := s.Validate(); err != nil {
		return s, err
	}
	return s, nil
}

// newLogger writes the daemon's own log to standard error. Under systemd the journal has the time already.
func newLogger(p *program, s config.Settings) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.LogLevel}
	if p.getenv("JOURNAL_STREAM") != "" {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if s.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(p.stderr, o))
	}
	return slog.New(slog.NewTextHandler(p.stderr, o))
}
