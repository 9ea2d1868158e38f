# litefence: what can be made, with what it needs. Nothing here has to be set up
# before; `make test` and `make demo` install or name what is missing.

SHELL := /bin/bash
GO    ?= go
BIN   := bin

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.buildVersion=$(VERSION)

# Debian package for every program that tests and demo call.
DEPS := gcc:gcc fusermount3:fuse3 iptables:iptables ip:iproute2 python3:python3 sqlite3:sqlite3 strace:strace
# For the status page's tests alone; without it they are skipped, and say so.
BROWSER := chromium:chromium

.PHONY: all build release test test-docker torture stress faults screenshots demo lint bench clean deps browser go \
	image image-base image-clean docker-demo

all: build

build: go $(BIN)/litefence $(BIN)/litefs

# Go's own cache knows what changed; the binary is always asked for anew.
.PHONY: $(BIN)/litefence
$(BIN)/litefence: go
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/litefence

# The LiteFS that tests and demo run against. Its version stands in
# test/litefs/go.mod and nowhere else. It needs cgo.
$(BIN)/litefs: test/litefs/go.mod test/litefs/go.sum | go
	CGO_ENABLED=1 $(GO) build -C test/litefs -o ../../$@ github.com/superfly/litefs/cmd/litefs
	@touch $@

# The rqlite that the bench compares with; its version stands in test/rqlite/go.mod.
# It compiles for minutes, so that nothing but the bench asks for it.
$(BIN)/rqlited: test/rqlite/go.mod test/rqlite/go.sum | go
	CGO_ENABLED=1 $(GO) build -C test/rqlite -o ../../$@ github.com/rqlite/rqlite/v8/cmd/rqlited
	@touch $@

# Static binaries for amd64 and arm64, archives, SBOMs, checksums: bin/release, of
# the commit that is checked out. Some minutes: it builds twice and compares.
release: go
	GO='$(GO)' .ci/release '$(VERSION)' '$(CURDIR)/$(BIN)/release'

# -race: always. -count=1: never a cached answer, half of it is the machine.
# -p 1: packages one after the other, because timing is measured. What measures
# none goes two at a time; the clusters of quorum, which mostly wait, four.
test: deps browser lint build
	$(GO) test -race -count=1 -p 1 -parallel 2 -timeout 20m $$($(GO) list ./... | grep -v '/quorum$$')
	$(GO) test -race -count=1 -parallel 4 -timeout 10m ./quorum
	$(GO) test -race -count=1 -p 1 -tags litefence_unsafe -run '^TestUnsafe' ./quorum ./cmd/litefence
	$(GO) test -C test/promrules -count=1 ./...
	$(GO) test -C test/kubernetes -count=1 ./...
	CGO_ENABLED=0 $(GO) test -C deploy/compose/app -trimpath -count=1 ./...
	$(GO) test -C test/page -race -count=1 -timeout 10m
	@if docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory test-docker; \
	else echo "make: NO DOCKER ENGINE ANSWERS: the container tests (make test-docker) are skipped"; fi

# Three containers of the image, cut off from each other, stopped, killed.
test-docker: deps image
	LITEFENCE_IMAGE=litefence-notes:dev $(GO) test -count=1 -timeout 10m -v ./test/docker

# Rounds of faults from a seed on clusters of real nodes, what happened there
# checked, and the checkers checked with a litefence that lacks a rule. Writes
# bin/torture/torture.html, and MD where it is given. CLOCK=1 steps this machine's
# clock too, by up to two minutes and back. ROUNDS=200 takes three quarters of an
# hour, half of that with PARALLEL=2.
ROUNDS ?= 20
SEED   ?= 1
MD     ?=
torture: deps build $(BIN)/litefence-unsafe
	$(GO) build -o $(BIN)/torture.test ./test/torture
	$(BIN)/torture.test -rounds $(ROUNDS) -seed $(SEED) -unsafe $(BIN)/litefence-unsafe -md "$(MD)" $(if $(PARALLEL),-parallel $(PARALLEL)) $(if $(CLOCK),-clock) $(TORTUREFLAGS)

# litefence with switches that take a rule away: for tests, never for use.
.PHONY: $(BIN)/litefence-unsafe
$(BIN)/litefence-unsafe: go
	$(GO) build -trimpath -tags litefence_unsafe -o $@ ./cmd/litefence

