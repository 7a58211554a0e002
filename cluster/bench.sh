#!/usr/bin/env bash
# Measures this machine: muniment's three nodes and, where Debian's etcd-server is
# installed, three etcd nodes in the same run. Prints one line per measurement.
#   SIZES="4096 38000 120000 1000000"  CLIENTS=32  SECONDS_EACH=8  BASE_PORT=7400
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${BIN_DIR:-${CARGO_TARGET_DIR:-target}/release}
sizes=${SIZES:-4096 38000 120000 1000000}
clients=${CLIENTS:-32}
seconds=${SECONDS_EACH:-8}
base=${BASE_PORT:-7400}
work=$(mktemp -d)
pids=()

finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

await() { # what, command...
    local what=$1
    shift
    for _ in $(seq 300); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    echo "bench: $what does not come up" >&2
    exit 1
}

row() { printf '%-8s %-22s %9s %10s %9s %9s\n' "$@"; }

of_muniment() { # operation, json
    python3 -c '
import json, sys
o = json.load(sys.stdin)["operations"][sys.argv[1]]
print(round(o["per_second"]), o["p50_ms"], o["p99_ms"], sum(o["errors"].values()))' "$1"
}

of_etcd() {
    python3 -c '
import json, sys
o = json.load(sys.stdin)
print(round(o["per_second"]), o["p50_ms"], o["p99_ms"])'
}

echo "machine: $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr); $(date -u +%F); $clients clients, $seconds s each"
row system operation bytes 'per s' 'p50 ms' 'p99 ms'

"$bin/muniment" dev --dir "$work/muniment" --base-port "$base" >"$work/dev.log" 2>&1 &
pids+=($!)
await muniment test -f "$work/muniment/cluster.json"
m=("$bin/muniment" --cluster-json "$work/muniment/cluster.json" bench --clients "$clients" --seconds "$seconds")
for size in $sizes; do
    read -r rate p50 p99 errors < <("${m[@]}" --size "$size" --mix 1:0:0 | of_muniment issue)
    row muniment 'issue (zones:2)' "$size" "$rate" "$p50" "$p99"
    [[ $errors == 0 ]] || echo "  $errors errors"
    read -r rate p50 p99 errors < <("${m[@]}" --size "$size" --mix 0:1:0 | of_muniment download)
    row muniment 'download (strict)' "$size" "$rate" "$p50" "$p99"
    [[ $errors == 0 ]] || echo "  $errors errors"
done
read -r rate p50 p99 errors < <("${m[@]}" --size 38000 --mix 0:0:1 | of_muniment get)
row muniment 'get (linearizable)' 38000 "$rate" "$p50" "$p99"
read -r rate p50 p99 errors < <("${m[@]}" --size 38000 --mix 0:0:1 --read local | of_muniment get)
row muniment 'get (local)' 38000 "$rate" "$p50" "$p99"
kill "${pids[0]}" && wait "${pids[0]}" 2>/dev/null || true
pids=()

command -v etcd >/dev/null || { echo 'etcd is not installed (apt-get install etcd-server): not compared'; exit 0; }
members=''
for i in 1 2 3; do members+="e$i=http://127.0.0.1:$((base + 300 + i)),"; done
endpoints=''
for i in 1 2 3; do
    url=http://127.0.0.1:$((base + 400 + i))
    endpoints+="$url,"
    etcd --name "e$i" --data-dir "$work/e$i" --log-level error \
        --listen-client-urls "$url" --advertise-client-urls "$url" \
        --listen-peer-urls "http://127.0.0.1:$((base + 300 + i))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((base + 300 + i))" \
        --initial-cluster "${members%,}" --quota-backend-bytes 8589934592 \
        >"$work/e$i.log" 2>&1 &
    pids+=($!)
done
cargo build --release --workspace --bench etcd
driver=$(find "$(dirname "$bin")/release/deps" -maxdepth 1 -type f -perm -u+x -name 'etcd-*' -printf '%T@ %p\n' | sort -rn | head -1 | cut -d' ' -f2)
e=("$driver" --endpoints "${endpoints%,}" --clients "$clients" --seconds "$seconds")
await etcd "$driver" --endpoints "${endpoints%,}" --clients 1 --seconds 0 --size 1
for size in $sizes; do
    read -r rate p50 p99 < <("${e[@]}" --size "$size" | of_etcd)
    row etcd put "$size" "$rate" "$p50" "$p99"
    read -r rate p50 p99 < <("${e[@]}" --size "$size" --get | of_etcd)
    row etcd 'get (linearizable)' "$size" "$rate" "$p50" "$p99"
done
