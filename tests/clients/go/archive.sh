#!/usr/bin/env bash
# Packs the client as a module, and builds and runs a program with it in an empty project. Fetches nothing: the packed client
# and the modules of this machine stand in for the proxy.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
client=$(cd "$here/../../../clients/go" && pwd)
work=$(mktemp -d)
# The files of a module are read-only.
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

modules=$(go env GOMODCACHE)/cache/download
packed=$work/proxy/github.com/pgfox/pgfox/clients/go/@v
mkdir -p "$packed" "$work/project"
cp "$client/go.mod" "$packed/v0.1.0.mod"
echo '{"Version": "v0.1.0"}' >"$packed/v0.1.0.info"
echo v0.1.0 >"$packed/list"
python3 - "$client" "$packed/v0.1.0.zip" <<'PYTHON'
import pathlib, sys, zipfile

client = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED) as archive:
    for file in sorted(client.rglob("*")):
        if file.is_file():
            archive.write(file, f"github.com/pgfox/pgfox/clients/go@v0.1.0/{file.relative_to(client)}")
PYTHON

cp "$here/catalogue/main.go" "$work/project"
cd "$work/project"
export GOPROXY="file://$work/proxy,file://$modules" GOMODCACHE="$work/modules" GOFLAGS=-mod=mod GONOSUMDB='*' GOTOOLCHAIN=local GOWORK=off
go mod init example.com/catalogue 2>/dev/null
go get github.com/pgfox/pgfox/clients/go@v0.1.0 2>/dev/null
go vet ./...
go run .
