#!/usr/bin/env bash
# Runs the examples against the server that PGFOX_SERVER names, by default 127.0.0.1:50051.
#
#     examples/run.sh                    # all of them, a line for each
#     examples/run.sh recommendation     # one of them, with what it prints; further arguments are its own
#
# The first run makes the Python environment examples/.venv. The notebooks look into the database as well: DATABASE_URL, or what
# `pgfox-server database-url` says, must lead to the one of the server.
set -euo pipefail
cd "$(dirname "$0")"

# Seconds for one example. All together take less than a minute, but a debug build of the server embeds many times slower.
LIMIT=${PGFOX_EXAMPLE_LIMIT:-300}

declare -A programs=(
    [notebook]=notebook/check.py
    [semantic-search]=semantic-search/stdlib.py
    [recommendation]=recommendation/recommend.py
    [image-similarity]=image-similarity/digits.py
)

# The package is installed as a link to its source, so that only other requirements ask for another installation.
if ! cat requirements.txt ../clients/python/pyproject.toml | cmp --silent - .venv/installed; then
    "${PYTHON:-python3}" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt --editable ../clients/python
    cat requirements.txt ../clients/python/pyproject.toml > .venv/installed
fi

run() {
    timeout "$LIMIT" .venv/bin/python "${programs[$1]}" "${@:2}" || {
        status=$?
        [ "$status" -ne 124 ] || echo "stopped after $LIMIT s" >&2
        return "$status"
    }
}

if [ $# -gt 0 ]; then
    if [ -z "${programs[$1]:-}" ]; then
        echo "there is no example \`$1\`; there are: ${!programs[*]}" >&2
        exit 2
    fi
    run "$@"
    exit
fi

output=$(mktemp)
trap 'rm -f "$output"' EXIT
passed=0
failed=0
for name in notebook semantic-search recommendation image-similarity; do
    started=$SECONDS
    if run "$name" > "$output" 2>&1; then
        passed=$((passed + 1))
        echo "ok $name: $(tail -n 1 "$output") ($((SECONDS - started)) s)"
    else
        failed=$((failed + 1))
        cat "$output"
        echo "FAILED $name ($((SECONDS - started)) s)"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
