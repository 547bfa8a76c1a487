#!/usr/bin/env bash
# Load by ghz: many calls at a time, each of which must succeed. One line per step with calls per second and latencies, and
# an exit code. It shows that the server holds out, not how fast it is: docs/benchmarks.md does that.
#
# LOAD_CALLS is how many calls each run makes (default 2,000), LOAD_CONCURRENCY how many at a time (default 8).
#
# Needs ghz (on the PATH, or named by GHZ) and Python 3, which makes the requests and reads the report.
# Exit code 77: one of them is missing.
set -euo pipefail
source "$(dirname "$0")/../../../.ci/versions"

ghz=${GHZ:-ghz}
for tool in "$ghz" python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is not installed (go install $GHZ_MODULE)"
        exit 77
    fi
done
calls=${LOAD_CALLS:-2000}
concurrency=${LOAD_CONCURRENCY:-8}
server=${PGFOX_SERVER#http://}
protos=$(cd "$(dirname "$0")/../../../proto" && pwd)

work=$(mktemp -d)
cleanup() {
    call DeleteCollection "$work/collection" 1 >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT

# call METHOD FILE COUNT: sends the requests of the file in turn and prints the figures. Fails when any call did.
call() {
    # Not --max-duration of ghz, which makes it forget --total.
    timeout 60 "$ghz" --insecure --import-paths "$protos" --proto pgfox/v1/pgfox_service.proto --call "pgfox.v1.PgfoxService.$1" \
        --data-file "$2" --total "$3" --concurrency "$(($3 < concurrency ? $3 : concurrency))" \
        --timeout 20s --format json "$server" >"$work/report" || return
    python3 - "$work/report" "$3" <<'PY'
import json, sys

report = json.load(open(sys.argv[1]))
succeeded = report["statusCodeDistribution"].get("OK", 0)
if succeeded != int(sys.argv[2]):
    sys.exit(f"{succeeded} of {sys.argv[2]} calls succeeded: {report['statusCodeDistribution']} {report['errorDistribution']}")
latency = {entry["percentage"]: entry["latency"] / 1e6 for entry in report["latencyDistribution"] or []}
if succeeded > 1:
    print(f": {succeeded} calls, {report['rps']:.0f}/s, p50 {latency.get(50, 0):.1f} ms, p99 {latency.get(99, 0):.1f} ms")
PY
}

# step NAME METHOD FILE COUNT
step() {
    if line=$(call "$2" "$3" "$4" 2>&1); then
        echo "ok $1$line"
    else
        echo "FAILED $1: $line"
        exit 1
    fi
}

# Documents have vectors of their own, so that nothing but the questions is embedded; of these every tenth is new to the
# server, and the others are remembered.
python3 - "$STORY_COLLECTION" "$calls" "$work" <<'PY'
import json, random, sys

collection, calls, work = sys.argv[1], int(sys.argv[2]), sys.argv[3]
random.seed(1)

vectors = [{"values": [round(random.uniform(-0.1, 0.1), 4) for _ in range(384)]} for _ in range(1000)]

def document(name, i):
    return {"id": f"{name}-{i}", "text": f"Sentence {i} of the load", "vector": vectors[i % 1000]}

def write(name, requests):
    with open(f"{work}/{name}", "w") as file:
        json.dump(requests, file)

write("create", [{"collection": {"name": collection}}])
write("collection", [{"name": collection}])
write("fill", [{"collection": collection, "documents": [document("stored", i) for i in range(1000)]}])
write("index", [{"collection": collection}])
write("texts", [{"collection": collection, "text": f"What is sentence {i} about?"} for i in range(max(1, calls // 10))])
write("vectors", [{"collection": collection, "vector": vector} for vector in vectors[::5]])
write("documents", [{"collection": collection, "documents": [document("new", i)]} for i in range(calls)])
PY

step create CreateCollection "$work/create" 1
step fill Ingest "$work/fill" 1
step build-index BuildIndex "$work/index" 1
step search-text Search "$work/texts" "$calls"
step search-vector Search "$work/vectors" "$calls"
step ingest Ingest "$work/documents" "$calls"
step delete DeleteCollection "$work/collection" 1
