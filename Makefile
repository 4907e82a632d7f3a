# make help lists the targets. `make test` is the whole judgement on a fresh Debian with Go, as root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

GO      ?= $(shell command -v go || echo /usr/local/go/bin/go)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null)
# Of the packages; - is derived from the git tag.
PACKAGE_VERSION ?= -
PREFIX  ?= /usr
DESTDIR ?=

# Seconds that every fuzz target runs, and the longest that one of the test steps may take.
FUZZTIME ?= 5s
TIMEOUT  ?= 8m
# How many random schedules the supervisor's properties are tried with.
SCHEDULES ?= 5000

# A checkout that belongs to another user must not stop a build: the version comes from git describe above.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
# The race detector is built by cgo; without a C compiler the tests run without it.
RACE = $(shell echo '\#include <stdlib.h>' | gcc -E -x c - >/dev/null 2>&1 && echo -race)
# For the scripts in tools/, and for the tests of the binary.
export GO
export RUNCSUP_BINARY := $(CURDIR)/runcsup

# The linter is built from tools/, a module of its own so that its dependencies are none of the program's. Its file name
# holds everything that decides its content: the pinned modules and the compiler (it refuses code newer than itself).
LINT := .cache/bin/golangci-lint-$(shell { cat tools/go.mod tools/go.sum; $(GO) version; } 2>/dev/null | sha256sum | cut -c1-12)

.PHONY: build
build: ## the static binary ./runcsup
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)' -o runcsup ./cmd/runcsup

.PHONY: test
test: ## everything: installs what is missing, then vet, lint, unit, fuzz, e2e; needs root
	@tools/steps deps build vet lint unit fuzz packages e2e

.PHONY: deps
deps: ## install the Debian packages that the tests use, where they are missing
	tools/debian-packages runc crun redis-server busybox-static zstd jq curl procps systemd dbus util-linux lintian rpm prometheus tmux openssl postgresql

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...
	$(GO) vet -tags man,hang ./cmd/runcsup ./internal/daemon

.PHONY: lint
lint: $(LINT) ## golangci-lint, the pinned version
	$(LINT) run ./...

$(LINT):
	rm -f .cache/bin/golangci-lint-*
	cd tools && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: unit
unit: ## unit and property tests, under the race detector where there is a C compiler; needs root
	CGO_ENABLED=$(if $(RACE),1,0) $(GO) test $(RACE) -count=1 -shuffle=on -timeout $(TIMEOUT) $$($(GO) list ./... | grep -v '/e2e\(/\|$$\)')
	$(GO) test -count=1 -timeout $(TIMEOUT) -run 'TestRandomSchedules|TestMachineInvariants' ./supervisor -rapid.checks=$(SCHEDULES)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (5s)
	tools/fuzz $(FUZZTIME)

.PHONY: e2e
e2e: build ## tests of the built binary with real runtimes; needs root
	$(GO) test -count=1 -timeout $(TIMEOUT) ./e2e/...

.PHONY: test-vm
test-vm: build ## tests in an emulated machine with Linux 6.1 and pure cgroup v2, which is reset meanwhile; 20 minutes
	tools/test-vm ./runcsup

.PHONY: packages
packages: build ## dist/*.deb and dist/*.rpm
	rm -rf dist
	tools/packages ./runcsup $(PACKAGE_VERSION) dist

.PHONY: bench
bench: build ## ratios to bare runc, and to podman; needs root
	tools/debian-packages podman conmon
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 20m ./e2e/...

.PHONY: demo
demo: build ## a daemon with a few containers in temporary directories, until Ctrl-C; needs root
	@tools/debian-packages runc
	@./runcsup demo

.PHONY: install
install: build ## the binary and all that belongs to it, under DESTDIR and PREFIX
	tools/install ./runcsup '$(DESTDIR)' '$(PREFIX)'

.PHONY: clean
clean: ## what the targets above made in this directory
	rm -rf runcsup dist .cache

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "%-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
