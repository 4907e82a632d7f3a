//go:build man

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommands are in a program that is built to make its own manual pages, and in no other:
//
//	go run -tags man ./cmd/runcsup man DIR DOCS
//
// DIR gets a page in section 1 for every verb, and those of DOCS, the project's docs directory, that describe files in
// section 5. The date is that of SOURCE_DATE_EPOCH.
func manCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use: "man DIR DOCS", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return writeManual(c.Root(), args[0], args[1]) },
	}}
}

func writeManual(root *cobra.Command, dir, docs string) error {
	header := &doc.GenManHeader{Section: "1", Source: "runcsup", Manual: "runcsup"}
	date := time.Now()
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		var seconds int64
		if _, err := fmt.Sscan(text, &seconds); err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH is %q: %w", text, err)
		}
		date = time.Unix(seconds, 0).UTC()
	}
	header.Date = &date
	if err := writeVerb(root, dir, *header); err != nil {
		return err
	}
	for source, page := range map[string]string{"definition.md": "runcsup-definition", "settings.md": "runcsup.yaml"} {
		text, err := os.ReadFile(filepath.Join(docs, source))
		if err != nil {
			return err
		}
		title, body, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		head := fmt.Sprintf("%% %q \"5\" %q \"runcsup\" \"runcsup\"\n# NAME\n%s - %s\n# DESCRIPTION\n",
			strings.ToUpper(page), date.Format("Jan 2006"), page, strings.ToLower(title[:1])+title[1:])
		body = link.ReplaceAllString(withoutTables(body), "$1")
		if err := os.WriteFile(filepath.Join(dir, page+".5"), md2man.Render([]byte(head+body)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

var link = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`) // leads nowhere in a manual page

// writeVerb writes the page of a verb and those of the verbs below it.
func writeVerb(c *cobra.Command, dir string, header doc.GenManHeader) error {
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() && below.Name() != "help" {
			if err := writeVerb(below, dir, header); err != nil {
				return err
			}
		}
	}
	c.DisableAutoGenTag = true
	c.Long = inMarkdown(c.Long)
	if !c.HasParent() {
		c.Long += verbs(c)
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	header.Title = strings.ToUpper(name)
	var page bytes.Buffer
	if err := doc.GenMan(c, &header, &page); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".1"), page.Bytes(), 0o644)
}

// verbs lists the commands as the help does.
func verbs(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("\n\n# COMMANDS\n")
	for _, group := range root.Groups() {
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.IsAvailableCommand() {
				fmt.Fprintf(&b, "\n**%s**\n: %s\n", c.Name(), c.Short)
			}
		}
	}
	return b.String()
}

// withoutTables makes lists of tables, which do not fit into 80 columns: the first column is the term.
func withoutTables(text string) string {
	var b strings.Builder
	rows := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			rows = 0
			b.WriteString(line)
			continue
		}
		if rows++; rows <= 2 { // names of the columns, and dashes
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(strings.TrimSpace(line), "|"), "\\|", "\x00"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "\x00", "|")
		}
		fmt.Fprintf(&b, "\n**%s**\n: %s", strings.ReplaceAll(cells[0], "`", ""), cells[min(1, len(cells)-1)])
		if len(cells) > 2 && cells[2] != "" && cells[2] != "–" {
			fmt.Fprintf(&b, " (default: %s)", cells[2])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// inMarkdown is a help text as the generator wants it: lines as they are, exit codes as a list.
func inMarkdown(long string) string {
	about, status, found := strings.Cut(long, "\n\nEXIT STATUS\n")
	escape := strings.NewReplacer("<", "&lt;", "*", "\\*", "_", "\\_")
	var b strings.Builder
	b.WriteString(escape.Replace(about))
	if !found {
		return b.String()
	}
	codes, rest, _ := strings.Cut(status, "\n\n")
	b.WriteString("\n\n# EXIT STATUS\n")
	for line := range strings.Lines(codes) {
		code, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
		fmt.Fprintf(&b, "\n**%s**\n: %s\n", code, escape.Replace(meaning))
	}
	if rest != "" {
		b.WriteString("\n" + escape.Replace(rest) + "\n")
	}
	return b.String()
}
