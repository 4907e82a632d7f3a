package e2e

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// withCrun are the tests that TestCrun runs: those in which the runtime matters. All can be run with crun:
// RUNCSUP_E2E_RUNTIME=crun go test ./e2e
var withCrun = []string{
	"TestExits", "TestScripts", "TestInsideAContainer", "TestBrokenConfigJSONStopsNothing", "TestChangedFilesAreAppliedWithinTwoSeconds",
	"TestLimitsAreAppliedLive", "TestSignalsStopEverythingAndLeaveNothing", "TestStubbornContainerIsKilledAfterItsTimeout",
	"TestHostPidContainerLeavesNoChildren", "TestTwoDaemonsSideBySide", "TestRedisFromArchive",
	"TestAdoptFifty", "TestAdoptDied", "TestReboot", "TestRuntimeFailsToRun", "TestRuntimeFailsToTellState",
}

// TestCrun runs these tests once more, in a process of their own, with crun.
func TestCrun(t *testing.T) {
	t.Parallel()
	if os.Getenv("RUNCSUP_E2E_RUNTIME") != "" {
		return // somebody has chosen the runtime for all tests
	}
	if _, err := exec.LookPath("crun"); err != nil {
		t.Fatalf("crun is missing (on Debian: apt-get install crun): %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	selected := "^(" + strings.Join(withCrun, "|") + ")$"
	list, err := exec.CommandContext(ctx, "/proc/self/exe", "-test.list="+selected).Output()
	if err != nil {
		t.Fatalf("list the tests: %v", err)
	}
	for _, name := range withCrun {
		if !slices.Contains(strings.Fields(string(list)), name) {
			t.Errorf("%s is not there any more", name)
		}
	}
	// Not verbose: what passed says nothing, so that what failed is not lost in it.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run="+selected, "-test.parallel=4", "-test.timeout=5m")
	cmd.Env = append(cleanEnv(), "RUNCSUP_E2E_RUNTIME=crun", "RUNCSUP_BINARY="+binary)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("with crun: %v\n%s", err, out)
	}
}
