package main

import (
	"github.com/spf13/cobra"

	"github.com/runcsup/runcsup/internal/logs"
)

// logsOptions say which lines are wanted, and how they are printed.
type logsOptions struct {
	lines        int
	since, until string
	stream       string
	follow       bool
	timestamps   bool
	logDir       string
}

func newLogsCommand(p *program) *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use:     "logs NAME…",
		Short:   "Show what containers have written, and what they write",
		GroupID: groupLook,
		Long: "Show what containers have written, stdout on standard output and stderr on standard error. Lines of several\n" +
			"containers are in the order of their times, with the container's name in front. With --follow it goes on with what\n" +
			"they write until it is interrupted, over restarts of containers and the daemon too: nothing is missed, and nothing\n" +
			"shown twice. When the daemon is not there, the files of the driver file are read.\n" +
			"With -o json it prints an object per line, see docs/api.md." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		Args:              wantNames,
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE: func(c *cobra.Command, args []string) error {
			q, err := o.query(p, c)
			if err != nil {
				return err
			}
			return newLogsReader(p, o, unique(args)).run(c.Context(), q)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	f.IntVarP(&o.lines, "lines", "n", -1, "show so many of the newest `lines` of each container (default all)")
	f.StringVar(&o.since, "since", "", "only lines since this `time`: 10m, 2d, 03:00, 2026-11-25, \"2026-11-25 03:00\", RFC 3339")
	f.StringVar(&o.until, "until", "", "only lines before this `time`")
	f.BoolVarP(&o.timestamps, "timestamps", "t", false, "show when the daemon got each line")
	f.StringVar(&o.stream, "stream", "", "only this `stream`: stdout or stderr")
	f.StringVar(&o.logDir, "log-dir", "", "without a daemon: the `directory` with the files (default: as in the daemon's settings)")
	_ = c.MarkFlagDirname("log-dir")
	_ = c.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions([]string{logs.Stdout, logs.Stderr}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// query is what the options ask for, without Follow.
func (o *logsOptions) query(p *program, c *cobra.Command) (q logs.Query, err error) {
	q.Tail, q.Stream = o.lines, o.stream
	if c.Flags().Changed("lines") && o.lines < 0 {
		return q, wrongUsage(c, "--lines cannot be negative")
	}
	if o.stream != "" && o.stream != logs.Stdout && o.stream != logs.Stderr {
		return q, wrongUsage(c, "--stream is "+logs.Stdout+" or "+logs.Stderr)
	}
	if o.since != "" {
		if q.Since, err = parseSince(o.since, p.now()); err != nil {
			return q, wrongUsage(c, "wrong --since: "+err.Error())
		}
	}
	if o.until != "" {
		if q.Until, err = parseSince(o.until, p.now()); err != nil {
			return q, wrongUsage(c, "wrong --until: "+err.Error())
		}
		if o.follow {
			return q, wrongUsage(c, "--follow and --until exclude each other")
		}
	}
	return q, nil
}
