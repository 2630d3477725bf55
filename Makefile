# Everything starts here: `make` lists what there is. The work is done by cargo and by the scripts of scripts/.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# A major that was asked for is tested alone; without one, the default is tested and then the second.
SECOND_PG := 17
ifeq ($(origin PG),undefined)
  ALSO_SECOND := test-second
endif
PG ?= 15
PG_CONFIG ?= $(shell scripts/pg-config.sh $(PG))
export CARGO_TARGET_DIR := $(shell realpath -m -- "$${CARGO_TARGET_DIR:-target}")
export PATH := $(PATH):$(HOME)/.cargo/bin

# One build folder a major: going from one to another and back builds nothing again.
BUILD := $(CARGO_TARGET_DIR)/pg$(PG)
LIBRARY := $(BUILD)/release/libpg_telemetry.so
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
PACKAGES := $(CARGO_TARGET_DIR)/package
PACKAGE := pg_telemetry-$(VERSION)-pg$(PG)

# Everything in release: one set of artefacts, and what is tested is what is shipped.
FEATURES := --release --locked --no-default-features --features pg$(PG)
EXTENSION_CARGO = PGRX_PG_CONFIG_PATH="$(PG_CONFIG)" CARGO_TARGET_DIR="$(BUILD)" cargo

# The tests upgrade a cluster from this major, where it is installed as well and not the one under test.
OLD_PG := 15
OLD_PG_CONFIG := $(if $(filter-out $(OLD_PG),$(PG)),$(shell scripts/pg-config.sh --complete $(OLD_PG)))
OLD_TREE := $(if $(OLD_PG_CONFIG),old-tree)

# The library with places at which tests can have something go wrong: built and installed beside the other, never packaged.
FAULT_BUILD := $(BUILD)-faults

# What tests, benches and demo are told about the private trees.
SERVER_ENV = run_dir=$$(scripts/run-dir.sh); \
	export PG_TELEMETRY_RUN_DIR="$$run_dir" PG_TELEMETRY_BINDIR="$$run_dir/pg$(PG)/bin" \
		PG_TELEMETRY_OLD_BINDIR="$(if $(OLD_TREE),$$run_dir/pg$(OLD_PG)/bin)" \
		PG_TELEMETRY_FAULT_BINDIR="$$run_dir/pg$(PG)-faults/bin";

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "PG=17 make … takes another installed major than $(PG). CARGO_TARGET_DIR is where everything is built."

# --- building ---------------------------------------------------------------------------------------------------

.PHONY: prerequisites
prerequisites: ## install what is missing: PostgreSQL, its headers, libclang, a C compiler
	@scripts/prerequisites.sh "$(PG)" "$(PG_CONFIG)"

.PHONY: build
build: prerequisites ## the extension, release build
	$(EXTENSION_CARGO) build $(FEATURES)

.PHONY: folder
folder: build
	@scripts/package.sh "$(LIBRARY)" "$(PACKAGES)/$(PACKAGE)"

.PHONY: package
package: folder ## a folder and a tar.gz with lib/ and extension/, ready to copy
	@cd "$(PACKAGES)" && tar --sort=name --owner=0 --group=0 --numeric-owner -czf "$(PACKAGE).tar.gz" "$(PACKAGE)"
	@echo "$(PACKAGES)/$(PACKAGE).tar.gz"

.PHONY: install
install: folder ## into the PostgreSQL of this machine, with sudo where needed (DESTDIR for packagers)
	@scripts/system-install.sh "$(PG_CONFIG)" "$(PACKAGES)/$(PACKAGE)"

.PHONY: tree
tree: folder
	@run_dir=$$(scripts/run-dir.sh); scripts/private-install.sh "$(PG_CONFIG)" "$$run_dir/pg$(PG)" "$(PACKAGES)/$(PACKAGE)"

# --- checking ---------------------------------------------------------------------------------------------------

