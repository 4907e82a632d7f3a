package config

import (
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/runcsup/runcsup/health"
)

func TestHealth(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		text string
		want *health.Probes
	}{
		{"{}", nil},
		// Kubernetes' defaults.
		{"{liveness: {tcp: {port: 80}}}", &health.Probes{Liveness: &health.Probe{
			TCP: &health.TCP{Port: 80}, Period: 10 * s, Timeout: s, Failures: 3, Successes: 1, OnFailure: health.ActionRestart}}},
		{"{readiness: {exec: [/bin/ready, 5, true], successes: 2}}", &health.Probes{Readiness: &health.Probe{
			Exec: []string{"/bin/ready", "5", "true"}, Period: 10 * s, Timeout: s, Failures: 3, Successes: 2}}},
		{"{startup: {grpc: {port: 1, service: a.B, host: '::1'}, initialDelay: 3s, period: 2s, timeout: 5s, failures: 30, onFailure: stop}}",
			&health.Probes{Startup: &health.Probe{GRPC: &health.GRPC{Port: 1, Service: "a.B", Host: "::1"},
				InitialDelay: 3 * s, Period: 2 * s, Timeout: 5 * s, Failures: 30, Successes: 1, OnFailure: health.ActionStop}}},
		{"{liveness: {http: {port: 8443, path: '/a?b', scheme: https, method: HEAD, headers: {host: a.example, X-Number: 5}, status: 200-299}, onFailure: none}}",
			&health.Probes{Liveness: &health.Probe{HTTP: &health.HTTP{Port: 8443, Path: "/a?b", Scheme: "https", Method: "HEAD",
				Headers: http.Header{"Host": {"a.example"}, "X-Number": {"5"}}, MinStatus: 200, MaxStatus: 299},
				Period: 10 * s, Timeout: s, Failures: 3, Successes: 1, OnFailure: health.ActionNone}}},
		{"{liveness: {http: {port: 1, status: 204}}}", &health.Probes{Liveness: &health.Probe{HTTP: &health.HTTP{Port: 1, MinStatus: 204, MaxStatus: 204},
			Period: 10 * s, Timeout: s, Failures: 3, Successes: 1, OnFailure: health.ActionRestart}}},
		// systemd's.
		{"{startup: {notify: true}, liveness: {notify: true}, readiness: {notify: true}}", &health.Probes{
			Startup:   &health.Probe{Notify: true, Timeout: 90 * s, Failures: 1, Successes: 1, OnFailure: health.ActionRestart},
			Liveness:  &health.Probe{Notify: true, Timeout: 30 * s, Failures: 1, Successes: 1, OnFailure: health.ActionRestart},
			Readiness: &health.Probe{Notify: true, Failures: 1, Successes: 1}}},
		{"{liveness: {notify: true, timeout: 5s, initialDelay: 1s}}", &health.Probes{
			Liveness: &health.Probe{Notify: true, InitialDelay: s, Timeout: 5 * s, Failures: 1, Successes: 1, OnFailure: health.ActionRestart}}},
	} {
		if got := mustParse(t, "a.yaml", small+"health: "+tt.text+"\n").Health; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v", tt.text, got)
		}
	}
}
