#!/usr/bin/env bash
# Packs the client, and builds and runs a program with the packages in an empty project.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

target=${CARGO_TARGET_DIR:-$root/target}
cargo package --quiet --manifest-path "$root/Cargo.toml" -p pgfox -p pgfox-client --no-verify --allow-dirty --target-dir "$target"
cp -r "$here/catalogue" "$work/project"
mkdir "$work/project/packages"
for package in pgfox pgfox-client; do
    tar -xzf "$target/package/$package-0.1.0.crate" -C "$work/project/packages"
done
# The versions that the workspace is tested with.
cp "$root/Cargo.lock" "$work/project"
cd "$work/project"
# What is compiled is kept for the next time.
cargo run --quiet --target-dir "$target/archive"
