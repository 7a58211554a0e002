#!/usr/bin/env bash
# Breaks a guard on purpose, one patch at a time, in a copy of the tree, and lets the
# simulator look for it. Prints which invariant found it, after how many seeds.
#
#   run.sh            all of them
#   run.sh NAME...    these (without .patch)
#   run.sh --rotate   one, another each day
#
# SEEDS is how many seeds are tried for each; a mutant that none of them finds fails.
set -euo pipefail

root=$(cd "$(dirname "$0")/../../.." && pwd)
mutants=$root/tests/sim/mutants
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
seeds=${SEEDS:-40}
# Always the same place: what was compiled for one mutant serves the next.
copy=$CARGO_TARGET_DIR/mutants

all=()
for patch in "$mutants"/*.patch; do
  all+=("$(basename "$patch" .patch)")
done
if [ "${1:-}" = --rotate ]; then
  day=$(($(date +%s) / 86400))
  chosen=("${all[$((day % ${#all[@]}))]}")
elif [ $# -gt 0 ]; then
  chosen=("$@")
else
  chosen=("${all[@]}")
fi

missed=0
table=""
for name in "${chosen[@]}"; do
  patch=$mutants/$name.patch
  wanted=$(sed -n 's/^Breaks: //p' "$patch")
  rm -rf "$copy"
  mkdir -p "$copy"
  # Times are kept, so that only what the patch touches is compiled again.
  (cd "$root" && git ls-files -z | tar --null -T - -c) | tar -x -C "$copy"
  patch -s -p1 -d "$copy" <"$patch"
  # Compiled in a third of the time: no program beside the test, and less optimised.
  sed -i '/^\[\[bin\]\]/,/^$/d; /^default-run/d' "$copy/Cargo.toml"
  printf '\n[profile.release.package.muniment]\nopt-level = 1\n' >>"$copy/Cargo.toml"
  rm -r "$copy/src/bin"
  log=$CARGO_TARGET_DIR/mutant-$name.log
  (cd "$copy" && MUNIMENT_SIM_HUNT=1 MUNIMENT_SIM_SEEDS=$seeds cargo test --release \
    --no-default-features --features node --test sim -- --nocapture) >"$log" 2>&1 || true
  found=$(sed -n 's/^FOUND //p' "$log" | head -1)
  if [ -z "$found" ]; then
    missed=$((missed + 1))
    found="not found, see $log"
  fi
  row=$(printf '%-34s %-4s %s' "$name" "$wanted" "$found")
  echo "$row"
  table+="$row"$'\n'
done

printf '\n%-34s %-4s %s\n%s' mutant of 'found by' "$table"
exit $((missed > 0))
