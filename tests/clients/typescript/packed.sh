#!/usr/bin/env bash
# The client as users get it: packed, installed from its archive in an empty project, and used from there as ES modules and as
# CommonJS, by JavaScript, by TypeScript with every way to find modules, and in a bundle.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
client=$here/../../../clients/typescript
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PACKED_COLLECTION=${STORY_COLLECTION}_packed FILMS_COLLECTION=${STORY_COLLECTION}_films

(cd "$client" && npm pack --silent --pack-destination "$work" >/dev/null)
cp -r "$here/packed/." "$work"
cd "$work"
for folder in esm cjs; do cp "$client/examples/films.ts" "$folder"; done
npm install --silent --no-audit --no-fund --no-package-lock ./pgfox-client-*.tgz

# A program that waits for its open connection would run for ever.
run() {
    local name=$1
    shift
    timeout 120 node "$@" >"$name.log" 2>&1 || { echo "FAILED packed-$name: $(tail -20 "$name.log" | tr '\n' ' ')"; exit 1; }
    echo "ok packed-$name"
}

run esm esm/main.js
run cjs cjs/main.js

strict=(--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --skipLibCheck false --target es2022 --types node)
tsc=node_modules/typescript/bin/tsc last_tsc=node_modules/typescript-5/bin/tsc
for project in esm cjs; do
    node "$tsc" "${strict[@]}" --module nodenext --outDir "$project/out" "$project/films.ts"
    run "nodenext-$project" "$project/out/films.js"
done
node "$tsc" "${strict[@]}" --module commonjs --outDir cjs/common cjs/films.ts
run commonjs cjs/common/films.js
# The way of old: it reads `main`, `types` and `typesVersions`.
node "$last_tsc" "${strict[@]}" --module commonjs --moduleResolution node10 --outDir cjs/old cjs/films.ts
run node10 cjs/old/films.js
node "$last_tsc" -p page --module commonjs --moduleResolution node10
node "$tsc" -p page --module esnext --moduleResolution bundler
echo "ok packed-types"

for format in esm cjs; do
    npx esbuild --log-level=warning --bundle --platform=node --format="$format" --outfile="$format/bundle.js" "$format/films.ts"
    run "bundle-$format" "$format/bundle.js"
done
# A page that imports the entry without /web gets that of the web all the same.
sed 's#client/web#client#' page/page.ts >page/main.ts
npx esbuild --log-level=warning --bundle --format=esm --outfile=page.js page/main.ts
echo "ok packed-page"
