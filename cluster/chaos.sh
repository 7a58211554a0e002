#!/usr/bin/env bash
# The long forms of the tests that break things on purpose, one after the other; every
# promise is checked after each round, and the gaps are printed.
#   ROUNDS  of SIGKILL at random moments under load (50)
#   the others as their names say
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export MUNIMENT_KILL_ROUNDS="${ROUNDS:-50}"
export MUNIMENT_FAILOVER_ROUNDS="${FAILOVER_ROUNDS:-30}"
export MUNIMENT_ERASE_ROUNDS="${ERASE_ROUNDS:-20}"
export MUNIMENT_STALE_ROUNDS="${STALE_ROUNDS:-20}"
cargo test --release --workspace --test cluster -- \
    failover:: levels:: reads:: kills:: --nocapture --test-threads 1
