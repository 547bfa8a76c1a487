#!/usr/bin/env bash
# Checks deploy/compose.yaml: that Compose accepts it, that nothing listens beyond this machine, that each secret is a file,
# and that its settings are the server's. It starts no container.
source "$(dirname "$0")/support.sh"
needs python3
compose=$root/deploy/compose.yaml

if docker compose version >/dev/null 2>&1; then
    docker compose --file "$compose" config --format json >"$scratch/compose.json" || fail "docker compose config"
elif command -v go >/dev/null; then
    # The part of Compose that reads the file.
    (cd "$root/deploy" && go run "$COMPOSE_MODULE" -format json compose.yaml) \
        >"$scratch/compose.json" || fail "compose-go"
else
    skip "install Docker with Compose, or Go"
fi
ok "syntax: accepted"

"$bin/pgfox-server" --help >"$scratch/help"
version=$("$bin/pgfox-server" --version | cut -d ' ' -f 2)
python3 - "$scratch/compose.json" "$scratch/help" "$root/deploy/Dockerfile" "$version" <<'PYTHON'
import json, re, sys

compose = json.load(open(sys.argv[1]))
known = set(re.findall(r"\b(?:PGFOX|OPENAI)_[A-Z_]+|\bDATABASE_URL\b", open(sys.argv[2]).read()))
stages = set(re.findall(r"^FROM .* AS (\S+)", open(sys.argv[3]).read(), re.M))
pgfox, database = compose["services"]["pgfox"], compose["services"]["database"]

unknown = set(pgfox["environment"]) - known
assert not unknown, f"the server does not know {unknown}"
assert pgfox["build"]["target"] in stages, stages
assert pgfox["image"] == f"pgfox:{sys.argv[4]}-{pgfox['build']['target']}", pgfox["image"]
assert pgfox["depends_on"]["database"]["condition"] == "service_healthy" and database["healthcheck"]
for service in (pgfox, database):
    for port in service.get("ports", []):
        assert port["host_ip"] == "127.0.0.1", port
    files = {f"/run/secrets/{secret['source']}" for secret in service["secrets"]}
    named = {value for name, value in service["environment"].items() if name.endswith("_FILE")}
    assert named == files, (named, files)
    assert not {name for name in service["environment"] if re.search("(PASSWORD|KEY|KEYS|URL)$", name)}, "a secret that is no file"
assert all("file" in secret for secret in compose["secrets"].values())
PYTHON
ok "settings: known, local, and no secret in it"
