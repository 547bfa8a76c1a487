#!/usr/bin/env bash
# The Rust client: its README's example, then the story. Its own tests are part of `cargo test --workspace`; archive.sh,
# which compiles everything again, is run by hand.
set -euo pipefail
env -u PGFOX_CA -u PGFOX_API_KEY "$PGFOX_BIN_DIR/examples/quickstart"
"$PGFOX_BIN_DIR/examples/story"
