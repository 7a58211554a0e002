#!/usr/bin/env bash
# Shows on one machine what Muniment is for: invoices issued over three zones, downloaded
# from another zone, still there after the leader was killed, and proven offline.
#
# Promises: exit 0 only if every step held; nothing is left behind then, and on failure the
# directory with logs and evidence is kept and named. Waits for conditions, never for time.
#
#   INVOICES   a directory of documents (default: samples made here)
#   BIN_DIR    where muniment and muniment-verify are (default: the release build)
#   BASE_PORT  first port of the block to use (default: the first free one from 7400 on)
set -Eeuo pipefail
export LC_ALL=C
# The endpoints of this demo are its own.
unset MUNIMENT_ENDPOINTS

BIN_DIR=${BIN_DIR:-${CARGO_TARGET_DIR:-target}/release}
INVOICES=${INVOICES:-}
MUNIMENT=$BIN_DIR/muniment
VERIFY=$BIN_DIR/muniment-verify

# Three nodes on a slow and busy machine start within it.
START_SECONDS_MAX=90
# The worst leaderless time of any timing profile is 11 s.
FAILOVER_MS_MAX=60000
STOP_SECONDS_MAX=15
# Between two looks at a condition.
POLL_SECONDS=0.1

work=$(mktemp -d "${TMPDIR:-/tmp}/muniment-demo.XXXXXX")
dir=$work/cluster
cluster=$dir/cluster.json
dev=
held=no
rows=()

# ---- words ----------------------------------------------------------------------------

note() { printf '%s\n' "$*" >&2; }

fail() {
    note "demo: $*"
    exit 1
}

now_us() { printf '%s' "${EPOCHREALTIME/[.,]/}"; }

seconds_since() { # microseconds -> "1.23 s"
    local us=$(($(now_us) - $1))
    printf '%d.%02d s' $((us / 1000000)) $((us % 1000000 / 10000))
}

step() { # name, result, time
    rows+=("$(printf '  %-46s %-28s %9s' "$1" "$2" "$3")")
    note "$(printf '%-46s %s' "$1" "$2")"
}

wait_until() { # seconds, what for, command...
    local deadline=$(($(now_us) + $1 * 1000000)) what=$2
    shift 2
    until "$@"; do
        [ "$(now_us)" -lt "$deadline" ] || fail "waited too long for $what"
        sleep "$POLL_SECONDS"
    done
}

# ---- JSON without a tool that might not be there ----------------------------------------
# cluster.json is flat but for its list of flat nodes; `status --json` is indented by two.

node_objects() { tr -d '\n' <"$cluster" | grep -o '{[^{}]*}'; }

field() { # name; reads one flat object
    sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*\"\{0,1\}\([^\",}]*\).*/\1/p"
}

of_node() { # id, field
    node_objects | while IFS= read -r object; do
        [ "$(field id <<<"$object")" = "$1" ] || continue
        field "$2" <<<"$object"
    done
}

all_nodes() { node_objects | while IFS= read -r object; do field id <<<"$object"; done; }

leader_now() { # endpoints; prints the leader's id, fails when nobody serves
    "$MUNIMENT" --cluster-json "$cluster" --endpoints "$1" --json cluster status \
        2>>"$work/status.log" >"$work/status.json" || return 1
    sed -n 's/^  "leader": \([0-9]*\),*$/\1/p' "$work/status.json"
}

new_leader() { # endpoints, the old one
    local id
    id=$(leader_now "$1") && [ "$id" != 0 ] && [ "$id" != "$2" ]
}

# ---- samples ----------------------------------------------------------------------------

