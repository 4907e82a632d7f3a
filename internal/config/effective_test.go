package config

import (
	"encoding/json"
	"strings"
	"testing"
)

// What is shown has every default, and no value of env.
func TestEffective(t *testing.T) {
	d, err := Parse("npd.yaml", []byte(`rootfs: /srv/npd
command: [/npd]
env: {TOKEN: s3cret}
rlimits: {nofile: unlimited}
restart: {preventExitStatus: [3, TERM]}
health:
  liveness: {http: {port: 80, headers: {Authorization: Bearer s3cret}}}
  startup: {notify: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	data, err := d.Effective()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "s3cret") {
		t.Errorf("a secret is shown: %s", data)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"restart.policy": `"always"`, "restart.delay": `"15s"`, "restart.maxDelay": `"5m"`, "restart.steps": `5`,
		"restart.jitter": `"10%"`, "restart.resetAfter": `"10m"`, "restart.limit": `null`,
		"restart.preventExitStatus": `[3,"TERM"]`, "stop.signal": `"TERM"`, "stop.timeout": `"10s"`, "network": `"none"`,
		"user": `"0:0"`, "workdir": `"/"`, "enabled": `true`, "log.driver": `"file"`, "env": `["TOKEN"]`,
		"health.liveness.http.headers": `["Authorization"]`, "health.liveness.http.status": `"200-399"`, "health.liveness.period": `"10s"`,
		"health.liveness.onFailure": `"restart"`, "health.startup.notify": `true`, "health.startup.timeout": `"1m30s"`,
		"rlimits.nofile.soft": `"unlimited"`, "readOnly": `false`, "command": `["/npd"]`,
	} {
		value := any(got)
		for key := range strings.SplitSeq(path, ".") {
			value = value.(map[string]any)[key]
		}
		if text, err := json.Marshal(value); err != nil || string(text) != want {
			t.Errorf("%s is %s, want %s", path, text, want)
		}
	}
}
