# Everything is built with one profile, one set of flags and one target directory, so
# that RocksDB is compiled once. That takes about 15 minutes on two cores, the first
# time; `make bootstrap` first looks whether what its build needs is there.

CARGO ?= cargo
export CARGO_TARGET_DIR ?= $(CURDIR)/target
BIN_DIR := $(CARGO_TARGET_DIR)/release
# A directory of files to issue; the demo makes samples when it is empty.
INVOICES ?=
# How many records bench-evidence and bench-restart sign.
RECORDS ?= 1000000
# How many seeds `make sim` runs; MUNIMENT_SIM_SEED=7 make sim runs one alone.
SEEDS ?= 50
# How many seeds are tried to find a planted bug; MUTANTS=--rotate tries one bug of the day.
MUTANT_SEEDS ?= 40
MUTANTS ?=
# How long `make fuzz` searches with each target; 5 is enough to see that all is well.
SECONDS ?= 60

.PHONY: help demo test check fix sim mutants fuzz cluster bench bench-evidence bench-restart chaos join upgrade build cli proto bootstrap

help:
	@echo 'make demo     three nodes in three zones: issue, kill the leader, verify offline'
	@echo 'make test     formatting, lints, all tests, the simulator (changes no file)'
	@echo 'make cluster  the same three nodes, left running until Ctrl-C'
	@echo 'make cli      the command line alone, without a node: no RocksDB to compile'
	@echo 'make sim      the simulator alone, without RocksDB (SEEDS=50)'
	@echo 'make mutants  plant bugs and let the simulator find them'
	@echo 'make fuzz     search for inputs that break a promise of evidence/ or of apply (SECONDS=60)'
	@echo 'make bench    measure this machine'
	@echo 'make bench-evidence  verify a million records (RECORDS=1000000)'
	@echo 'make bench-restart   start a node with a million records (RECORDS=1000000)'
	@echo 'make chaos    faults against real processes, in their long forms'
	@echo 'make join     a node joins a cluster of 5 GB under load (MB=5000)'
	@echo 'make upgrade  a cluster of an earlier commit is taken to this one, under load'
	@echo 'make check    as make test, without running tests'
	@echo 'make proto    write the code of the protocol anew, after a change of a .proto file'
	@echo 'make fix      let cargo repair formatting and simple lints'

demo: build
	BIN_DIR='$(BIN_DIR)' INVOICES='$(INVOICES)' bash cluster/demo.sh

cluster: build
	'$(BIN_DIR)/muniment' dev

# Bootstrap has seen to the Python, so its absence is a fault here. The simulator is one of
# the tests; that it needs no RocksDB is seen to by `check`.
test: check
	MUNIMENT_PYTHON_READER=required MUNIMENT_SIM_SEEDS='$(SEEDS)' $(CARGO) test --release --workspace
	FUZZ_TARGET_DIR='$(CARGO_TARGET_DIR)/fuzz' fuzz/run.sh 2
	FUZZ_TARGET_DIR='$(CARGO_TARGET_DIR)/fuzz' fuzz/run.sh 5 apply

check: bootstrap
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --no-default-features -- -D warnings
	$(CARGO) clippy --release --no-default-features --features node --test sim -- -D warnings

fix: bootstrap
	$(CARGO) clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all
	$(CARGO) fmt --all --manifest-path fuzz/Cargo.toml

# Without RocksDB, so that a change of the simulator is tried within seconds. It leaves the
# command line without a node in the target directory; `make build` brings the whole back.
sim:
	MUNIMENT_SIM_SEEDS='$(SEEDS)' $(CARGO) test --release --no-default-features --features node \
		--test sim -- --nocapture

# Bugs planted on purpose, each in a copy of the tree: which invariant finds it, and when.
mutants:
	@SEEDS='$(MUTANT_SEEDS)' tests/sim/mutants/run.sh $(MUTANTS)

proto:
	MUNIMENT_PROTO=write $(CARGO) test --release -p muniment-proto --test generated

# With flags and a target directory of its own: the evidence crate, and apply without RocksDB.
fuzz:
	@bash .ci/bootstrap
	fuzz/run.sh '$(SECONDS)' $(TARGETS)

bench chaos join: build
	BIN_DIR='$(BIN_DIR)' cluster/$@.sh

# Without RocksDB: an auditor may run it too.
bench-evidence:
	$(CARGO) bench -p muniment-evidence --bench million -- --records $(RECORDS)

# The commit in tests/upgrade/BASE is built once, with what is compiled already.
upgrade: bootstrap
	tests/upgrade/run.sh

bench-restart: build
	$(CARGO) bench --bench restart -- --records $(RECORDS)

build: bootstrap
	$(CARGO) build --release --workspace

# Needs Rust alone. The binary takes the place of the whole one, where that was built.
cli:
	$(CARGO) build --release --no-default-features

bootstrap:
	@bash .ci/bootstrap
	@ls '$(BIN_DIR)'/build/librocksdb-sys-*/out/librocksdb.a >/dev/null 2>&1 || \
		echo 'RocksDB will be compiled first: about 15 minutes on two cores, once.'
