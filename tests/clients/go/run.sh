#!/usr/bin/env bash
# The Go client: its own tests, its README's example, then the story.
set -euo pipefail
if ! command -v go >/dev/null; then
    echo 'go is not installed (https://go.dev/dl)'
    exit 77
fi
cd "$(dirname "$0")"
client=../../../clients/go
go -C "$client" vet ./...
# Indented, since `ok` at the beginning of a line is a step of the story.
go -C "$client" test -race ./... | sed 's/^/    /'
env -u PGFOX_CA -u PGFOX_API_KEY go -C "$client" run ./examples/quickstart
# A module of its own, as a caller's is: it sees what the client shows, and nothing else.
go vet ./...
go run .
./archive.sh