.PHONY: test
test: lint test-unit test-cluster $(ALSO_SECOND) ## all that CI checks: lint, unit and cluster tests, on PostgreSQL 15 and 17

.PHONY: lint
lint: prerequisites ## formatting, clippy with warnings denied, shellcheck where it is installed
	@scripts/prerequisites.sh "$(PG)" "$(PG_CONFIG)" fmt clippy
	cargo fmt --all --check
	$(EXTENSION_CARGO) clippy --workspace --all-targets $(FEATURES) -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; fi

.PHONY: test-unit
test-unit: prerequisites ## tests of the pure code
	$(EXTENSION_CARGO) test --lib $(FEATURES) -- $(TEST)
	cargo test -p bench --release --locked -- $(TEST)

.PHONY: test-programs
test-programs: prerequisites
	@scripts/test-programs.sh "$(PG)" "$(PG_CONFIG)"

.PHONY: test-cluster
test-cluster: test-programs tree fault-tree $(OLD_TREE) ## tests on real clusters (TEST=name for some of them)
	@$(SERVER_ENV) cargo test -p cluster-tests --release --locked --no-fail-fast -- $(TEST)

# What it depends on is the same and need not be built a second time.
.PHONY: fault-tree
fault-tree: build
	@[ -d "$(FAULT_BUILD)" ] || { mkdir "$(FAULT_BUILD).new" && cp -a --reflink=auto "$(BUILD)/release" "$(FAULT_BUILD).new/" \
		&& mv "$(FAULT_BUILD).new" "$(FAULT_BUILD)"; }
	PGRX_PG_CONFIG_PATH="$(PG_CONFIG)" CARGO_TARGET_DIR="$(FAULT_BUILD)" cargo build $(FEATURES),fault-points
	@scripts/package.sh "$(FAULT_BUILD)/release/libpg_telemetry.so" "$(FAULT_BUILD)/package"
	@run_dir=$$(scripts/run-dir.sh); \
		scripts/private-install.sh "$(PG_CONFIG)" "$$run_dir/pg$(PG)-faults" "$(FAULT_BUILD)/package"

.PHONY: old-tree
old-tree:
	@$(MAKE) tree PG=$(OLD_PG) PG_CONFIG="$(OLD_PG_CONFIG)"

.PHONY: test-second
test-second: ## make test with PostgreSQL 17, in a Debian folder where it is not installed
	@scripts/second-major.sh $(SECOND_PG) $(OLD_PG) test TEST="$(TEST)"

.PHONY: soak
soak: export PG_TELEMETRY_SOAK := 1
soak: test-cluster ## the cluster tests that take long

.PHONY: bench
bench: tree ## benchmarks as ratios against a baseline in the same run (CASE=name for those that begin so)
	$(EXTENSION_CARGO) build -p bench-least $(FEATURES)
	@$(SERVER_ENV) \
	export PG_TELEMETRY_BENCH_LIBRARY="$$run_dir/pg$(PG)/bench_least.so"; \
	install -m 755 "$(BUILD)/release/libbench_least.so" "$$PG_TELEMETRY_BENCH_LIBRARY"; \
	cargo run -p bench --release --locked --quiet -- $(CASE)

.PHONY: bench-second
bench-second: ## make bench with PostgreSQL 17, in a Debian folder where it is not installed
	@scripts/second-major.sh $(SECOND_PG) $(OLD_PG) bench CASE="$(CASE)"

# --- looking around ---------------------------------------------------------------------------------------------

.PHONY: demo
demo: tree ## a private cluster with a simulated robot fleet (DEMO_SECONDS=20)
	@$(SERVER_ENV) scripts/demo.sh start

.PHONY: demo-stop
demo-stop: ## stop the cluster of make demo
	@$(SERVER_ENV) scripts/demo.sh stop

.PHONY: clean
clean: demo-stop ## remove all that was built, and the private clusters
	rm -rf "$$(scripts/run-dir.sh)"
	cargo clean
