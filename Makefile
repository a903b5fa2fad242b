# make check is what CI runs; the other targets are pieces of it, or longer runs.
GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 30s
BENCH    ?= .
BENCHPKG ?= ./...

.PHONY: check build test race netns crash bench fuzz fmt clean

check: ## everything CI checks
	.ci/run

build: ## bin/peerdex
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/peerdex ./cmd/peerdex

test:
	$(GO) test ./...

race:
	$(GO) test -race -shuffle=on -short ./...

netns: ## needs root; the other targets leave these tests out without it
	$(GO) test -v -count=1 ./test/netns

crash: ## crashes, kills, power cuts and flipped bits in full; needs root for the cuts
	PEERDEX_LONG=1 $(GO) test -v -count=1 -timeout 60m -run 'TestEveryStep|TestKill|TestPowerCut|TestFlippedBits' ./store

bench: ## BENCH=regexp BENCHPKG=./store
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(BENCHPKG)

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
	  for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go 2>/dev/null | cut -d' ' -f2); do \
	    echo "== $$dir $$target"; \
	    (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .); \
	  done; \
	done

fmt:
	gofmt -w $$(git ls-files '*.go')

clean:
	rm -rf bin
