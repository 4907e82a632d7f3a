package importer

import "strings"

// Why settings have no counterpart, and what to do about it. A name that ends in * stands for all that begin so.
const (
	whyEnvironment = "it was the environment of the runtime's own process; the container's is process.env in config.json"
	whyUser        = "the runtime is run by root; who the container's process is stands in process.user of config.json"
	whyRlimit      = "it came to the container from the runtime's process; set process.rlimits in config.json"
	whyCgroup      = "it was a limit of the unit's cgroup; set linux.resources in config.json"
	whyProcess     = "it came to the container from the runtime's process; see process.oomScoreAdj, scheduler and ioPriority of config.json"
	whySandbox     = "it was around the runtime's process; the container has namespaces, capabilities and mounts of its own in config.json"
	whyOutput      = "see log: in the definition"
	whyAlert       = "let the alert rules of Prometheus tell, or runcsup events -f"
	whyCondition   = "the container is started in any case; with enabled: false it waits for runcsup start"
	whyTime        = "bound it with a probe (health:), or stop it with a timer that calls runcsup stop"
	whyUnit        = "runcsup.service itself has what such a unit needs"
)

var reasons = map[string]string{
	"Service.PassEnvironment": whyEnvironment, "Service.UnsetEnvironment": whyEnvironment,
	"Service.User": whyUser, "Service.Group": whyUser, "Service.SupplementaryGroups": whyUser, "Service.DynamicUser": whyUser,
	"Service.Limit*": whyRlimit, "Service.UMask": "set process.user.umask in config.json",
	"Service.Memory*": whyCgroup, "Service.CPUQuota*": whyCgroup, "Service.CPUWeight": whyCgroup, "Service.CPUShares": whyCgroup,
	"Service.Tasks*": whyCgroup, "Service.IO*": whyCgroup, "Service.BlockIO*": whyCgroup, "Service.Allowed*": whyCgroup, "Service.Device*": whyCgroup,
	"Service.StartupCPU*": whyCgroup, "Service.StartupIO*": whyCgroup, "Service.ManagedOOM*": whyCgroup, "Service.IP*": whyCgroup,
	"Service.Nice": whyProcess, "Service.OOMScoreAdjust": whyProcess, "Service.OOMPolicy": whyProcess, "Service.CPUAffinity": whyProcess,
	"Service.CPUScheduling*": whyProcess, "Service.IOScheduling*": whyProcess, "Service.NUMA*": whyProcess,
	"Service.Private*": whySandbox, "Service.Protect*": whySandbox, "Service.Read*": whySandbox, "Service.Inaccessible*": whySandbox,
	"Service.Bind*": whySandbox, "Service.Capability*": whySandbox, "Service.AmbientCapabilities": whySandbox, "Service.NoNewPrivileges": whySandbox,
	"Service.SystemCall*": whySandbox, "Service.Restrict*": whySandbox, "Service.Lock*": whySandbox, "Service.Root*": whySandbox,
	"Service.MountFlags": whySandbox, "Service.TemporaryFileSystem": whySandbox, "Service.AppArmorProfile": whySandbox, "Service.SELinuxContext": whySandbox,
	"Service.SecureBits": whySandbox, "Service.KeyringMode": whySandbox, "Service.ProcSubset": whySandbox,
	"Service.*Directory": "make the directory yourself, or with tmpfiles.d", "Service.*DirectoryMode": "make the directory yourself, or with tmpfiles.d",
	"Service.RuntimeDirectoryPreserve": "make the directory yourself, or with tmpfiles.d",
	"Service.StandardInput*":           "a container has no input; runcsup exec -i is for that",
	"Service.StandardError":            whyOutput, "Service.Syslog*": whyOutput, "Service.Log*": whyOutput, "Service.TTY*": whyOutput,
	"Service.LoadCredential*": "use secrets: with rootfs:, or a mount in config.json", "Service.SetCredential*": "use secrets: with rootfs:, or a mount in config.json",
	"Service.Watchdog*":       "see health: liveness in docs/definition.md",
	"Service.NotifyAccess":    "the runtime's process did the talking",
	"Service.TimeoutStartSec": "one bound for all is startTimeout in runcsup.yaml", "Service.TimeoutStartFailureMode": "one bound for all is startTimeout in runcsup.yaml",
	"Service.TimeoutAbortSec": "see stop: timeout", "Service.RuntimeMaxSec": whyTime, "Service.RuntimeRandomizedExtraSec": whyTime,
	"Service.SendSIGKILL": "after its stop timeout a container is always killed", "Service.FinalKillSignal": "it is always KILL",
	"Service.SendSIGHUP": "nobody but the signal of stop: is sent", "Service.RestartKillSignal": "a restart uses the signal of stop:",
	"Service.WatchdogSignal": "an unhealthy container gets the signal of stop:",
	"Service.RestartMode":    "dependents are told of every restart", "Service.SurviveFinalKillSignal": "all containers are stopped at shutdown",
	"Service.Slice": "the container's cgroup is linux.cgroupsPath of config.json, else runcsup's", "Service.Delegate*": "containers are in scopes of their own",
	"Service.Sockets": "a container gets no sockets from systemd", "Service.FileDescriptorStore*": "nothing is stored for a container", "Service.BusName": "it waited for a name on D-Bus; use ready: or health:",
	"Service.NonBlocking": "a container gets no sockets from systemd", "Service.OpenFile": "mount the file instead",
	"Service.RootDirectoryStartOnly": whySandbox, "Service.PermissionsStartOnly": whyUser,
	"Unit.OnFailure*": whyAlert, "Unit.OnSuccess*": whyAlert, "Unit.FailureAction*": whyAlert, "Unit.SuccessAction*": whyAlert, "Unit.StartLimitAction": whyAlert, "Unit.RebootArgument": whyAlert,
	"Service.FailureAction": whyAlert, "Service.StartLimitAction": whyAlert, "Service.RebootArgument": whyAlert,
	"Unit.Condition*": whyCondition, "Unit.Assert*": whyCondition,
	"Unit.JobTimeout*": whyTime, "Unit.JobRunningTimeoutSec": whyTime,
	"Unit.DefaultDependencies": whyUnit, "Unit.IgnoreOnIsolate": whyUnit, "Unit.StopWhenUnneeded": whyUnit, "Unit.Refuse*": whyUnit,
	"Unit.AllowIsolate": whyUnit, "Unit.CollectMode": whyUnit, "Unit.SurviveFinalKillSignal": whyUnit,
	"Unit.Before":      "write after: into the definition of the other one, if that is a container here",
	"Unit.Conflicts":   "containers that exclude each other are for you to keep apart: enabled: false",
	"Unit.PartOf":      "use bindsTo: if the other one is a container here",
	"Unit.Propagates*": "reload and stop are for each container by itself", "Unit.ReloadPropagatedFrom": "reload and stop are for each container by itself",
	"Unit.StopPropagatedFrom": "reload and stop are for each container by itself", "Unit.JoinsNamespaceOf": "use network: container:NAME with rootfs:, or a namespace path in config.json",
	"Unit.Upholds": whyUnit, "Unit.RequiresMountsFor": "runcsup.service waits for local file systems; for others add the same to a drop-in of runcsup.service",
	"Install.Also": whyUnit, "Install.Alias": "a container has one name", "Install.RequiredBy": "nothing can require a single container; it starts with runcsup.service",
	"Install.UpheldBy": "it starts with runcsup.service, and is kept running", "Install.DefaultInstance": "a definition is one container",
}

