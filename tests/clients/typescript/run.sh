#!/usr/bin/env bash
# The TypeScript client: its lints, its own tests, its README's example, its archive in an empty project, then the story.
set -euo pipefail
cd "$(dirname "$0")"
client=../../../clients/typescript
command -v npm >/dev/null || { echo 'npm is missing; install Node 20.3 or later'; exit 77; }

npm --prefix "$client" ci --silent
npm --prefix "$client" run --silent lint
npm --prefix "$client" run --silent test
env -u PGFOX_CA -u PGFOX_API_KEY npm --prefix "$client" run --silent quickstart
env -u PGFOX_CA -u PGFOX_API_KEY ./packed.sh

npm ci --silent
"$client/node_modules/.bin/biome" ci
npm run --silent story
