package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("definition.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("definition.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asEditor reads YAML as an editor does: with a YAML library's own idea of types.
func asEditor(t *testing.T, src string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(src), &v); err != nil {
		t.Fatalf("%v\n%s", err, src)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// good are lines that can be added to small.
var good = []string{
	"", "env: {A: b, B: 1, C: 1.5, D: true, _e.f-g: ''}", "env: {}", "envFile: []", "envFile: [/a, /b]",
	"user: 0", "user: '1000:1000'", "user: app", "user: app:users", "workdir: /", "workdir: /a/..b/c", "readOnly: true", "readOnly: false",
	"hostname: a", "hostname: node-1.example.org",
	"mounts: []", "mounts: [{source: /a, target: /b}]", "mounts: [{type: bind, source: /a, target: /b, readOnly: true, options: [rbind, noexec]}]",
	"mounts: [{type: tmpfs, target: /tmp}]", "mounts: [{type: tmpfs, target: /tmp, size: 1024, mode: '755'}]",
	"mounts: [{source: /a, target: /b}, {source: /a, target: /b/c}]", "mounts: [{source: /a, target: /...}]",
	"secrets: [{source: /a, target: /b}]", "secrets: [{source: /a, target: /b, mode: '0440'}, {source: /a, target: /c, mode: '600'}]",
	"capabilities: {}", "capabilities: {add: [ALL]}", "capabilities: {add: [SYSLOG], drop: [ALL]}", "capabilities: {add: [ALL], drop: [MKNOD]}",
	"capabilities: {drop: [CAP_MKNOD, NET_RAW]}",
	"network: none", "network: host", "network: netns:/run/netns/a", "network: container:b",
	"resources: {}", "resources: {memory: 256MiB}", "resources: {memory: 268435456, cpus: 2, pids: 1}", "resources: {memory: 1.5 g}", "resources: {cpus: 0.01}",
	"rlimits: {}", "rlimits: {nofile: 1024}", "rlimits: {nofile: unlimited, core: {soft: 0, hard: 18446744073709551615}}",
	"oci: {}", "oci: {a: null, b: [1, {c: d}], linux: {}}",
	"type: simple", "ready: started", "ready: {on: started}", "ready: notify", "ready: {on: notify, timeout: 5m}", "ready: started\nhealth: {readiness: {tcp: {port: 1}}}",
	"ready: probe\nhealth: {startup: {tcp: {port: 1}}}", "ready: {on: probe}\nhealth: {readiness: {tcp: {port: 1}}}", "ready: {timeout: 5m}\nhealth: {readiness: {tcp: {port: 1}}}",
	"type: oneshot", "type: oneshot\nready: {timeout: 1h}", "type: oneshot\nrestart: no", "type: oneshot\nrestart: {policy: on-abnormal}", "type: oneshot\nrestart: {delay: 1s}",
	"after: [b]", "requires: [b, c.d-e_f]", "bindsTo: [b]", "requires: []", "after: [b]\nrequires: [b]\nbindsTo: [b]",
	"restart: no", "restart: on-failure", "restart: {}", "restart: {policy: on-abort, delay: 1s, maxDelay: 5min, steps: 9, jitter: 10%, resetAfter: 0s}",
	"restart: {jitter: 0.25}", "restart: {jitter: 100.0%}", "restart: {limit: {burst: 1}}", "restart: {limit: {burst: 5, interval: 1h 30min}}",
	"restart: {preventExitStatus: [0, 255, TERM, SIGKILL], forceExitStatus: [], successExitStatus: [RTMIN+3, SIGRTMAX]}",
	"stop: {}", "stop: {signal: QUIT}", "stop: {signal: SIGRTMIN+3, timeout: 0s}", "stop: {timeout: 2 minutes 3 seconds}",
	"health: {}", "health: {startup: {exec: [/bin/ready, 1], period: 2s, failures: 30}}", "health: {liveness: {tcp: {port: 1}, timeout: 1s, initialDelay: 0s, successes: 1, onFailure: restart}}",
	"health: {readiness: {tcp: {port: 65535, host: '::1'}, successes: 3}}", "health: {liveness: {http: {port: 1}}}",
	"health: {liveness: {http: {port: 1, path: '/a%20b?c=d', host: localhost, scheme: https, method: HEAD, headers: {Host: a.example, X-Key: 5}, status: 200-299}, onFailure: stop}}",
	"health: {liveness: {http: {port: 1, status: 204}}}", "health: {liveness: {grpc: {port: 1, host: 127.0.0.1, service: a.b.C}, onFailure: none}}", "health: {startup: {notify: true, timeout: 5m}}",
	"health: {startup: {notify: true}, liveness: {notify: true, timeout: 30s, initialDelay: 1m}, readiness: {notify: true}}",
	"log: file", "log: none", "log: journald", "log: {}", "log: {driver: none}", "log: {driver: journald}",
	"log: {maxSize: 1MiB}", "log: {maxSize: 20480, maxFiles: 1}", "log: {driver: file, maxFiles: 1000}", "enabled: false",
}

// bad are lines that spoil small, in ways that the schema sees too.
var bad = []string{
	"comand: [x]", "env: [A=b]", "env: {A: }", "env: {A: [b]}", "env: {'A=B': c}", "env: {'': c}", "env: {1A: c}", "env: A=b", "env:",
	"envFile: /a", "envFile: [a]", "envFile: [1]", "user: -1", "user: 4294967295", "user: 'a b'", "user: 'a:b:c'", "user: ''", "user: 1.5",
	"workdir: a", "workdir: /a/../b", "workdir: 5", "readOnly: 'true'", "readOnly: 1", "readOnly: yes", "hostname: -a", "hostname: a_b", "hostname: 5",
	"mounts: {}", "mounts: [/a:/b]", "mounts: [{source: /a}]", "mounts: [{target: /b}]", "mounts: [{source: a, target: /b}]", "mounts: [{source: /a, target: b}]",
	"mounts: [{source: /a, target: /}]", "mounts: [{source: /a, target: //}]", "mounts: [{source: /a, target: /./}]", "mounts: [{source: /a, target: /b/..}]",
	"mounts: [{type: nfs, source: /a, target: /b}]", "mounts: [{type: tmpfs, source: /a, target: /b}]", "mounts: [{source: /a, target: /b, size: 1M}]",
	"mounts: [{source: /a, target: /b, mode: '755'}]", "mounts: [{source: /a, target: /b, options: [ro]}]", "mounts: [{source: /a, target: /b, options: ['a,b']}]",
	"mounts: [{type: tmpfs, target: /b, size: 0}]", "mounts: [{type: tmpfs, target: /b, mode: 755}]", "mounts: [{type: tmpfs, target: /b, mode: '999'}]",
	"mounts: [{source: /a, target: /b, what: 1}]", "mounts: [~]",
	"secrets: [{source: /a}]", "secrets: [{target: /a}]", "secrets: [{source: /a, target: /b, mode: 400}]", "secrets: [{source: /a, target: /b, mode: '0000'}]",
	"secrets: [{source: /a, target: /b, mode: '4400'}]", "secrets: {source: /a, target: /b}",
	"capabilities: [ALL]", "capabilities: {add: ALL}", "capabilities: {add: [NET_RAWW]}", "capabilities: {add: [net_raw]}", "capabilities: {add: [CAP_ALL]}",
	"capabilities: {add: [MKNOD, MKNOD]}", "capabilities: {add: [ALL], drop: [ALL]}", "capabilities: {remove: []}",
	"network: bridge", "network: netns:a", "network: 'container:'", "network: 'container:a b'", "network: 'none:'", "network: [host]", "network: host:x",
	"resources: {memory: 1}", "resources: {memory: -5M}", "resources: {memory: lots}", "resources: {memory: 5X}", "resources: {memory: 5iB}", "resources: {memory: 1.5}",
	"resources: {cpus: 0}", "resources: {cpus: '2'}", "resources: {pids: 0}", "resources: {pids: -1}", "resources: {pids: 1.5}", "resources: {disk: 1}",
	"rlimits: {files: 1}", "rlimits: {nofile: -1}", "rlimits: {nofile: {soft: 1}}", "rlimits: {nofile: {soft: 1, hard: 2, x: 3}}", "rlimits: {nofile: max}", "rlimits: {RLIMIT_NOFILE: 1}",
	"oci: []", "oci: x", "type: forking",
	"type: oneshot\nrestart: always", "type: oneshot\nrestart: {policy: on-success}", "type: oneshot\nready: notify", "type: oneshot\nready: {on: started}",
	"after: b", "requires: [b, b]", "bindsTo: [-b]", "after: [5]", "requires: {b: c}", "ready: {}", "ready: {on: now}", "ready: true", "ready: [notify]",
	"ready: probe", "ready: {on: probe}", "ready: {on: probe}\nhealth: {liveness: {tcp: {port: 1}}}", "ready: {timeout: 5s}", "ready: {on: started, timeout: 5s}",
	"ready: {on: notify, timeout: 0s}", "ready: {on: notify, timeout: 5}",
	"restart: sometimes", "restart: unless-stopped", "restart: false", "restart: []", "restart: {delay: 15}", "restart: {delay: '15'}", "restart: {delay: -1s}",
	"restart: {delay: 1y}", "restart: {delay: soon}", "restart: {delay: s}", "restart: {steps: -1}", "restart: {steps: 1001}", "restart: {steps: many}", "restart: {jitter: 10}", "restart: {jitter: 101%}",
	"restart: {jitter: -0.1}", "restart: {jitter: '0.1'}", "restart: {limit: {}}", "restart: {limit: {interval: 1m}}", "restart: {limit: {burst: 0}}",
	"restart: {limit: {burst: 1, interval: 0s}}", "restart: {limit: 5}", "restart: {preventExitStatus: 3}", "restart: {preventExitStatus: [256]}",
	"restart: {preventExitStatus: ['3']}", "restart: {preventExitStatus: [SIGFOO]}", "restart: {preventExitStatus: [1, 1]}", "restart: {preventExitStatus: [true]}",
	"restart: {polcy: no}", "stop: 5s", "stop: {signal: 15}", "stop: {signal: term}", "stop: {signal: RTMIN+31}", "stop: {signal: RTMIN-1}", "stop: {timeout: 5}", "stop: {after: 5s}",
	"health: 5", "health: {alive: {}}", "health: {liveness: {}}", "health: {liveness: {period: 1s}}", "health: {liveness: {exec: [a], tcp: {port: 1}}}", "health: {liveness: {exec: a}}",
	"health: {liveness: {tcp: {}}}", "health: {liveness: {tcp: {port: 0}}}", "health: {liveness: {tcp: 80}}", "health: {liveness: {tcp: {port: 1, path: /}}}", "health: {liveness: {http: {port: 1, path: a}}}",
	"health: {liveness: {http: {port: 1, path: '/a b'}}}", "health: {liveness: {http: {port: 1, path: '/%zz'}}}", "health: {liveness: {http: {port: 1, scheme: HTTP}}}", "health: {liveness: {http: {port: 1, method: get}}}",
	"health: {liveness: {http: {port: 1, headers: [A]}}}", "health: {liveness: {http: {port: 1, headers: {'A B': c}}}}", "health: {liveness: {http: {port: 1, headers: {content-length: 1}}}}", "health: {liveness: {http: {port: 1, headers: {A: }}}}",
	"health: {liveness: {http: {port: 1, status: 600}}}", "health: {liveness: {http: {port: 1, status: ok}}}", "health: {liveness: {http: {port: 1, status: 200-}}}",
	"health: {liveness: {grpc: {service: a}}}", "health: {liveness: {notify: false}}", "health: {liveness: {notify: {}}}", "health: {liveness: {tcp: {port: 1}, successes: 2}}", "health: {startup: {tcp: {port: 1}, successes: 0}}",
	"health: {liveness: {tcp: {port: 1}, failures: 0}}", "health: {liveness: {tcp: {port: 1}, timeout: 0s}}", "health: {liveness: {tcp: {port: 1}, onFailure: kill}}", "health: {readiness: {tcp: {port: 1}, onFailure: none}}",
	"health: {liveness: {notify: true, period: 1s}}", "health: {startup: {notify: true, failures: 1}}", "health: {readiness: {notify: true, timeout: 1s}}", "health: {readiness: {notify: true, initialDelay: 1s}}",
	"log: syslog", "log: {driver: journald, maxFiles: 3}", "log: {maxSize: 20479}", "log: {maxFiles: 0}", "log: {maxFiles: 1001}", "log: {driver: none, maxFiles: 3}", "log: [file]", "enabled: no", "enabled: ~",
	"image: docker://docker.io/redis", "bundle: /b", "rootfs-archive: /a",
}

// Whole definitions, for the rules between top-level keys.
var goodWhole = []string{
	small, "rootfs-archive: /a\ncommand: [a]", "image: rootfs-archive:/a\ncommand: [a, 1, 1.5, true, '']", "bundle: /a",
	"bundle: /a\nhealth: {liveness: {tcp: {port: 1}}}", "bundle: /a\nenabled: false\nrestart: no\nstop: {}\nlog: none\nready: started\ntype: simple",
}

var badWhole = []string{
	"rootfs: /a", "command: [a]", "{}", "[]", "x", "5", "rootfs: a\ncommand: [a]", "rootfs: [/a]\ncommand: [a]", "rootfs: 5\ncommand: [a]", "rootfs: ''\ncommand: [a]",
	"rootfs: /a\ncommand: a b", "rootfs: /a\ncommand: []", "rootfs: /a\ncommand: ['']", "rootfs: /a\ncommand: [' ']", "rootfs: /a\ncommand: [a, ~]", "rootfs: /a\ncommand: [a, [b]]", "rootfs: /a\ncommand: [~]", "rootfs: /a\ncommand: [{a: b}]",
	"rootfs: /a\nrootfs-archive: /b\ncommand: [a]", "rootfs: /a\nbundle: /b\ncommand: [a]", "rootfs: /a\nbundle: /b", "image: rootfs-archive:/a\nbundle: /b", "rootfs: /a\nimage: rootfs-archive:/b\ncommand: [a]",
	"image: rootfs-archive:a\ncommand: [a]", "image: /a\ncommand: [a]", "image: oci:/a:b\ncommand: [a]", "image: docker-archive:/a\ncommand: [a]", "image: podman:/a\ncommand: [a]",
	small + "user: " + strings.Repeat("a", 257), "bundle: /" + strings.Repeat("a", 4095), "rootfs: /a\ncommand: [a]\nworkdir: /" + strings.Repeat("a", 4095), "bundle: a", "bundle: /a\ncommand: [a]", "bundle: /a\nenv: {}", "bundle: /a\nenvFile: []", "bundle: /a\nuser: a", "bundle: /a\nworkdir: /", "bundle: /a\nreadOnly: false",
	"bundle: /a\nhostname: a", "bundle: /a\nmounts: []", "bundle: /a\nsecrets: []", "bundle: /a\ncapabilities: {}", "bundle: /a\nnetwork: host", "bundle: /a\nresources: {}",
	"bundle: /a\nrlimits: {}", "bundle: /a\noci: {}",
}

// schemaCannotKnow is what only the parser refuses, as docs/definition.md says.
var schemaCannotKnow = []string{
	// comparing two values
	small + "restart: {delay: 10s, maxDelay: 5s}", small + "restart: {steps: 0, maxDelay: 1h}", small + "restart: {delay: 0s, steps: 3}", small + "restart: {delay: 10m, steps: 3}",
	small + "rlimits: {nofile: {soft: 2, hard: 1}}", small + "capabilities: {add: [MKNOD], drop: [CAP_MKNOD]}", small + "capabilities: {add: [MKNOD, CAP_MKNOD]}",
	small + "restart: {preventExitStatus: [1], forceExitStatus: [1]}", small + "restart: {preventExitStatus: [TERM, SIGTERM]}",
	small + "mounts: [{source: /a, target: /b}, {source: /c, target: /b/}]", small + "mounts: [{source: /a, target: /b/c}, {source: /c, target: /b}]",
	small + "mounts: [{source: /a, target: /b}]\nsecrets: [{source: /c, target: /b}]", small + "secrets: [{source: /a, target: /b}, {source: /c, target: /b/c}]",
	// numbers within text
	small + "resources: {memory: 1MiB}", small + "resources: {memory: 9000000000000p}", small + "restart: {delay: 366d}", small + "user: '4294967295'",
	small + "mounts: [{type: tmpfs, target: /b, size: 0k}]", small + "health: {liveness: {tcp: {port: 1}, period: 99ms}}",
	small + "health: {liveness: {http: {port: 1, status: 300-200}}}", small + "health: {liveness: {tcp: {port: 1, host: 999.1.1.1}}}",
	small + "health: {liveness: {http: {port: 1, headers: {A: b, a: c}}}}",
	// the file's name
	small + "network: container:a", small + "after: [a]",
	// integers written as 5.0
	small + "restart: {steps: 5.0}",
}

func TestSchemaAgreesWithParser(t *testing.T) {
	s := compileSchema(t)
	check := func(src string, parser, schema bool) {
		t.Helper()
		_, err := Parse("a.yaml", []byte(src))
		if (err == nil) != parser {
			t.Errorf("parser: accepted %v\n%s\n%v", err == nil, src, err)
		}
		if serr := s.Validate(asEditor(t, src)); (serr == nil) != schema {
			t.Errorf("schema: accepted %v\n%s\n%v", serr == nil, src, serr)
		}
	}
	for _, line := range good {
		check(small+line+"\n", true, true)
	}
	for _, line := range bad {
		check(small+line+"\n", false, false)
	}
	for _, src := range goodWhole {
		check(src, true, true)
	}
	for _, src := range badWhole {
		check(src, false, false)
	}
	for _, src := range schemaCannotKnow {
		check(src, false, true)
	}
}

// tables is every mapping of the format: what the parser knows in it.
var tables = map[string][]string{
	"":                  keyNames(definitionKeys),
	"mounts[]":          keyNames(mountKeys),
	"secrets[]":         keyNames(secretKeys),
	"capabilities":      keyNames(capabilityKeys),
	"resources":         keyNames(resourceKeys),
	"rlimits":           rlimitNames,
	"rlimits.*":         keyNames(rlimitKeys),
	"ready":             keyNames(readyKeys),
	"restart":           keyNames(restartKeys),
	"restart.limit":     keyNames(limitKeys),
	"stop":              keyNames(stopKeys),
	"log":               keyNames(logKeys),
	"health":            keyNames(healthKeys),
	"health.probe":      keyNames(probeKeys),
	"health.probe.http": keyNames(httpKeys),
	"health.probe.tcp":  keyNames(tcpKeys),
	"health.probe.grpc": keyNames(grpcKeys),
}

// Every key of the parser is in the schema, and the other way round.
func TestSchemaHasTheParsersKeys(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	var walk func(path string, s any)
	walk = func(path string, s any) {
		m, ok := s.(map[string]any)
		if !ok {
			return
		}
		if ref, ok := m["$ref"].(string); ok {
			walk(path, root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")])
		}
		if choices, ok := m["anyOf"].([]any); ok {
			for _, one := range choices {
				walk(path, one)
			}
		}
		walk(path+"[]", m["items"])
		if m["additionalProperties"] != false {
			return
		}
		props := m["properties"].(map[string]any)
		found[path] = slices.Sorted(maps.Keys(props))
		for name, sub := range props {
			switch path {
			case "":
				walk(name, sub)
			case "health":
				walk("health.probe", sub)
			case "rlimits":
				walk("rlimits.*", sub)
			default:
				walk(path+"."+name, sub)
			}
		}
	}
	walk("", root)
	for path, names := range tables {
		if want := slices.Sorted(slices.Values(names)); !slices.Equal(found[path], want) {
			t.Errorf("%q: the schema has %v, the parser %v", path, found[path], want)
		}
	}
	for path := range found {
		if tables[path] == nil {
			t.Errorf("%q: in the schema only", path)
		}
	}
}

// Every key has a place in the reference, and so has every word that a value can be.
func TestDocumentation(t *testing.T) {
	for file, lists := range map[string][][]string{
		"../../docs/definition.md": append(slices.Collect(maps.Values(tables)), restartModes, logDrivers, readyOn, imageSchemeNames, onFailures, methods),
		"../../docs/settings.md":   {keyNames(settingsKeys)},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range lists {
			for _, word := range list {
				if !strings.Contains(string(text), "`"+word+"`") && !strings.Contains(string(text), "`"+word+":") {
					t.Errorf("%s: %q is not documented", file, word)
				}
			}
		}
	}
}

func TestSchemaIsACopy(t *testing.T) {
	Schema()[0] = 'x'
	if !json.Valid(Schema()) {
		t.Error("callers can change the schema")
	}
}