// quiet are settings that say nothing about what runs.
var quiet = map[string]bool{
	"Unit.Description": true, "Unit.Documentation": true, "Unit.SourcePath": true, "Install.WantedBy": true, "Service.GuessMainPID": true,
	"Service.Type": true, "Service.RemainAfterExit": true, "Service.PIDFile": true, "Service.ExitType": true,
}

// reason says why a setting has no counterpart.
func reason(section, key string) string {
	full := section + "." + key
	if why, ok := reasons[full]; ok {
		return why
	}
	best := ""
	for pattern := range reasons {
		before, after, ok := strings.Cut(pattern, "*")
		if ok && len(full) >= len(before)+len(after) && strings.HasPrefix(full, before) && strings.HasSuffix(full, after) && len(pattern) > len(best) {
			best = pattern
		}
	}
	if best != "" {
		return reasons[best]
	}
	return "not known to this program"
}

// others notes every setting that nothing else has looked at.
func (u *unit) others(n *notes) {
	for _, a := range u.all {
		full := a.section + "." + a.key
		if u.used[full] || quiet[full] || strings.HasPrefix(a.section, "X-") || strings.HasPrefix(a.key, "X-") || a.value == "" {
			continue
		}
		n.lacks(a, "%s", reason(a.section, a.key))
	}
}
