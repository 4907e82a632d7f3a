package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/runcsup/runcsup/internal/control/controltest"
)

func TestCompletion(t *testing.T) {
	socket := serve(t, &controltest.Backend{Containers: fleet()})
	for _, tt := range []struct{ args, want string }{
		{"status |", "broken given-up npd redis worker :4"},
		{"status npd |", "broken given-up redis worker :4"},
		{"status n|", "npd :4"},
		{"start |", "given-up redis worker :4"},
		{"stop |", "broken given-up npd worker :4"},
		{"kill |", "broken npd :4"},
		{"enable |", "redis :4"},
		{"disable |", "broken given-up npd worker :4"},
		{"reset-failed |", "given-up :4"},
		{"show |", "broken given-up npd redis worker :4"},
		{"show npd |", ":4"},
		{"reload |", "broken given-up npd redis worker :4"},
		{"kill -s |", "TERM KILL HUP INT QUIT USR1 USR2 STOP CONT :4"},
		{"list -o |", "table json :4"},
		{"version |", ":4"},
		{"check |", "yaml :8"}, // files of that extension
	} {
		t.Run(tt.args, func(t *testing.T) {
			fields := strings.Fields(tt.args)
			fields[len(fields)-1] = strings.TrimSuffix(fields[len(fields)-1], "|")
			got := runWith(t, map[string]string{socketEnv: socket}, append([]string{"__complete"}, fields...)...)
			var words []string
			for _, line := range strings.Split(strings.TrimSpace(got.stdout), "\n") {
				word, _, _ := strings.Cut(line, "\t")
				words = append(words, word)
			}
			if strings.Join(words, " ") != tt.want || got.code != 0 {
				t.Errorf("got %q, code %d, want %q", words, got.code, tt.want)
			}
		})
	}
}

func TestCompletionTellsStates(t *testing.T) {
	got := run(t, &controltest.Backend{Containers: fleet()}, "__complete", "status", "")
	if !strings.Contains(got.stdout, "npd\trunning\n") {
		t.Errorf("got %q", got.stdout)
	}
}

func TestCompletionWithoutDaemon(t *testing.T) {
	none := filepath.Join(t.TempDir(), "control.sock")
	got := runWith(t, nil, "__complete", "--socket", none, "status", "")
	if got.stdout != ":1\n" { // cobra.ShellCompDirectiveError
		t.Errorf("got %q", got.stdout)
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := runWith(t, nil, "completion", shell); got.code != 0 || !strings.Contains(got.stdout, "runcsup") {
			t.Errorf("%s: code %d, %d bytes", shell, got.code, len(got.stdout))
		}
	}
}
