package supervisor

import "fmt"

// why says in words on what grounds the policy starts a container again after this end, or does not. It goes through the
// same cases as restarts.
func (p RestartPolicy) why(e end) string {
	status := string(e.reason)
	switch {
	case !e.status.Known:
	case e.status.Wait.Signaled():
		status = "SIG" + signalName(e.status.Wait.Signal())
	default:
		status = fmt.Sprintf("code %d", e.status.Wait.ExitStatus())
	}
	switch {
	case p.PreventStatuses.has(e.status):
		return fmt.Sprintf("restart.preventExitStatus has %s", status)
	case p.ForceStatuses.has(e.status):
		return fmt.Sprintf("restart.forceExitStatus has %s", status)
	case p.Mode == RestartAlways, p.Mode == RestartNo:
		return fmt.Sprintf("policy %s", p.Mode)
	}
	switch p.outcome(e) {
	case outcomeClean:
		return fmt.Sprintf("policy %s, after a clean end (%s)", p.Mode, status)
	case outcomeUncleanExit:
		return fmt.Sprintf("policy %s, after an unclean exit (%s)", p.Mode, status)
	case outcomeUncleanSignal:
		return fmt.Sprintf("policy %s, after an unclean signal (%s)", p.Mode, status)
	}
	return fmt.Sprintf("policy %s, after an abnormal end (%s)", p.Mode, e.reason)
}
