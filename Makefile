# AnyHSM: `make help` lists the targets. `make quickstart` and `make test` install what they need on Debian 12.

BUILD   := build
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
VERSION_FLAG := -X github.com/anyhsm/anyhsm/internal/version.Version=$(VERSION)
GO_SOURCES = $(shell git ls-files '*.go' | grep -v '\.pb\.go$$')
FUZZTIME ?= 20s
CHAOS_TIME ?= 4m

.PHONY: help build install-packages quickstart quickstart-stop test test-chaos bench bench-cost bench-page check fuzz generate tools clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the module, the daemon and the CLI into build/
	go build -trimpath -ldflags '$(VERSION_FLAG)' -o $(BUILD)/anyhsmd ./daemon
	go build -trimpath -ldflags '$(VERSION_FLAG)' -o $(BUILD)/anyhsm ./cmd/anyhsm
	go build -trimpath -tags grpcnotrace -buildmode=c-shared -o $(BUILD)/anyhsm-pkcs11.so \
		-ldflags '-s -w $(VERSION_FLAG) -extldflags=-Wl,--version-script=$(CURDIR)/p11module/exports.map' ./p11module
	@rm -f $(BUILD)/anyhsm-pkcs11.h

install-packages: ## Install the Debian packages that tests and quickstart use
	@scripts/install-packages.sh

quickstart: ## A daemon, a key, a certificate and nginx serving HTTPS from it, in one go
	@scripts/install-packages.sh quickstart
	@$(MAKE) --no-print-directory build
	@scripts/quickstart.sh start

quickstart-stop: ## End what quickstart started
	@scripts/quickstart.sh stop

test: install-packages build ## Run everything: units, hosts, real applications
	go test -timeout 20m ./...
	@# The daemon's suites again on PostgreSQL, but for what is about the file and the lock of SQLite.
	ANYHSM_TEST_STORE=postgres go test -timeout 20m -skip '^(TestDamagedStoreAndWrongRootKey|TestSecondDaemonIsRefused)$$' ./daemon/internal/keyservice ./daemon

test-chaos: install-packages build ## Break replicas, networks, database for CHAOS_TIME (4m); CHAOS_SEED repeats
	CHAOS_TIME=$(CHAOS_TIME) go test -v -count=1 -timeout 30m -run 'TestChaos|TestFullDisk|TestEndpoints' ./softhsm-tests/chaos

bench: bench-driver ## Measure SoftHSM, p11-kit's remote and ours against each other (BENCH='-help' lists options)
	go run ./softhsm-tests/bench -build $(BUILD) $(BENCH)

bench-cost: bench-driver ## What module and daemon take at rest, with many connections, with many objects
	go run ./softhsm-tests/bench -build $(BUILD) -parts cost $(BENCH)

bench-page: bench-driver ## Measure everything and write the tables and the plot of docs/performance.md
	go run ./softhsm-tests/bench -build $(BUILD) -json docs/performance.json -write docs/performance.md $(BENCH)
	go run -C softhsm-tests/bench/plot . -in $(CURDIR)/docs/performance.json -out $(CURDIR)/docs/performance.png

.PHONY: bench-driver
bench-driver: build
	@scripts/install-packages.sh
	$(CC) -O2 -std=gnu11 -Wall -Wextra -Iinclude -o $(BUILD)/bench-driver softhsm-tests/bench/driver/*.c -ldl -lpthread

check: tools ## Formatting, vet, staticcheck, buf lint, generated code, clean tree
	@scripts/check.sh

fuzz: ## Fuzz each parser for FUZZTIME (20s)
	@scripts/fuzz.sh $(FUZZTIME)

generate: tools ## Write generated code anew
	cd proto && PATH="$(CURDIR)/tools/bin:$$PATH" buf generate
	go generate ./...

tools: tools/bin/stamp

tools/bin/stamp: tools/go.mod tools/go.sum
	@mkdir -p tools/bin
	cd tools && go build -o bin/ tool
	@touch $@

clean: ## Remove what was built
	rm -rf $(BUILD) tools/bin