make_pdf() { # file, title, bytes of padding: a small valid PDF 1.4
    local file=$1 text offsets=() i start
    text="BT /F1 18 Tf 72 720 Td ($2) Tj ET"
    object() { # number, body
        offsets[$1]=$(wc -c <"$file")
        printf '%d 0 obj\n%s\nendobj\n' "$1" "$2" >>"$file"
    }
    printf '%%PDF-1.4\n' >"$file"
    object 1 '<< /Type /Catalog /Pages 2 0 R >>'
    object 2 '<< /Type /Pages /Kids [3 0 R] /Count 1 >>'
    object 3 '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>'
    object 4 "$(printf '<< /Length %d >>\nstream\n%s\nendstream' "${#text}" "$text")"
    object 5 '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>'
    # A stream that no page uses: it only gives the file its size.
    offsets[6]=$(wc -c <"$file")
    {
        printf '6 0 obj\n<< /Length %d >>\nstream\n' "$3"
        head -c "$3" /dev/urandom
        printf '\nendstream\nendobj\n'
    } >>"$file"
    start=$(wc -c <"$file")
    {
        printf 'xref\n0 7\n0000000000 65535 f \n'
        for i in 1 2 3 4 5 6; do printf '%010d 00000 n \n' "${offsets[i]}"; done
        printf 'trailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n' "$start"
    } >>"$file"
}

make_samples() { # directory: from a short letter to a scan
    local n=0 bytes
    mkdir -p "$1"
    for bytes in 0 2000 30000 150000 800000 3000000; do
        n=$((n + 1))
        make_pdf "$1/INV-2026-000$n.pdf" "Invoice INV-2026-000$n" "$bytes"
    done
}

# ---- nodes ------------------------------------------------------------------------------

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_base() { # a block in which no port of the three nodes is taken
    local base i
    for base in 7400 7800 8400 9400 17400 27400; do
        for i in 1 2 3; do
            is_free $((base + i)) && is_free $((base + 100 + i)) && is_free $((base + 200 + i)) ||
                continue 2
        done
        printf '%d' "$base"
        return
    done
    fail "no free block of ports; name one with BASE_PORT"
}

is_written() { [ -s "$cluster" ]; }

is_serving() {
    kill -0 "$dev" 2>/dev/null || fail "the cluster ended before it served; see $work/dev.log"
    is_written || return 1
    "$MUNIMENT" --cluster-json "$cluster" cluster status >"$work/status.txt" 2>>"$work/status.log"
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

ended_within() { # pid, seconds
    local deadline=$(($(now_us) + $2 * 1000000))
    until has_ended "$1"; do
        [ "$(now_us)" -lt "$deadline" ] || return 1
        sleep "$POLL_SECONDS"
    done
}

stop_nodes() {
    [ -n "$dev" ] || return 0
    local id pid
    # TERM, not INT: bash starts background jobs with INT ignored.
    kill -TERM "$dev" 2>/dev/null || true
    ended_within "$dev" "$STOP_SECONDS_MAX" || kill -KILL "$dev" 2>/dev/null || true
    # Reaps it; how it ended does not matter any more.
    wait "$dev" 2>/dev/null || true
    dev=
    is_written || return 0
    for id in $(all_nodes); do
        pid=$(of_node "$id" pid)
        # Only a process of this directory: the number may be someone else's by now.
        if [ -n "$pid" ] && grep -qaF "$dir" "/proc/$pid/cmdline" 2>/dev/null; then
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done
}

finish() {
    local code=$?
    trap - EXIT INT TERM ERR
    stop_nodes
    if [ "$held" = yes ] && [ "$code" = 0 ]; then
        rm -rf "$work"
        exit 0
    fi
    [ "$code" != 0 ] || code=1
    note
    note "demo: FAILED. Logs, evidence and data are kept in $work"
    [ ! -s "$work/dev.log" ] || { note "demo: the last lines of dev.log:"; tail -n 15 "$work/dev.log" >&2; }
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'note "demo: line $LINENO failed: $BASH_COMMAND"' ERR

# ---- calls ------------------------------------------------------------------------------

at() { # endpoints, command...
    local endpoints=$1
    shift
    "$MUNIMENT" --cluster-json "$cluster" --endpoints "$endpoints" --timeout-ms "$FAILOVER_MS_MAX" "$@"
}

download_and_compare() { # endpoints, file
    local number=${2##*/}
    rm -f "$work/back"
    at "$1" download -o "$work/back" -- "$number" >/dev/null || fail "cannot download $number"
    cmp -s "$2" "$work/back" || fail "$number came back with other bytes"
}

# ---- the demo ---------------------------------------------------------------------------

[ -x "$MUNIMENT" ] && [ -x "$VERIFY" ] ||
    fail "$BIN_DIR has no muniment and muniment-verify; run make first, or set BIN_DIR"

if [ -z "$INVOICES" ] || { [ -d "$INVOICES" ] && [ -z "$(ls "$INVOICES")" ]; }; then
    INVOICES=$work/samples
    make_samples "$INVOICES"
fi
[ -d "$INVOICES" ] || fail "INVOICES=$INVOICES is not a directory"
# As `muniment issue` goes through a directory: hidden files and directories are left out.
mapfile -d '' files < <(find "$INVOICES" -mindepth 1 -name '.*' -prune -o -type f -print0 | sort -z)
[ "${#files[@]}" -gt 0 ] || fail "there is no file in $INVOICES"

base=${BASE_PORT:-$(free_base)}
began=$(now_us)
started=$began
"$MUNIMENT" dev --dir "$dir" --zones 3 --base-port "$base" >"$work/dev.log" 2>&1 &
dev=$!
wait_until "$START_SECONDS_MAX" "three nodes that serve" is_serving
trust=$(tr -d '\n' <"$cluster" | field trust)
[ -s "$trust" ] || fail "cluster.json names no trust file"
mapfile -t nodes < <(all_nodes)
[ "${#nodes[@]}" = 3 ] || fail "cluster.json has ${#nodes[@]} nodes instead of 3"
step "Three nodes in three zones on loopback" "ports from $base on" "$(seconds_since "$started")"

here=${nodes[0]}
here_zone=$(of_node "$here" zone)
here_url=$(of_node "$here" grpc)
others=()
for id in "${nodes[@]}"; do
    [ "$(of_node "$id" zone)" = "$here_zone" ] || others+=("$(of_node "$id" grpc)")
done
[ "${#others[@]}" -gt 0 ] || fail "all nodes are in the zone $here_zone"

started=$(now_us)
at "$here_url" issue "$INVOICES" >"$work/issue.txt" || fail "not every file was issued"
step "Issued through zone $here_zone" "${#files[@]} invoices" "$(seconds_since "$started")"

started=$(now_us)
i=0
for file in "${files[@]}"; do
    download_and_compare "${others[i++ % ${#others[@]}]}" "$file"
done
step "Downloaded from another zone, bytes compared" "${#files[@]} equal" "$(seconds_since "$started")"

leader_before=$(leader_now "$here_url") || fail "there is no leader"
leader_pid=$(of_node "$leader_before" pid)
[ -n "$leader_pid" ] || fail "cluster.json names no process of node $leader_before"
survivors=
for id in "${nodes[@]}"; do
    [ "$id" = "$leader_before" ] || survivors+=${survivors:+,}$(of_node "$id" grpc)
done

make_pdf "$work/after-the-kill.pdf" 'Invoice after the kill' 1000
kill -KILL "$leader_pid"
killed=$(now_us)
wait_until "$STOP_SECONDS_MAX" "the leader's end" has_ended "$leader_pid"
step "Leader killed (SIGKILL)" "node $leader_before" ""

# Side by side, so that each is measured from the kill on.
(
    at "$survivors" issue "$work/after-the-kill.pdf" >"$work/issue-after.txt"
    seconds_since "$killed" >"$work/first-issue"
) &
issuing=$!
download_and_compare "$survivors" "${files[0]}"
first_download=$(seconds_since "$killed")
wait "$issuing" || fail "no invoice could be issued after the kill"
first_issue=$(<"$work/first-issue")
step "First download after the kill" "bytes compared" "$first_download"
step "First issue after the kill" "1 invoice" "$first_issue"

wait_until $((FAILOVER_MS_MAX / 1000)) "a new leader" new_leader "$survivors" "$leader_before"
leader_after=$(leader_now "$survivors")
step "New leader" "node $leader_after" ""

started=$(now_us)
for file in "${files[@]}" "$work/after-the-kill.pdf"; do
    download_and_compare "$survivors" "$file"
done
step "Downloaded again through the survivors" "$((${#files[@]} + 1)) equal" "$(seconds_since "$started")"

started=$(now_us)
at "$survivors" evidence export -o "$work/evidence.bundle" >/dev/null || fail "cannot export the evidence"
bundle_bytes=$(wc -c <"$work/evidence.bundle")
step "Evidence exported" "$bundle_bytes bytes" "$(seconds_since "$started")"

started=$(now_us)
"$VERIFY" bundle "$work/evidence.bundle" --trust "$trust" >"$work/bundle.txt" ||
    fail "the bundle does not verify; see $work/bundle.txt"
step "Bundle verified offline" "$(head -n 1 "$work/bundle.txt" | cut -d: -f1)" "$(seconds_since "$started")"

# With one zone down, two have cosigned: who holds this receipt needs neither of them alone.
started=$(now_us)
number=${files[0]##*/}
at "$survivors" evidence policy -o "$work/policy" >/dev/null || fail "cannot get the policy"
at "$survivors" evidence receipt --number="$number" --policy "$work/policy" -o "$work/receipt" >/dev/null ||
    fail "cannot get a receipt of $number that two zones have cosigned"
"$VERIFY" receipt "$work/receipt" --trust "$trust" --policy "$work/policy" \
    --document "${files[0]}" >"$work/receipt.txt" ||
    fail "the receipt of $number does not verify; see $work/receipt.txt"
step "One receipt, cosigned by two zones, verified" "$number" "$(seconds_since "$started")"

# A verifier that accepts everything would have passed so far.
started=$(now_us)
cp "$work/evidence.bundle" "$work/altered.bundle"
byte=$(od -An -tu1 -j $((bundle_bytes / 2)) -N 1 "$work/evidence.bundle")
printf '%b' "\\0$(printf '%03o' $((byte ^ 1)))" |
    dd of="$work/altered.bundle" bs=1 seek=$((bundle_bytes / 2)) conv=notrunc 2>/dev/null
if "$VERIFY" bundle "$work/altered.bundle" --trust "$trust" >"$work/altered.txt"; then
    fail "a bundle with one altered bit was accepted"
fi
step "The same bundle with one bit altered" "refused, as it must be" "$(seconds_since "$started")"

stop_nodes
held=yes

printf '\nMuniment demo: every step held (%s in all).\n\n' "$(seconds_since "$began")"
printf '  %-46s %-28s %9s\n' STEP RESULT TIME
printf '%s\n' "${rows[@]}"
printf '\n  Leader before the kill: node %s; after: node %s.\n' "$leader_before" "$leader_after"
printf '  After SIGKILL of the leader: first download in %s, first issue in %s.\n' "$first_download" "$first_issue"
