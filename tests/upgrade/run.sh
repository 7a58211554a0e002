#!/usr/bin/env bash
# Runs the tests of two versions: builds the commit in tests/upgrade/BASE, then this tree, then
# takes a cluster of the one to the other.
#
# The old tree lies below the target directory, and its binaries beside it, made once for each
# commit. It is built into the same target directory, with the same profile, flags (those of this
# tree: cargo reads them where it is called) and features, so that what both have in common is
# compiled once, RocksDB first of all. Its own crates get another version, 0.1.0+COMMIT: without
# that cargo takes the artifacts of one tree for those of the other, which differ in nothing but
# the times of their sources. `release/muniment` is the old one until this tree is built again,
# which is what happens next.
#
#   MUNIMENT_UPGRADE_ONLY=build   builds the old version and prints the directory of its binaries
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo=${CARGO:-cargo}
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
base=$(tr -d '[:space:]' <tests/upgrade/BASE)
dir=$CARGO_TARGET_DIR/upgrade/$base
bin=$dir/bin

note() { printf 'upgrade: %s\n' "$*" >&2; }

fail() {
    note "$*"
    exit 1
}

engines() { find "$CARGO_TARGET_DIR/release/build" -name librocksdb.a 2>/dev/null | sort; }

# The crates of the workspace, and no other package of that version.
mark() { # version
    local manifest
    for manifest in Cargo.toml audit/Cargo.toml client/Cargo.toml evidence/Cargo.toml proto/Cargo.toml; do
        sed -i "s/^version = \"\([0-9.]*\)\"/version = \"\1+$1\"/" "$dir/tree/$manifest"
    done
    sed -i "/^name = \"muniment/{n;s/^version = \"\([0-9.]*\)\"/version = \"\1+$1\"/}" "$dir/tree/Cargo.lock"
}

build_old() {
    git cat-file -e "$base^{commit}" 2>/dev/null ||
        fail "this checkout lacks commit $base of tests/upgrade/BASE: fetch more of the history"
    note "building $base; its binaries are kept in $bin"
    rm -rf "$dir"
    mkdir -p "$dir/tree"
    git archive "$base" | tar -x -C "$dir/tree"
    mark "${base:0:9}"
    local before
    before=$(engines)
    "$cargo" build --release --workspace --locked --manifest-path "$dir/tree/Cargo.toml"
    [ -z "$before" ] || [ "$before" = "$(engines)" ] ||
        note "RocksDB was compiled again: its part of Cargo.lock, its features or its flags differ"
    mkdir "$bin.new"
    cp "$CARGO_TARGET_DIR/release/muniment" "$CARGO_TARGET_DIR/release/muniment-verify" "$bin.new/"
    # Whole or not at all: what is there is taken for built.
    mv "$bin.new" "$bin"
    rm -rf "$dir/tree"
}

[ -d "$bin" ] || build_old
if [ "${MUNIMENT_UPGRADE_ONLY:-}" = build ]; then
    printf '%s\n' "$bin"
    exit 0
fi
MUNIMENT_UPGRADE_BASE="$bin" "$cargo" test --release --workspace --test cluster -- \
    upgrade:: --nocapture --test-threads 1
