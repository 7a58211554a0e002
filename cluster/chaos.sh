#!/usr/bin/env bash
# The long form of the kill test: SIGKILL at random moments under a load of issues and
# downloads, then every promise is checked. ROUNDS=50 unless said otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MUNIMENT_KILL_ROUNDS="${ROUNDS:-50}" cargo test --release --workspace --test cluster -- \
    kills:: --nocapture
