package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/runcsup/runcsup/internal/top"
)

// topOptions are the flags of top.
type topOptions struct {
	once    bool
	order   string
	reverse bool
	delay   time.Duration
}

func newTopCommand(p *program) *cobra.Command {
	var o topOptions
	c := &cobra.Command{
		Use:     "top [NAME…]",
		Short:   "Show live what containers do and use",
		GroupID: groupLook,
		Long: "Show a live table of all containers, or those named: state, health, CPU (100% is one processor), memory against its\n" +
			"limit (as the kubelet reckons it, without cache that can be dropped), restarts, and how long it runs or when it is\n" +
			"started next. A wider terminal shows more. Enter shows one container with its probes, events and output; the last\n" +
			"line tells the keys. With --once, or -o json, it prints the table once, of a second's time, and ends." +
			exitStatus(exitFailed, exitNoSuchContainer, exitNoDaemon),
		ValidArgsFunction: p.completeNames(0, anyContainer),
		RunE:              func(c *cobra.Command, args []string) error { return runTop(c, p, o, args) },
	}
	c.Flags().BoolVar(&o.once, "once", false, "print the table once")
	c.Flags().StringVarP(&o.order, "sort", "s", string(top.ByName), "sort by `what`: "+strings.Join(topOrders(), ", "))
	c.Flags().BoolVarP(&o.reverse, "reverse", "r", false, "sort the other way round")
	c.Flags().DurationVarP(&o.delay, "delay", "d", 2*time.Second, "`time` between looks")
	_ = c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(topOrders(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func topOrders() []string {
	var words []string
	for _, o := range top.Orders {
		words = append(words, string(o))
	}
	return words
}

// minTopDelay keeps a slip of the finger from costing a processor.
const minTopDelay = 100 * time.Millisecond

func runTop(cmd *cobra.Command, p *program, o topOptions, names []string) error {
	if !slices.Contains(topOrders(), o.order) {
		return wrongUsage(cmd, fmt.Sprintf("cannot sort by %q: it is %s", o.order, strings.Join(topOrders(), ", ")))
	}
	if o.delay < minTopDelay {
		return wrongUsage(cmd, fmt.Sprintf("the time between looks must be %s at least", minTopDelay))
	}
	c := p.client()
	defer c.Close()
	src := &topSource{Client: c, now: p.now}
	options := top.Options{Names: unique(names), Order: top.Order(o.order), Reverse: o.reverse, Delay: o.delay, Now: p.now}
	if o.once || p.format == formatJSON {
		return p.topOnce(cmd.Context(), src, options)
	}
	if !isTerminal(p.stdout) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return wrongUsage(cmd, "there is no terminal to show it in; --once prints it once")
	}
	return top.Run(cmd.Context(), src, options)
}

func (p *program) topOnce(ctx context.Context, src top.Source, o top.Options) error {
	rows, now, err := top.Once(ctx, src, o)
	if err != nil {
		return err
	}
	if p.format == formatJSON {
		return p.printJSON(rows)
	}
	width := 0
	if isTerminal(p.stdout) {
		width = terminalWidth()
	}
	return p.print(top.Text(rows, now, width))
}