# The stress that `make test` has for some seconds, TIME for each journal mode.
# STRESSSEED repeats the choices of a run whose seed was printed.
TIME ?= 10m
stress: deps build
	FUSEFS_STRESS=$(TIME) FUSEFS_DIFFERENTIAL=$(TIME) FUSEFS_SEED=$(STRESSSEED) LONG=1 $(GO) test -race -count=1 -p 1 -timeout 0 -v \
		-run '^(TestStress|TestTorture|TestReplicaStress|TestDifferential|TestDifferentialOnAReplica|TestRolesUnderLoad|TestPartition|TestPartitionOneWay|TestFaults|TestLargeIndexOutlivesRoles|TestWipedReplica|TestConfirmByQuorum|TestCheckOnARunningCluster|TestCheckIsSilentOnOtherKinds)$$' ./fusefs ./test

# Every fault at every timing, some quarter of an hour; writes docs/faults.md.
# Without the race detector: times are measured.
faults: deps build
	FAULTS=all LITEFENCE_TEST_BIN=$(CURDIR)/$(BIN)/litefence $(GO) test -count=1 -timeout 0 -v -run '^TestFaults$$' ./test

# docs/img/page-*.png: the status page of real nodes. They look as in docs where
# Debian's fonts-inter is installed.
screenshots: deps browser build
	PAGE_SCREENSHOTS=$(CURDIR)/docs/img LITEFENCE_TEST_BIN=$(CURDIR)/$(BIN)/litefence \
		$(GO) test -C test/page -count=1 -timeout 10m -v -run '^TestPageOfRealNodes$$'

demo: deps build
	./$(BIN)/litefence demo -litefs $(BIN)/litefs $(DEMOFLAGS)

# litefence:dev, and litefence-notes:dev for deploy/compose. The Dockerfile's images
# are pulled; where that is impossible, image-base stands in for them.
image:
	deploy/image/build.sh '$(VERSION)' '$(REVISION)'
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)

# litefence-base, a Debian from this machine's package mirror, or MIRROR=.
image-base:
	@$(MAKE) --no-print-directory deps DEPS=debootstrap:debootstrap
	deploy/image/base.sh litefence-base

image-clean:
	docker image rm -f litefence:dev litefence-notes:dev litefence-base

# The application of deploy/compose, for an image that is built from bin/.
.PHONY: $(BIN)/notes
$(BIN)/notes: go
	CGO_ENABLED=0 $(GO) build -C deploy/compose/app -trimpath -o ../../../$@ .

# Three containers, a partition, what happens: deploy/compose/README.md.
docker-demo: image
	deploy/compose/demo.sh

lint: go
	@bad="$$(gofmt -l cmd deploy fusefs policy quorum test)"; \
	if [ -n "$$bad" ]; then echo "gofmt: run gofmt -w on:" $$bad; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags litefence_unsafe ./...
	$(GO) vet -C test/page .
	$(GO) vet -C deploy/compose/app .

# bindfs and rqlite are comparisons only: without them the bench goes on.
# BENCHFLAGS='-commits ""' leaves small commits, and -only ^commit all but those, out.
bench: deps build
	@$(MAKE) --no-print-directory $(BIN)/rqlited || echo "bench: without rqlite"
	@$(MAKE) --no-print-directory deps DEPS=bindfs:bindfs || echo "bench: without bindfs"
	$(GO) run ./test/bench -litefence $(BIN)/litefence -litefs $(BIN)/litefs -rqlite $(BIN)/rqlited $(BENCHFLAGS)

browser:
	@$(MAKE) --no-print-directory deps DEPS='$(BROWSER)' || echo "make: without chromium the status page is not tested"

clean:
	rm -rf $(BIN)

go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install the version that go.mod names, then run make again"; exit 1; }

deps: go
	@missing=""; \
	for d in $(DEPS); do command -v "$${d%%:*}" >/dev/null || PATH="$$PATH:/usr/sbin:/sbin" command -v "$${d%%:*}" >/dev/null || missing="$$missing $${d##*:}"; done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing:$$missing"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing; } >/dev/null || \
		{ echo "could not install:$$missing"; exit 1; }; \
	else echo "missing:$$missing (install these Debian packages, then run make again)"; exit 1; fi
