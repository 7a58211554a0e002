"""What a measurement cost, for bench.sh.

spent FSYNC CALL URLS PIDS   what the nodes have cost so far, as JSON: bytes written and CPU
                             from /proc, fsyncs and calls answered from their metrics (sums
                             of the series that match the regular expressions)
row SYSTEM OPERATION SIZE BEFORE AFTER
                             one line of the table; reads what the load's driver printed
"""
import json
import os
import re
import sys
import urllib.request

COLUMNS = "%-8s %-22s %8s %8s %9s %9s %10s %9s %10s"
HEADINGS = ("system", "operation", "bytes", "per s", "p50 ms", "p99 ms", "bytes/op", "fsync/op", "cpu ms/op")


def process(pid):
    with open(f"/proc/{pid}/io") as io:
        written = int(re.search(r"^write_bytes: (\d+)", io.read(), re.M)[1])
    with open(f"/proc/{pid}/stat") as stat:
        # The name before may hold anything, so count from its end.
        fields = stat.read().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return written, ticks * 1000 / os.sysconf("SC_CLK_TCK")


def series(url, pattern):
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(pattern, line))


def spent(fsync, call, urls, pids):
    costs = [process(pid) for pid in pids.split()]
    urls = urls.split()
    return {
        "bytes": sum(written for written, _ in costs),
        "cpu_ms": sum(ms for _, ms in costs),
        "fsyncs": sum(series(url, fsync) for url in urls),
        "calls": sum(series(url, call) for url in urls),
    }


def row(system, operation, size, before, after):
    answer = json.load(sys.stdin)
    before, after = json.loads(before), json.loads(after)
    name = operation.split()[0]
    said = answer.get("operations", {}).get(name, answer)
    per_op = ("-", "-", "-")
    if "bytes_per_op" in said:
        # A driver without nodes knows its own cost.
        per_op = (said["bytes_per_op"], said["fsyncs_per_op"], said["cpu_ms_per_op"])
    elif after and after["calls"] > before["calls"]:
        calls = after["calls"] - before["calls"]
        cost = [(after[of] - before[of]) / calls for of in ("bytes", "fsyncs", "cpu_ms")]
        # Reads are measured on what was issued in the same call: not their bytes.
        writes = name in ("issue", "put")
        per_op = ("%.0f" % cost[0] if writes else "-", "%.2f" % cost[1], "%.2f" % cost[2])
    print(COLUMNS % (system, operation, size, round(said["per_second"]), said["p50_ms"], said["p99_ms"], *per_op))
    errors = sum(said.get("errors", {}).values())
    if errors:
        print(f"  {errors} errors: {said['errors']}")


command, *arguments = sys.argv[1:]
if command == "spent":
    print(json.dumps(spent(*arguments)))
elif command == "headings":
    print(COLUMNS % HEADINGS)
else:
    row(*arguments)
