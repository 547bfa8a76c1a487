#!/usr/bin/env bash
# The Python client: its own tests, its README's example, the story, then the package from its archives.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
client=$root/clients/python

if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo 'Python 3.10 or later with venv (Debian, Ubuntu: apt-get install python3-venv)'
    exit 77
fi

venv=${CARGO_TARGET_DIR:-$root/target}/clients/python
if ! [ "$venv/installed" -nt "$client/pyproject.toml" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -e "$client[dev]"
    touch "$venv/installed"
fi

cd "$client"
"$venv/bin/ruff" check . "$root/tests/clients/python"
"$venv/bin/ruff" format --check . "$root/tests/clients/python"
"$venv/bin/mypy"
"$venv/bin/mypy" "$root/tests/clients/python/story.py"
# Without Node.js it would fetch one.
! command -v node >/dev/null || "$venv/bin/pyright" --pythonpath "$venv/bin/python"
"$venv/bin/python" -m pytest -q
env -u PGFOX_CA -u PGFOX_API_KEY "$venv/bin/python" examples/quickstart.py
env -u PGFOX_CA -u PGFOX_API_KEY "$venv/bin/python" examples/quickstart_aio.py
"$venv/bin/python" "$root/tests/clients/python/story.py"

# As a user gets it: from its archives, in an environment with nothing else, away from the source.
rm -rf "$venv/dist" "$venv/empty"
"$venv/bin/python" -m build --outdir "$venv/dist" "$client" >/dev/null
python3 -m venv "$venv/empty"
for archive in "$venv"/dist/pgfox-*; do
    "$venv/empty/bin/pip" uninstall --quiet --disable-pip-version-check --yes pgfox 2>/dev/null
    "$venv/empty/bin/pip" install --quiet --disable-pip-version-check "$archive"
    (cd "$venv/dist" && env -u PGFOX_CA -u PGFOX_API_KEY "$venv/empty/bin/python" "$client/examples/catalogue.py")
    echo "ok package $(basename "$archive")"
done
