# Two commands do everything on a fresh Debian machine with a Rust toolchain:
#   make cluster   install what is missing, build, start three nodes on loopback
#   make test      the same set-up, then the tests
# The rest is for those who work on Oarlock. `make help` lists it.

SHELL := /bin/bash
# Outside of the checkout, so that RocksDB is compiled once and every clone reuses it.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/oarlock/target
BIN := $(CARGO_TARGET_DIR)/release
CARGO_FLAGS := --release --locked
# Where fault tests keep their histories and reports.
STORE ?= $(HOME)/.cache/oarlock/jepsen

.PHONY: help setup setup-tests build cluster stop test quick conformance jepsen outages controls fmt lint doc sim soak bench compare scale tail clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install the packages that a bare Debian lacks
	@./deploy/setup.sh

setup-tests: setup
	@./deploy/setup.sh --tests

build: setup ## build oarlockd and oarlock
	cargo build $(CARGO_FLAGS) -p oarlock-server -p oarlock-cli

cluster: build ## start three nodes on loopback and say how to talk to them
	@./deploy/cluster.sh start $(BIN)

stop: ## stop the nodes that `make cluster` started
	@./deploy/cluster.sh stop $(BIN)

test: setup-tests ## every test that belongs in CI
	cargo build $(CARGO_FLAGS) --workspace
	cargo test $(CARGO_FLAGS) --workspace --no-fail-fast
	python3 -m unittest discover -s bench
	./tests/conformance/run.sh --quick $(BIN)

conformance: build ## other people's etcd clients, on real etcd and on Oarlock
	./tests/conformance/run.sh $(BIN)

quick: ## the tests of the state machine alone
	cargo test $(CARGO_FLAGS) -p oarlock-state

fmt: ## rewrite the formatting
	cargo fmt --all

lint: setup ## formatting and clippy, read-only
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

doc: setup ## the API documentation
	cargo doc $(CARGO_FLAGS) --workspace --no-deps

sim: setup ## two thousand fresh seeds of the simulator
	base=$$(date +%s); cargo run $(CARGO_FLAGS) -p oarlock-tests --bin sim -- --seeds $$base..$$((base + 2000)) --jobs 2 --keep-going

soak: setup-tests ## the simulator and real servers under faults for hours: make soak MINUTES=240
	cargo build $(CARGO_FLAGS) --workspace
	base=$$(date +%s); $(BIN)/sim --seeds $$base..$$((base + 100000000)) --minutes $(or $(MINUTES),120) --jobs 1 --keep-going & \
	$(BIN)/oarlock-jepsen tour --total $(or $(MINUTES),120)m --nemesis swarm --store $(STORE); jepsen=$$?; wait $$! && exit $$jepsen

jepsen: setup-tests ## real servers under faults, every workload in turn: make jepsen MINUTES=20
	cargo build $(CARGO_FLAGS) -p oarlock-server -p oarlock-cli -p oarlock-jepsen
	$(BIN)/oarlock-jepsen tour --total $(or $(MINUTES),20)m --nemesis swarm --store $(STORE)

outages: setup-tests ## how long nothing can be written under each fault, on Oarlock and on etcd
	cargo build $(CARGO_FLAGS) -p oarlock-server -p oarlock-cli -p oarlock-jepsen
	./jepsen/outages.sh $(BIN)

controls: setup-tests ## etcd, ZooKeeper and Oarlock's etcd API under the same faults, each for: make controls MINUTES=10
	cargo build $(CARGO_FLAGS) -p oarlock-server -p oarlock-cli -p oarlock-jepsen
	set -e; found=$$(./tests/conformance/peers.sh etcd zookeeper); eval "export $$found"; worst=0; \
	for pair in "etcd etcd" "zookeeper zookeeper" "oarlock etcd"; do set -- $$pair; \
	  $(BIN)/oarlock-jepsen tour --server $$1 --api $$2 --total $(or $(MINUTES),10)m --nemesis swarm --store $(STORE) || worst=$$?; \
	done; exit $$worst

bench: build ## first figures against a fresh three-node cluster
	@./bench/first_figures.sh $(BIN)

compare: build ## Oarlock, etcd and ZooKeeper in one run, for 20 minutes: docs/benchmarks/compare.md
	@./bench/compare $(BIN)

scale: build ## how Oarlock and etcd grow with keys, clients, watchers, sessions: docs/benchmarks/scale.md
	@./bench/scale $(BIN)

tail: build ## the slowest writes under compaction, snapshots, catching up, session storms: docs/benchmarks/tail.md
	@./bench/tail $(BIN)

clean: ## remove what the build made (RocksDB will be compiled again)
	cargo clean
