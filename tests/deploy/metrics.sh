#!/usr/bin/env bash
# Every metric and label that the dashboard and docs/deployment.md ask for is one that a server has.
source "$(dirname "$0")/support.sh"
needs curl python3
start_server "$scratch/server.log" PGFOX_METRICS_LISTEN=127.0.0.1:0 "$bin/pgfox-server" --data-dir "$scratch/data"
fox=("$bin/pgfox" --quiet --server "$address")
echo '{"id": "1", "text": "Foxes can make over 40 different sounds"}' | "${fox[@]}" ingest foxes - --format jsonl --create
"${fox[@]}" search foxes sounds >/dev/null
"${fox[@]}" build-index foxes >/dev/null
! "${fox[@]}" count wolves 2>/dev/null
metrics=$(sed -n 's|.*metrics are at ||p' "$scratch/server.log")
curl --silent --show-error --fail --max-time 10 --output "$scratch/metrics" "$metrics"

python3 - "$scratch/metrics" "$root/deploy/grafana-dashboard.json" "$root/docs/deployment.md" <<'PYTHON'
import json, re, sys

served, labels = set(), {}
for name, pairs in re.findall(r"^(pgfox_\w+)(?:\{(.*?)\})? ", open(sys.argv[1]).read(), re.M):
    served.add(name)
    labels.setdefault(name, {"instance"}).update(re.findall(r'(\w+)="', pairs))
dashboard = [target["expr"] for panel in json.load(open(sys.argv[2]))["panels"] for target in panel["targets"]]
# Those of the table of alerts.
page = [cell for line in open(sys.argv[3]) if line.startswith("|") for cell in re.findall(r"`([^`]*\(pgfox_[^`]*)`", line)]
asked = 0
for expression in dashboard + page:
    for name, pairs in re.findall(r"\b(pgfox_\w+)(?:\{(.*?)\})?", expression):
        assert name in served, f"{name} of {expression} is not served"
        unknown = set(re.findall(r"(\w+)[=!]", pairs)) - labels[name]
        assert not unknown, f"{name} has no label {unknown}"
        asked += 1
    for label in re.findall(r"by \(([\w, ]+)\)", expression):
        known = set().union(*labels.values())
        assert set(re.split(", *", label)) <= known, f"no label of {label} in {expression}"
assert asked > 15 and len(page) > 3, asked
print(f"ok metrics: {asked} uses, all served")
PYTHON
