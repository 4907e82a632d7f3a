package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const cliPage = "../../docs/cli.md"

const pageHead = `# Command line

<!-- Made from the program's own help by go test ./cmd/runcsup -update; changes here are lost. -->

The verbs are systemctl's where one exists. Answers go to standard output, everything else to standard error: an error as
` + "`runcsup: …`" + `, and what to do about it as ` + "`hint: …`" + `.
`

// docs/cli.md is what the program says of itself.
func TestPageIsTheHelp(t *testing.T) {
	root := newRootCommand(&program{stdout: io.Discard, stderr: io.Discard})
	var b strings.Builder
	b.WriteString(pageHead)
	writeCommand(&b, root)
	fmt.Fprintf(&b, "\n%d stands for a verb that was interrupted; what it had asked for goes on.\n\n## Global flags\n", exitInterrupted)
	writeFlags(&b, root.PersistentFlags())
	for _, group := range root.Groups() {
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.IsAvailableCommand() {
				writeCommand(&b, c)
				for _, sub := range c.Commands() {
					if sub.IsAvailableCommand() && c.Name() != "completion" { // a shell each, which their own help describes
						writeCommand(&b, sub)
					}
				}
			}
		}
	}
	if *update {
		if err := os.WriteFile(cliPage, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	page, err := os.ReadFile(cliPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != b.String() {
		t.Errorf("%s is not what the program says; go test ./cmd/runcsup -update writes it anew, then look at the difference", cliPage)
	}
}

func writeCommand(b *strings.Builder, c *cobra.Command) {
	long := c.Long
	if long == "" {
		long = c.Short
	}
	about, status, found := strings.Cut(long, "\n\nEXIT STATUS\n")
	if c.Parent() != nil {
		fmt.Fprintf(b, "\n## %s\n\n```\n%s\n```\n", c.CommandPath(), c.UseLine())
	}
	fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(about))
	if c.Parent() != nil {
		writeFlags(b, c.LocalNonPersistentFlags())
	}
	if found {
		codes, rest, _ := strings.Cut(status, "\n\n")
		b.WriteString("\n| exit status | |\n| --- | --- |\n")
		for _, line := range strings.Split(codes, "\n") {
			code, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
			fmt.Fprintf(b, "| %s | %s |\n", code, meaning)
		}
		if rest != "" {
			fmt.Fprintf(b, "\n%s\n", rest)
		}
	}
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	b.WriteString("\n| flag | |\n| --- | --- |\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + strings.ToUpper(value)
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" && !strings.Contains(text, "default") {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(text, "|", "\\|"))
	})
}

// Every verb says how it ends, is short, and says in one line what it does.
func TestEveryVerbHasItsHelp(t *testing.T) {
	root := newRootCommand(&program{stdout: io.Discard, stderr: io.Discard})
	for _, c := range root.Commands() {
		if !strings.Contains(c.Long, "\n\nEXIT STATUS\n  0  done\n") {
			t.Errorf("the help of %s has no EXIT STATUS", c.Name())
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: bad summary %q", c.Name(), c.Short)
		}
		if c.GroupID == "" {
			t.Errorf("%s is in no group of the help", c.Name())
		}
		for _, line := range strings.Split(c.Long, "\n") {
			if len([]rune(line)) > 120 {
				t.Errorf("%s: a line of its help has more than 120 characters: %s", c.Name(), line)
			}
		}
		got := runWith(t, nil, c.Name(), "--help")
		if got.code != 0 || !strings.Contains(got.stdout, c.Long) {
			t.Errorf("%s --help: %+v", c.Name(), got)
		}
	}
}
