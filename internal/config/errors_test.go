package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// at is the expected place and message of a problem.
type at struct {
	line, column int
	msg          string
}

func problemsOf(t *testing.T, file, src string) Errors {
	t.Helper()
	d, err := Parse(file, []byte(src))
	if err == nil {
		t.Fatalf("accepted:\n%.2000s", src)
	}
	var all Errors
	if !errors.As(err, &all) || d != nil {
		t.Fatalf("got %T and a definition %v", err, d)
	}
	return all
}

func TestErrorInFull(t *testing.T) {
	src := "rootfs: /srv/npd\nenv:\n  TZ: UTC\nrestart: no\n\n\n  # here\ncomand: [/bin/npd]\n"
	got := problemsOf(t, "containers.d/npd.yaml", src).Error()
	want := `containers.d/npd.yaml:8:1: unknown key "comand", did you mean "command"?
   8 | comand: [/bin/npd]
     | ^`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAllProblemsInOrderOfLines(t *testing.T) {
	src := "restart: {delay: 15, polcy: no}\nrootfs: srv\ncommand: run it\nuser: {}\nhealth: {livenes: {tcp: {port: 80}}}\n"
	err := error(problemsOf(t, "npd.yaml", src))
	want := `npd.yaml:1:18: "restart.delay" must be a duration like 15s, 5m or 1h30m, not "15"
   1 | restart: {delay: 15, polcy: no}
     |                  ^
hint: a duration needs a unit: 15s
npd.yaml:1:22: unknown key "polcy" in "restart", did you mean "policy"?
   1 | restart: {delay: 15, polcy: no}
     |                      ^
npd.yaml:2:9: "rootfs" must be an absolute path, not "srv"
   2 | rootfs: srv
     |         ^
npd.yaml:3:10: "command" must be a list, not text
   3 | command: run it
     |          ^
hint: write a list, e.g. [/bin/sh, -c, "…"]
npd.yaml:4:7: "user" must be a user like app, app:group, 1000 or "1000:1000", not a mapping
   4 | user: {}
     |       ^
npd.yaml:5:10: unknown key "livenes" in "health", did you mean "liveness"?
   5 | health: {livenes: {tcp: {port: 80}}}
     |          ^`
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
	var first *Error
	if !errors.As(err, &first) || first.Line != 1 || first.Column != 18 || first.File != "npd.yaml" {
		t.Errorf("errors.As gave %+v", first)
	}
	if s := asErrors(t, err).Summary(); s != `npd.yaml:1:18: "restart.delay" must be a duration like 15s, 5m or 1h30m, not "15" (and 5 more)` {
		t.Errorf("summary: %s", s)
	}
}

// Each is the only problem of its file.
func TestProblems(t *testing.T) {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for _, tt := range []struct {
		name, src string
		want      at
	}{
		{"empty", "", at{0, 0, "the file is empty"}},
		{"only comments", "# nothing\n\n---\n# here\n", at{0, 0, "the file is empty"}},
		{"too large", strings.Repeat("#\n", 1<<19+1), at{0, 0, "the file is larger than 1 MiB"}},
		{"latin-1", "a: b\nc: d\xe9\n", at{2, 5, "byte 0xe9 is not valid UTF-8"}},
		{"utf-16", "\xff\xfea\x00", at{1, 1, "byte 0xff is not valid UTF-8"}},
		{"binary", "a: \x00\n", at{1, 4, "control character U+0000 in the text"}},
		{"escape sequence", "a: b\n\x1b[31m: c\n", at{2, 1, "control character U+001B in the text"}},
		{"old mac", "a: b\rc: d\n", at{1, 5, "a carriage return alone does not end a line"}},
		{"two documents", small + "---\n" + small, at{3, 1, "more than one YAML document in the file"}},
		{"text after the end", small + "...\nuser: a\n", at{4, 1, "text after the end of the YAML document"}},
		{"anchor", small + "env: &e {A: b}\n", at{3, 6, "anchors (&name) are not supported"}},
		{"alias", small + "env: *e\n", at{3, 6, "aliases (*name) are not supported"}},
		{"alias bomb", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", at{1, 4, "anchors (&name) are not supported"}},
		{"merge", small + "env: {<<: {A: b}}\n", at{3, 7, "merge keys (<<) are not supported"}},
		{"tag", small + "user: !!str 5\n", at{3, 7, "tags (!name) are not supported"}},
		{"complex key", small + "? user\n: 5\n", at{3, 1, "keys marked with ? are not supported"}},
		{"directive", "%YAML 1.2\n---\n" + small, at{1, 1, "directives (%) are not supported"}},
		{"deep flow", small + "oci: {a: " + deep + "}\n", at{3, 73, "lists and mappings nest deeper than 64"}},
		{"deep dashes", "a:\n  " + strings.Repeat("- ", 100) + "x\n", at{2, 131, "lists and mappings nest deeper than 64"}},
		{"too many tokens", "a: [" + strings.Repeat("x,", 20000) + "]\n", at{0, 0, "the file is too complex: more than 20000 YAML tokens"}},
		{"tab indentation", "restart:\n\tdelay: 5s\n", at{2, 1, "tab in the indentation"}},
		{"tab after spaces", "restart:\n  delay: 5s\n \tsteps: 3\n", at{3, 2, "tab in the indentation"}},
		{"tab after colon", "rootfs:\t/a\ncommand: [a]\n", at{1, 8, "tab outside of quotes"}},
		{"tab in text", "rootfs: /a\ncommand: [a, b\tc]\n", at{2, 15, "tab outside of quotes"}},
		{"tab in flow", "rootfs: /a\ncommand: [\n\ta]\n", at{3, 1, "tab in the indentation"}},
		{"text over lines", small + "user: a\n  b\n", at{3, 7, "unquoted text goes on in the next line"}},
		{"missing colon", "rootfs: /a\nreadOnly true\ncommand: [a]\n", at{2, 1, `there is no "key: value" here`}},
		{"empty item", "mounts:\n- \nrootfs: /a\ncommand: [a]\n", at{3, 1, "this belongs to nothing"}},
		{"tag at the end", small + "user: !x", at{3, 7, "this part of the file cannot be read as YAML"}},
		{"text after quotes", small + "user: \"a\"!", at{3, 10, "this part of the file cannot be read as YAML"}},
		{"two texts", small + "user: 'a' 'b'\n", at{3, 11, "this does not fit here"}},
		{"bad escape", small + "user: \"\\x y\"\n", at{3, 7, "this part of the file cannot be read as YAML"}},
		{"no head", small + "user: |0\n  a\n", at{3, 7, "this is no head of block text"}},
		{"indicator", small + "user: ]a\n", at{3, 7, `could not find '[' character corresponding to ']'`}},
		{"comma at the start", small + "user: ,a\n", at{3, 7, `unquoted text cannot begin with ","`}},
		{"percent", small + "user: %a\n", at{3, 7, "directives (%) are not supported"}},
		{"brackets", "rootfs: /a\ncommand: {a b]}\n", at{2, 11, `unquoted text cannot contain one of , [ ] { } here`}},
		{"comma", "rootfs: /a\ncommand: [, a]\n", at{2, 11, "there is nothing before the comma"}},
		{"colon below", "rootfs: /a\ncommand: [a]\nuser\n: b\n", at{4, 1, "a colon needs its key before it"}},
		{"dash in brackets", "rootfs: /a\ncommand: [- a]\n", at{2, 11, `"-" cannot stand between brackets`}},
		{"block key", small + "env:\n- |\n:\n", at{4, 3, "block text cannot be a key"}},
		{"open quote", small + "user: \"a\n", at{3, 7, "could not find end character of double-quoted text"}},
		{"open bracket", "rootfs: /a\ncommand: [a, b\n", at{2, 10, "sequence end token ']' not found"}},
		{"cut off", "rootfs: /a\ncommand: [a]\nrestart: {delay: 5s", at{3, 10, "could not find flow mapping end token '}'"}},
		{"colon in text", small + "user: a: b\n", at{3, 7, "mapping value is not allowed in this context"}},
		{"list", "- a\n", at{1, 1, "a definition must be a mapping, not a list"}},
		{"text", "hello\n", at{1, 1, "a definition must be a mapping, not text"}},

		{"duplicate key", small + "user: a\nreadOnly: true\nuser: b\n", at{5, 1, `key "user" is there twice, first on line 3`}},
		{"nested duplicate", small + "env:\n  A: b\n  C: d\n  A: e\n", at{6, 3, `key "A" is there twice, first on line 4`}},
		{"duplicate in quotes", small + "env: {A: b, \"A\": c}\n", at{3, 13, `key "A" is there twice, first on line 3`}},
		{"unknown key", small + "frobnicate: 1\n", at{3, 1, `unknown key "frobnicate"`}},
		{"other case", small + "ReadOnly: true\n", at{3, 1, `unknown key "ReadOnly", did you mean "readOnly"?`}},
		{"compose's word", small + "environment: {A: b}\n", at{3, 1, `unknown key "environment", did you mean "env"?`}},
		{"kubernetes' word", small + "livenessProbe: {}\n", at{3, 1, `unknown key "livenessProbe", did you mean "health"?`}},
		{"unknown nested key", small + "stop:\n  grace: 5s\n", at{4, 3, `unknown key "grace" in "stop"`}},
		{"no value", small + "restart:\nuser: a\n", at{3, 1, `"restart" has no value`}},
		{"null", small + "user: ~\n", at{3, 1, `"user" has no value`}},

		{"no source", "command: [a]\n", at{1, 1, "the definition has no source"}},
		{"no command", "# x\nrootfs: /a\n", at{2, 1, `the definition has no "command"`}},
		{"misspelled source", "rotfs: /a\ncommand: [a]\n", at{1, 1, `unknown key "rotfs", did you mean "rootfs"?`}},
		{"two sources", small + "bundle: /b\n", at{3, 1, `"bundle" and "rootfs" exclude each other: a container has one source`}},
		{"bundle and command", "bundle: /b\ncommand: [a]\n", at{2, 1, `"command" does not go with "bundle": a ready bundle is used as it is`}},
		{"bundle and network", "network: host\nbundle: /b\n", at{1, 1, `"network" does not go with "bundle": a ready bundle is used as it is`}},

		{"command as text", "rootfs: /a\ncommand: /bin/sh\n", at{2, 10, `"command" must be a list, not text`}},
		{"mapping in command", "rootfs: /a\ncommand:\n  - echo\n  - a: b\n", at{4, 5, `"command[1]" must be text or a number, not a mapping`}},
		{"null in command", "rootfs: /a\ncommand: [a, ]\n" + "user: [b, ~]\n", at{3, 7, `"user" must be a user like app, app:group, 1000 or "1000:1000", not a list`}},
		{"env list", small + "env:\n  - A=b\n", at{4, 3, `"env" must be a mapping, not a list`}},
		{"env null", small + "env:\n  A:\n", at{4, 3, `"env.A" has no value`}},
		{"env mapping", small + "env:\n  A: {b: c}\n", at{4, 6, `"env.A" must be text or a number, not a mapping`}},
		{"env name", small + "env: {A=B: c}\n", at{3, 7, `"A" is not the name of an environment variable`}},
		{"env NUL", small + "env: {A: \"b\\0c\"}\n", at{3, 10, `"env.A" contains a NUL character`}},
		{"envFile as text", small + "envFile: /etc/a.env\n", at{3, 10, `"envFile" must be a list, not text`}},
		{"relative envFile", small + "envFile:\n- /a\n- b\n", at{5, 3, `"envFile[1]" must be an absolute path, not "b"`}},
		{"number as text", small + "hostname: 42\n", at{3, 11, `"hostname" must be a host name, not a number`}},
		{"octal user", small + "user: 0100\n", at{3, 7, `"user" must be a user like app, app:group, 1000 or "1000:1000", not a number`}},
		{"big user", small + "user: '1:4294967295'\n", at{3, 7, `"user": there is no id "4294967295"`}},
		{"newline in path", small + "workdir: |\n  /a\n", at{3, 10, `"workdir" contains a newline or another control character`}},
		{"boolean", small + "readOnly: yes\n", at{3, 11, `"readOnly" must be true or false, not "yes"`}},

		{"own network", small + "network: container:npd\n", at{3, 10, `"network": a container cannot join its own network`}},
		{"no such network", small + "network: bridge\n", at{3, 10, `"network" must be none, host, netns:/path or container:NAME, not "bridge"`}},
		{"capability", small + "capabilities:\n  add:\n    - CAP_SYSLOK\n", at{5, 7, `"capabilities.add[0]": unknown capability "CAP_SYSLOK", did you mean "CAP_SYSLOG"?`}},
		{"small capability", small + "capabilities: {drop: [mknod]}\n", at{3, 23, `"capabilities.drop[0]": unknown capability "mknod", did you mean "CAP_MKNOD"?`}},
		{"added and dropped", small + "capabilities: {add: [MKNOD], drop: [CAP_MKNOD]}\n", at{3, 22, "CAP_MKNOD is both added and dropped"}},
		{"memory without unit", small + "resources: {memory: 256}\n", at{3, 21, `"resources.memory" must be at least 3MiB, not "256"`}},
		{"cpus", small + "resources: {cpus: 500m}\n", at{3, 19, `"resources.cpus" must be a number from 0.01 to 8192, not "500m"`}},
		{"soft above hard", small + "rlimits: {nofile: {soft: 2, hard: 1}}\n", at{3, 26, `"rlimits.nofile.soft" is above the hard limit`}},
		{"half a limit", small + "rlimits: {nofile: {hard: 1}}\n", at{3, 19, `"rlimits.nofile" has no "soft"`}},
		{"oci number", small + "oci: {a: {b: [0x10]}}\n", at{3, 15, `"oci.a.b[0]": programs disagree about the number "0x10"`}},
		{"oci large number", small + "oci: {a: 99999999999999999999}\n", at{3, 10, `"oci.a" does not fit into 64 bits: "99999999999999999999"`}},

		{"short mount", small + "mounts:\n  - /a:/b:ro\n", at{4, 5, `"mounts[0]" must be a mapping, not text`}},
		{"relative target", small + "mounts: [{source: /a, target: b}]\n", at{3, 31, `"mounts[0].target" must be an absolute path in the container, not "b"`}},
		{"dots in target", small + "mounts: [{source: /a, target: /b/../c}]\n", at{3, 31, `"mounts[0].target" must not contain "..": "/b/../c"`}},
		{"mount twice", small + "mounts:\n- {source: /a, target: /b}\n- {source: /c, target: /b/}\n", at{5, 24, `"mounts[1].target": "/b" is the target of "mounts[0]" already`}},
		{"hiding mount", small + "mounts:\n- {source: /a, target: /b/c/d}\n- {source: /c, target: /b}\n", at{5, 24, `"mounts[1].target": "/b" would hide "mounts[0]" at "/b/c/d"`}},
		{"secret over mount", small + "mounts: [{source: /a, target: /b}]\nsecrets: [{source: /c, target: /b}]\n", at{4, 32, `"secrets[0].target": "/b" is the target of "mounts[0]" already`}},
		{"secret above mount", small + "mounts: [{source: /a, target: /b/c}]\nsecrets: [{source: /c, target: /b}]\n", at{4, 32, `"secrets[0].target": "/b" would hide "mounts[0]" at "/b/c"`}},
		{"in a secret", small + "secrets: [{source: /c, target: /b}, {source: /c, target: /b/c}]\n", at{3, 58, `"secrets[1].target": "/b/c" is inside "secrets[0]", which is a file`}},
		{"tmpfs with source", small + "mounts: [{type: tmpfs, source: /a, target: /b}]\n", at{3, 32, `"mounts[0].source": a tmpfs has no source`}},
		{"bind with size", small + "mounts: [{source: /a, target: /b, size: 1M}]\n", at{3, 41, `"mounts[0].size" is for a tmpfs only`}},
		{"ro option", small + "mounts: [{source: /a, target: /b, options: [ro]}]\n", at{3, 45, `"mounts[0].options[0]": "ro" has a key of its own`}},
		{"mode without quotes", small + "secrets: [{source: /a, target: /b, mode: 0400}]\n", at{3, 42, `"secrets[0].mode" must be octal permissions in quotes, like "0400"`}},

		{"duration without unit", small + "stop: {timeout: 10}\n", at{3, 17, `"stop.timeout" must be a duration like 15s, 5m or 1h30m, not "10"`}},
		{"long duration", small + "stop: {timeout: 9999999999999999999999h}\n", at{3, 17, `"stop.timeout" is longer than 365 days: "9999999999999999999999h"`}},
		{"maxDelay", small + "restart: {delay: 10s, maxDelay: 5s}\n", at{3, 33, `"restart.maxDelay" is shorter than the delay of 10s`}},
		{"steps without growth", small + "restart: {delay: 10s, maxDelay: 10s, steps: 3}\n", at{3, 45, `"restart.steps": the delay cannot grow, since it is 10s at most`}},
		{"growth without steps", small + "restart: {maxDelay: 1h, steps: 0}\n", at{3, 21, `"restart.maxDelay" is never reached with steps: 0`}},
		{"steps from nothing", small + "restart: {delay: 0s, steps: 3}\n", at{3, 29, `"restart.steps": a delay of 0s cannot grow`}},
		{"interval alone", small + "restart: {limit: {interval: 1m}}\n", at{3, 18, `"restart.limit" has no "burst"`}},
		{"restart false", small + "restart: false\n", at{3, 10, `"restart" must be always, on-failure, on-success, on-abnormal, on-abort or no, not false`}},
		{"prevented and forced", small + "restart: {preventExitStatus: [SIGTERM], forceExitStatus: [1, TERM]}\n", at{3, 62, `"restart.forceExitStatus[1]": TERM is in "restart.preventExitStatus" too`}},
		{"signal", small + "stop: {signal: sigterm}\n", at{3, 16, `"stop.signal": unknown signal "sigterm", did you mean "TERM"?`}},
		{"signal number", small + "stop: {signal: 15}\n", at{3, 16, `"stop.signal" must be the name of a signal like TERM, not a number`}},
		{"exit code", small + "restart: {successExitStatus: [300]}\n", at{3, 31, `"restart.successExitStatus[0]" must be a whole number from 0 to 255, not "300"`}},

		{"image", "image: docker-archive:/srv/npd.tar\ncommand: [a]\n", at{1, 1, `"image: docker-archive:" is not supported yet`}},
		{"image from a registry", "command: [a]\nimage: docker://ghcr.io/a@sha256:" + strings.Repeat("0f", 32) + "\n", at{2, 1, `"image: docker:" is not supported yet`}},
		{"image without digest", "command: [a]\nimage: docker://ghcr.io/a:latest\n", at{2, 8, `"image" must name registry, image and digest: "docker://ghcr.io/a:latest"`}},
		{"image scheme", "command: [a]\nimage: docker-archiv:/a\n", at{2, 8, `"image" must be SCHEME:REFERENCE, not "docker-archiv:/a", did you mean "docker-archive"?`}},
		{"requires itself", small + "requires: [redis, npd]\n", at{3, 19, `"requires[1]": a container cannot depend on itself`}},
		{"after twice", small + "after: [redis, redis]\n", at{3, 16, `"after[1]": redis is there twice`}},
		{"bindsTo name", small + "bindsTo: [-redis]\n", at{3, 11, `"bindsTo[0]" is not the name of a container: "-redis"`}},
		{"oneshot for ever", small + "type: oneshot\nrestart: always\n", at{4, 10, `"restart" cannot be always with type: oneshot, which is done when it has ended with success`}},
		{"oneshot after success", small + "type: oneshot\nrestart: {policy: on-success}\n", at{4, 19, `"restart.policy" cannot be on-success with type: oneshot, which is done when it has ended with success`}},
		{"oneshot on notify", small + "type: oneshot\nready: {on: notify}\n", at{4, 13, `"ready.on": a one-shot container is ready when it has ended with success`}},
		{"ready on probe", small + "ready:\n  on: probe\n", at{4, 7, `"ready.on": there is no probe that could tell`}},
		{"ready on liveness", small + "ready: probe\nhealth: {liveness: {tcp: {port: 1}}}\n", at{3, 8, `"ready": there is no probe that could tell`}},
		{"ready when started, in time", small + "ready: {on: started, timeout: 5s}\n", at{3, 22, `"ready.timeout" means nothing here: a container that is ready when it is started cannot be late`}},
		{"ready on nothing", small + "ready: {}\n", at{3, 8, `"ready" has no "on"`}},
		{"log driver", small + "log: journal\n", at{3, 6, `"log" must be file, journald or none, not "journal"`}},
		{"maxSize", small + "log: {maxSize: 10KiB}\n", at{3, 16, `"log.maxSize" must be at least 20KiB, not "10KiB"`}},
		{"maxFiles", small + "log: {driver: file, maxFiles: 0}\n", at{3, 31, `"log.maxFiles" must be a whole number from 1 to 1000, not "0"`}},
		{"maxSize of journald", small + "log: {driver: journald, maxSize: 1MiB}\n", at{3, 34, `"log.maxSize" is for the driver file only`}},
		{"maxFiles of none", small + "log: {driver: none, maxFiles: 5}\n", at{3, 31, `"log.maxFiles" is for the driver file only`}},
		{"health with two probes", small + "health:\n  liveness: {exec: [/a], tcp: {port: 1}}\n", at{4, 13, `"health.liveness" needs one of exec, http, tcp, grpc and notify`}},
		{"health without a probe", small + "health:\n  liveness: {period: 5s}\n", at{4, 13, `"health.liveness" needs one of exec, http, tcp, grpc and notify`}},
		{"health without a port", small + "health:\n  liveness: {http: {path: /}}\n", at{4, 20, `"health.liveness.http" has no "port"`}},
		{"health with a host's name", small + "health: {liveness: {tcp: {port: 1, host: db.example}}}\n", at{3, 42, `"health.liveness.tcp.host" must be an IP address or localhost, not "db.example"`}},
		{"health with half a path", small + "health: {liveness: {http: {port: 1, path: healthz}}}\n", at{3, 43, `"health.liveness.http.path" must begin with /, not "healthz"`}},
		{"health with no path", small + "health: {liveness: {http: {port: 1, path: /a b}}}\n", at{3, 43, `"health.liveness.http.path" is not the path of a request: "/a b"`}},
		{"health with no status", small + "health: {liveness: {http: {port: 1, status: 2xx}}}\n", at{3, 45, `"health.liveness.http.status" must be an HTTP status like 200 or a range like 200-399, not "2xx"`}},
		{"health with an empty range", small + "health: {liveness: {http: {port: 1, status: 399-200}}}\n", at{3, 45, `"health.liveness.http.status": no status is in the range 399-200`}},
		{"health with a header that is none", small + "health: {liveness: {http: {port: 1, headers: {'a b': c}}}}\n", at{3, 47, `"health.liveness.http.headers": "a b" is not the name of a header`}},
		{"health with a header twice", small + "health: {liveness: {http: {port: 1, headers: {Abc: c, abc: d}}}}\n", at{3, 55, `"health.liveness.http.headers": Abc is there twice`}},
		{"health with a header of two lines", small + "health: {liveness: {http: {port: 1, headers: {Abc: \"c\\nd\"}}}}\n", at{3, 52, `"health.liveness.http.headers.Abc" contains a newline or another control character`}},
		{"health with many successes", small + "health: {liveness: {tcp: {port: 1}, successes: 2}}\n", at{3, 48, `"health.liveness.successes" must be 1: the first success counts, as for Kubernetes`}},
		{"health that follows from readiness", small + "health: {readiness: {tcp: {port: 1}, onFailure: stop}}\n", at{3, 38, `"health.readiness.onFailure" means nothing here: a readiness probe reports, and has no other consequence`}},
		{"health with a period of notify", small + "health: {liveness: {notify: true, period: 5s}}\n", at{3, 35, `"health.liveness.period" means nothing here: the container tells by itself, nobody asks it`}},
		{"health too often", small + "health: {liveness: {tcp: {port: 1}, period: 10ms}}\n", at{3, 45, `"health.liveness.period" must be at least 100ms`}},
		{"health with a bad port", small + "health: {readiness: {tcp: {port: 70000}}}\n", at{3, 34, `"health.readiness.tcp.port" must be a whole number from 1 to 65535, not "70000"`}},
		{"health with unknown probe", small + "health: {livenes: {}}\n", at{3, 10, `unknown key "livenes" in "health", did you mean "liveness"?`}},
	} {
		got := problemsOf(t, "npd.yaml", tt.src)
		if len(got) != 1 {
			t.Errorf("%s: %d problems:\n%v", tt.name, len(got), got)
			continue
		}
		if (at{got[0].Line, got[0].Column, got[0].Msg}) != tt.want {
			t.Errorf("%s:\ngot  %s\nwant npd.yaml:%d:%d: %s", tt.name, got[0].Summary(), tt.want.line, tt.want.column, tt.want.msg)
		}
		if (got[0].Excerpt == "") != (tt.want.line == 0) && !strings.Contains(tt.name, "utf") && !strings.Contains(got[0].Msg, "UTF-8") &&
			!strings.Contains(got[0].Msg, "control character U") && !strings.Contains(got[0].Msg, "carriage") {
			t.Errorf("%s: excerpt %q", tt.name, got[0].Excerpt)
		}
	}
}

func TestHints(t *testing.T) {
	for src, want := range map[string]string{
		small + "stop: {timeout: 10}\n":                               "a duration needs a unit: 10s",
		small + "stop: {timeout: '10'}\n":                             "a duration needs a unit: 10s",
		small + "stop: {signal: 9}\n":                                 "write KILL",
		small + "hostname: 42\n":                                      `put it in quotes: "42"`,
		small + "restart: false\n":                                    "write no",
		small + "restart: on-failur\n":                                "write on-failure",
		small + "readOnly: on\n":                                      "write true",
		small + "restart: {jitter: 10}\n":                             "write 10%",
		small + "resources: {pids: '5'}\n":                            "remove the quotes",
		small + "resources: {memory: 256}\n":                          "a number without a unit is bytes; write 256MiB for mebibytes",
		small + "envFile: /a.env\n":                                   "write a list: [/a.env]",
		small + "mounts: [/a:/b:ro]\n":                                "write {source: /a, target: /b, readOnly: true}",
		small + "mounts: [{source: /a, target: /b, options: [rw]}]\n": "use readOnly: instead",
		small + "network: hosst\n":                                    "did you mean host?",
		"rootfs: /a\ncommand: sleep 5\n":                              `write a list, e.g. [/bin/sh, -c, "…"]`,
		"rootfs: /a\ncommand: /bin/app\n":                             "write a list: [/bin/app]",
		"rootfs:\n\t/a\n":                                             "indent with spaces",
	} {
		if got := problemsOf(t, "npd.yaml", src)[0].Hint; got != want {
			t.Errorf("%s\ngot  %q\nwant %q", src, got, want)
		}
	}
}

func TestFileNames(t *testing.T) {
	for file, want := range map[string]string{
		"/etc/npd.yml":                    "the name of a definition must end in .yaml",
		"npd.YAML":                        "the name of a definition must end in .yaml",
		"npd":                             "the name of a definition must end in .yaml",
		"npd.json":                        "the name of a definition must end in .yaml",
		"my container.yaml":               `the file's name gives no name for a container: "my container"`,
		".yaml":                           `the file's name gives no name for a container: ""`,
		"-a.yaml":                         `the file's name gives no name for a container: "-a"`,
		strings.Repeat("a", 65) + ".yaml": `the file's name gives no name for a container: "` + strings.Repeat("a", 60) + `…"`,
		"/etc/containers.d/../é.yaml":     `the file's name gives no name for a container: "é"`,
	} {
		all := problemsOf(t, file, small)
		if all[0].Msg != want || all[0].File != file || all[0].Hint == "" {
			t.Errorf("%s: %v", file, all)
		}
	}
	for file, want := range map[string]string{
		"a.yaml": "a", "/x/y/redis-1.2_b.yaml": "redis-1.2_b", strings.Repeat("a", 64) + ".yaml": strings.Repeat("a", 64), "0.yaml": "0",
	} {
		if d := mustParse(t, file, small); d.Name != want || d.Bundle.Name != want {
			t.Errorf("%s: name %q, %q", file, d.Name, d.Bundle.Name)
		}
	}
}

// The caret stands under the column also after wide and tabbed text, and long lines are cut around it.
func TestExcerpts(t *testing.T) {
	got := problemsOf(t, "a.yaml", "rootfs: /a\ncommand: [\"é\t\", ~]\n")[0]
	if want := "   2 | command: [\"é\t\", ~]\n     |             \t   ^"; got.Excerpt != want {
		t.Errorf("got\n%s\nwant\n%s", got.Excerpt, want)
	}
	long := "rootfs: /a\ncommand: [" + strings.Repeat("aaaaaaaaa,", 1000) + " ~, " + strings.Repeat("b,", 1000) + "]\n"
	got = problemsOf(t, "a.yaml", long)[0]
	lines := strings.Split(got.Excerpt, "\n")
	column := strings.Index(lines[1], "^") - strings.Index(lines[1], "| ")
	text := []rune(lines[0])
	if got.Column != 10012 || len(text) > 140 || text[strings.Index(lines[0], "| ")+column] != '~' {
		t.Errorf("column %d\n%s", got.Column, got.Excerpt)
	}
	many := problemsOf(t, "a.yaml", small+"env: ["+strings.Repeat("a, ", 10)+"]\nenvFile: ["+strings.Repeat("a, ", 100)+"]\n")
	if text := many.Error(); len(many) != 101 || !strings.HasSuffix(text, "\na.yaml: and 81 more") {
		t.Errorf("%d problems, text ends %q", len(many), text[len(text)-40:])
	}
}

// Values of env may be secrets, and errors go into logs.
func TestErrorsDoNotShowValuesOfEnv(t *testing.T) {
	for _, src := range []string{
		small + "env:\n  PASSWORD: [hunter2]\n",
		small + "env:\n  PASSWORD: \"hunter2\n",
		small + "env: {PASSWORD: hunter2, B: [c]}\n",
		small + "env:\n  - PASSWORD=hunter2\n",
		small + "env:\n- PASSWORD=hunter2\n",
		small + "env: PASSWORD=hunter2\n",
		small + "env:\n  A: b\n  A: hunter2\n",
		small + "env:\n  # x\n\n  PASSWORD: a: hunter2\n",
		small + "environment: {PASSWORD: hunter2}\n",
		"{rootfs: /a, command: [a], env: {PASSWORD: hunter2}, user: []}",
		small + "\"env\":\n  PASSWORD: {a: hunter2}\n",
		small + "env:\n  PASSWORD: |hunter2\n    x\n",
		small + "env: {PASSWORD=hunter2}\n",
		small + "env: {PASSWORD: hunter2 x]}\n",
		small + "env:\n  PASSWORD: hunter2\n   x\n",
		small + "env:\n  PASSWORD: hunter2:\n",
		small + "env:\n  PASSWORD: >hunter2\n",
		small + "env:\n  PASSWORD: hunter2\tx\n",
		small + "env: {PASSWORD: \"hunter2\\0\"}\n",
		small + "health:\n  liveness:\n    http:\n      port: 1\n      headers:\n        # x\n        Authorization: \"hunter2\\n\"\n",
		small + "health: {liveness: {http: {port: 1, headers: {'Au th': hunter2}}}}\n",
		small + "health:\n  liveness:\n    http: {port: x, headers: {A: hunter2}}\n",
	} {
		text := problemsOf(t, "a.yaml", src).Error()
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s\n%s", src, text)
		}
	}
}

// Hostile files are refused in seconds at most: without a limit, the YAML library takes a minute for 100000 brackets.
func TestNoInputTakesLong(t *testing.T) {
	const mib = 1 << 20
	fill := func(s string) string { return strings.Repeat(s, mib/4/len(s)) }
	long := `"` + strings.Repeat("x", mib*3/4) + `"`
	for name, src := range map[string]string{
		"brackets":                fill("["),
		"braces":                  fill("{a: "),
		"dashes":                  fill("- "),
		"questions":               fill("? "),
		"quotes":                  fill("'"),
		"empty texts":             fill(`""`),
		"keys":                    fill("a: "),
		"lines of keys":           fill("a:\n"),
		"blocks":                  fill("a: |\n x\n"),
		"anchors":                 fill("&a "),
		"comments":                fill("#\n"),
		"one text":                small + "user: " + fill("x"),
		"many tokens in one line": small + "env: {A: " + long + strings.Repeat(", b:", 5000) + "}\n",
		"many errors in one line": small + "envFile: [" + long + strings.Repeat(", b", 9000) + "]\n",
		"many unknown keys":       small + "stop:\n" + manyKeys(6000),
		"many lines of errors":    small + "envFile:\n" + strings.Repeat("- b\n", 9000),
		"deep target":             small + "mounts: [{type: tmpfs, target: " + strings.Repeat("/a", mib/3) + "}]\n",
		"many deep targets":       small + "mounts:\n" + strings.Repeat("- {type: tmpfs, target: "+strings.Repeat("/a", 100)+"}\n", 1500),
		"long duration":           small + "stop: {timeout: " + strings.Repeat("1w", mib/3) + "}\n",
		"deep keys":               deepKeys(),
	} {
		start := time.Now()
		all := problemsOf(t, "a.yaml", src)
		if text := all.Error(); len(text) > 20000 {
			t.Errorf("%s: an error of %d bytes", name, len(text))
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: took %v", name, took)
		} else {
			t.Logf("%-25s %v %s", name, took, all[0].Msg[:min(len(all[0].Msg), 80)])
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  unknown%d: 1\n", i)
	}
	return b.String()
}

func deepKeys() string {
	var b strings.Builder
	b.WriteString(small + "oci:\n")
	for i := 1; i < 1000; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func asErrors(t *testing.T, err error) Errors {
	t.Helper()
	all, ok := errors.AsType[Errors](err)
	if !ok {
		t.Fatalf("not of type Errors: %v", err)
	}
	return all
}
