#!/usr/bin/env bash
# A node joins a cluster that holds MB (5000) under load; prints how long the join took and
# what it did to the leader's p99.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MUNIMENT_JOIN_MB="${MB:-5000}" cargo test --release --workspace --test cluster -- \
    joining:: --nocapture
