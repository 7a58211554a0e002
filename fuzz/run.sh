#!/usr/bin/env bash
# Fuzzes the evidence crate, and what the ledger makes of commands, on the stable toolchain:
# run.sh [seconds-per-target] [target...]
# Stops at the first input that breaks a promise and says where it lies. Inputs that reach
# new code are kept in fuzz/corpus for the next run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(statement record document actor note vkey policy proof witness trust receipt bundle tree apply)
fi
# The ledger's target is of a package of its own: it alone stands on what a node is made of.
packages=() seeders=()
for target in "${targets[@]}"; do
    case $target in
    apply) package=muniment-fuzz-ledger seeder=apply-seeds ;;
    *) package=muniment-fuzz seeder=seeds ;;
    esac
    if [[ " ${packages[*]} " != *" $package "* ]]; then
        packages+=("$package") seeders+=("$seeder")
    fi
done
# Features follow from what is built together: with the same packages at every run nothing of
# the node is compiled twice.
if [[ " ${packages[*]} " == *" muniment-fuzz-ledger "* ]]; then
    packages=(muniment-fuzz muniment-fuzz-ledger)
fi

# Its own directory: these flags would make everything else compile again. A target
# triple keeps them away from build scripts, which have no libFuzzer to link with.
export CARGO_TARGET_DIR=${FUZZ_TARGET_DIR:-$here/target}
triple=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz passes on nightly, less the sanitizers that stable lacks: the evidence
# crate and its dependencies have hardly any unsafe code to watch.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"

"${CARGO:-cargo}" build --release --locked --target "$triple" \
    --manifest-path "$here/Cargo.toml" "${packages[@]/#/--package=}"
bin=$CARGO_TARGET_DIR/$triple/release

# Inputs found before are of the ledger that the seeds are of: beside another, those of the
# verifiers would look forged, and those of apply say something else.
rm -rf "$here/seeds.new"
for seeder in "${seeders[@]}"; do
    "$bin/$seeder" "$here/seeds.new"
done
for new in "$here/seeds.new"/*; do
    target=$(basename "$new")
    if ! diff -rq "$new" "$here/seeds/$target" >/dev/null 2>&1; then
        rm -rf "$here/seeds/$target" "$here/corpus/$target"
        mkdir -p "$here/seeds"
        mv "$new" "$here/seeds/$target"
    fi
done
rm -rf "$here/seeds.new"

for target in "${targets[@]}"; do
    echo "== $target: $seconds s"
    mkdir -p "$here/artifacts/$target" "$here/corpus/$target"
    # One input takes milliseconds, so ten seconds are a hang.
    "$bin/$target" "$here/corpus/$target" "$here/seeds/$target" \
        -artifact_prefix="$here/artifacts/$target/" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        2>"$here/artifacts/$target/log" || {
        tail -n 40 "$here/artifacts/$target/log" >&2
        echo "$target broke a promise: $here/artifacts/$target" >&2
        exit 1
    }
    grep -E 'stat::(number_of_executed_units|peak_rss_mb)|DONE' "$here/artifacts/$target/log"
done
