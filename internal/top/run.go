package top

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/gdamore/tcell/v2"
)

// Options say what is shown and how.
type Options struct {
	Names   []string // none: all containers
	Order   Order
	Reverse bool
	Delay   time.Duration // between looks
	Now     func() time.Time
}

// answer is what came of a look.
type answer struct {
	sample  *sample
	err     error
	of      string // container with details
	details Details
}

// Run shows containers until the user leaves or ctx ends. Its error is that of the first look, or that there is no
// terminal.
func Run(ctx context.Context, src Source, o Options) error {
	first, err := take(ctx, src, o.Names, o.Now)
	if err != nil {
		return err
	}
	screen, err := openTerminal()
	if err != nil {
		return fmt.Errorf("cannot use the terminal: %w; try another TERM (TERM=xterm), or --once", err)
	}
	if err := screen.Init(); err != nil {
		return fmt.Errorf("cannot use the terminal: %w", err)
	}
	defer screen.Fini()
	for r, plain := range map[rune]string{'…': "~", '▼': "v", '▲': "^"} { // for terminals without UTF-8
		screen.RegisterRuneFallback(r, plain)
	}
	return loop(ctx, src, o, screen, first)
}

// openTerminal is the terminal that TERM names.
func openTerminal() (tcell.Screen, error) {
	known, err := tcell.LookupTerminfo(os.Getenv("TERM"))
	if err != nil {
		return nil, err
	}
	// A vt100 needed milliseconds to obey, and tcell sleeps through them: a table would take a second. What says that it is
	// one today (serial consoles do) needs none.
	prompt := *known
	prompt.PadChar = ""
	return tcell.NewTerminfoScreenFromTtyTerminfo(nil, &prompt)
}

// loop owns the view. One look is under way at a time, so that a slow daemon is not asked more and more.
func loop(ctx context.Context, src Source, o Options, screen tcell.Screen, first *sample) error {
	v := &view{cpus: runtime.NumCPU(), order: o.Order, reverse: o.Reverse}
	v.take(first, nil)
	looking, stop := context.WithCancel(ctx)
	answers := make(chan answer, 1)
	busy := false
	look := func() {
		if busy {
			return
		}
		busy = true
		of := ""
		if v.detail || v.pane {
			of = v.selected
		}
		go func() { answers <- lookOnce(looking, src, o, of) }()
	}
	events, leave, left := make(chan tcell.Event), make(chan struct{}), make(chan struct{})
	go func() { screen.ChannelEvents(events, leave); close(left) }()
	defer func() {
		stop()
		if busy {
			<-answers
		}
		close(leave)
		<-left
	}()
	soon := time.After(firstDelay) // rates take two looks: the first ones need not wait for long
	ticker := time.NewTicker(o.Delay)
	defer ticker.Stop()
	for {
		v.draw(screen)
		select {
		case <-ctx.Done():
			return nil
		case <-soon:
			look()
		case <-ticker.C:
			look()
		case a := <-answers:
			busy = false
			v.take(a.sample, a.err)
			if a.of != "" {
				v.tell(a.of, a.details)
			}
		case ev := <-events:
			switch ev := ev.(type) {
			case nil, *tcell.EventError: // the terminal is gone
				return nil
			case *tcell.EventResize:
				screen.Sync()
			case *tcell.EventKey:
				_, height := screen.Size()
				v.key(ev, max(1, height-4))
			}
		}
		if v.quit {
			return nil
		}
		if v.refresh && !busy {
			v.refresh = false
			look()
		}
	}
}

// firstDelay is between the first two looks.
const firstDelay = 500 * time.Millisecond

// lookTimeout is for a daemon that does not answer.
const lookTimeout = 10 * time.Second

func lookOnce(ctx context.Context, src Source, o Options, of string) answer {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	s, err := take(ctx, src, o.Names, o.Now)
	a := answer{sample: s, err: err, of: of}
	if of != "" && err == nil {
		a.details = src.Details(ctx, of)
	}
	return a
}
