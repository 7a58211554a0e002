#!/usr/bin/env bash
# Measures this machine: what the store alone can do, muniment's three nodes and, where
# Debian's etcd-server is installed, three etcd nodes, all in the same run. Prints one line
# per measurement. The last columns are what all nodes together spent per operation that was
# answered: bytes written, fsyncs, CPU.
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

# The newest build of a benchmark.
driver() { # name
    find "$bin/deps" -maxdepth 1 -type f -perm -u+x -name "$1-*" -printf '%T@ %p\n' |
        sort -rn | head -1 | cut -d' ' -f2
}

# One line of the table: runs the load between two looks at what the nodes have spent.
measure() { # system, operation, bytes, series that counts its calls, load...
    local system=$1 operation=$2 size=$3 calls=$4 before=null after=null answer
    shift 4
    if [[ $calls ]]; then
        before=$(python3 cluster/bench.py spent "$fsyncs" "$calls" "$metrics" "$nodes")
    fi
    answer=$("$@")
    if [[ $calls ]]; then
        after=$(python3 cluster/bench.py spent "$fsyncs" "$calls" "$metrics" "$nodes")
    fi
    python3 cluster/bench.py row "$system" "$operation" "$size" "$before" "$after" <<<"$answer"
}

cargo build --release --workspace --bench store --bench etcd
echo "machine: $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr); $(date -u +%F); $clients clients, $seconds s each"
python3 cluster/bench.py headings

# The ceiling: three databases of bodies, synced, without network, hashing or Raft.
store=("$(driver store)" --dir "$work" --clients "$clients" --seconds "$seconds")
for size in $sizes; do
    measure store 'hold (three)' "$size" '' "${store[@]}" --size "$size"
done

"$bin/muniment" dev --dir "$work/muniment" --base-port "$base" >"$work/dev.log" 2>&1 &
pids+=($!)
await muniment test -f "$work/muniment/cluster.json"
fsyncs='muniment_fsync_seconds_count'
read -r nodes < <(python3 -c '
import json, sys
print(*(node["pid"] for node in json.load(open(sys.argv[1]))["nodes"]))' "$work/muniment/cluster.json")
metrics=$(for i in 1 2 3; do echo -n "http://127.0.0.1:$((base + 100 + i))/metrics "; done)
m=("$bin/muniment" --cluster-json "$work/muniment/cluster.json" bench --clients "$clients" --seconds "$seconds")
answered() { echo "muniment_requests_total.*code=\"Ok\",method=\"$1\""; }
for size in $sizes; do
    measure muniment 'issue (zones:2)' "$size" "$(answered Issue)" "${m[@]}" --size "$size" --mix 1:0:0
    measure muniment 'download (strict)' "$size" "$(answered Download)" "${m[@]}" --size "$size" --mix 0:1:0
done
measure muniment 'get (linearizable)' 38000 "$(answered Get)" "${m[@]}" --size 38000 --mix 0:0:1 --read linearizable
measure muniment 'get (local)' 38000 "$(answered Get)" "${m[@]}" --size 38000 --mix 0:0:1 --read local
kill "${pids[0]}" && wait "${pids[0]}" 2>/dev/null || true
pids=()

command -v etcd >/dev/null || { echo 'etcd is not installed (apt-get install etcd-server): not compared'; exit 0; }
members=''
for i in 1 2 3; do members+="e$i=http://127.0.0.1:$((base + 300 + i)),"; done
endpoints='' metrics=''
for i in 1 2 3; do
    url=http://127.0.0.1:$((base + 400 + i))
    endpoints+="$url,"
    metrics+="$url/metrics "
    etcd --name "e$i" --data-dir "$work/e$i" --log-level error \
        --listen-client-urls "$url" --advertise-client-urls "$url" \
        --listen-peer-urls "http://127.0.0.1:$((base + 300 + i))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((base + 300 + i))" \
        --initial-cluster "${members%,}" --quota-backend-bytes 8589934592 \
        >"$work/e$i.log" 2>&1 &
    pids+=($!)
done
nodes="${pids[*]}"
# Its log and its database; commits of the database sync it.
fsyncs='etcd_disk_(wal_fsync|backend_commit)_duration_seconds_count'
answered() { echo "grpc_server_handled_total.*grpc_code=\"OK\",grpc_method=\"$1\""; }
e=("$(driver etcd)" --endpoints "${endpoints%,}" --clients "$clients" --seconds "$seconds")
await etcd "$(driver etcd)" --endpoints "${endpoints%,}" --clients 1 --seconds 0 --size 1
for size in $sizes; do
    measure etcd put "$size" "$(answered Put)" "${e[@]}" --size "$size"
    measure etcd 'get (linearizable)' "$size" "$(answered Range)" "${e[@]}" --size "$size" --get
done
