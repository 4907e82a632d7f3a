package e2e

import (
	"fmt"
	"strings"
)

// numbered fails the test unless the lines of a text are "1 of N" to "N of N".
func numbered(n *node, text string, count int) {
	n.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range lines {
		if line != fmt.Sprintf("%d of %d", i+1, count) {
			n.Fatalf("line %d is %.60q", i+1, line)
		}
	}
	if len(lines) != count {
		n.Fatalf("%d lines, want %d", len(lines), count)
	}
}
