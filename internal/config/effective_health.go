package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/runcsup/runcsup/health"
)

func effectiveHealth(h *health.Probes) map[string]any {
	out := map[string]any{}
	for _, role := range health.Roles {
		if p := h.Get(role); p != nil {
			out[string(role)] = effectiveProbe(role, p)
		}
	}
	return out
}

func effectiveProbe(role health.Role, p *health.Probe) map[string]any {
	out := map[string]any{string(p.Kind()): effectiveQuestion(p)}
	if !p.Notify {
		out["period"], out["failures"], out["successes"] = shortDuration(p.Period), p.Failures, p.Successes
	}
	if p.Timeout > 0 {
		out["timeout"], out["initialDelay"] = shortDuration(p.Timeout), shortDuration(p.InitialDelay)
	}
	if role != health.RoleReadiness {
		out["onFailure"] = p.OnFailure
	}
	return out
}

// effectiveQuestion has the names of headers alone, for the same reason as env.
func effectiveQuestion(p *health.Probe) any {
	switch p.Kind() {
	case health.KindExec:
		return p.Exec
	case health.KindHTTP:
		h := p.HTTP
		return map[string]any{
			"port": h.Port, "path": orDefault(h.Path, "/"), "host": orDefault(h.Host, "localhost"), "scheme": orDefault(h.Scheme, "http"),
			"method": orDefault(h.Method, "GET"), "headers": slices.Sorted(maps.Keys(h.Headers)), "status": effectiveStatusRange(h),
		}
	case health.KindTCP:
		return map[string]any{"port": p.TCP.Port, "host": orDefault(p.TCP.Host, "localhost")}
	case health.KindGRPC:
		return map[string]any{"port": p.GRPC.Port, "host": orDefault(p.GRPC.Host, "localhost"), "service": p.GRPC.Service}
	}
	return true
}

func effectiveStatusRange(h *health.HTTP) string {
	least, most := h.MinStatus, h.MaxStatus
	if least == 0 {
		least, most = health.DefaultMinStatus, health.DefaultMaxStatus
	}
	return fmt.Sprintf("%d-%d", least, most)
}
