#!/usr/bin/env bash
# The TypeScript client in headless Chromium: the story in ../typescript/browser.
set -euo pipefail
cd "$(dirname "$0")/../typescript"
client=../../../clients/typescript
command -v npm >/dev/null || { echo 'npm is missing; install Node 20.3 or later'; exit 77; }

npm --prefix "$client" ci --silent
npm --prefix "$client" run --silent build
npm ci --silent
npm run --silent browser
