package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// capabilityNames are those of capabilities(7), by number.
var capabilityNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// defaultCapabilities are docker's.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

const allCapabilities = "ALL"

func checkCapability(name string) error {
	if slices.Contains(capabilityNames, name) {
		return nil
	}
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "CAP_") {
		full = "CAP_" + full
	}
	if slices.Contains(capabilityNames, full) {
		return fmt.Errorf("unknown capability %q, did you mean %q?", name, full)
	}
	return fmt.Errorf("unknown capability %q", name)
}

// set returns the capabilities of a container, sorted. ALL counts before single names, and Drop before Add.
func (c Capabilities) set(host Host) ([]string, error) {
	set := map[string]bool{}
	for _, name := range defaultCapabilities {
		set[name] = true
	}
	if slices.Contains(c.Drop, allCapabilities) {
		clear(set)
	}
	if slices.Contains(c.Add, allCapabilities) {
		for _, name := range capabilityNames[:min(host.LastCap+1, len(capabilityNames))] {
			set[name] = true
		}
	}
	for _, part := range []struct {
		key   string
		names []string
		keep  bool
	}{{"drop", c.Drop, false}, {"add", c.Add, true}} {
		for i, name := range part.names {
			if name == allCapabilities {
				continue
			}
			if err := checkCapability(name); err != nil {
				return nil, fmt.Errorf("capabilities.%s[%d]: %w", part.key, i, err)
			}
			set[name] = part.keep
		}
	}
	names := []string{}
	for name, keep := range set {
		if keep {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
