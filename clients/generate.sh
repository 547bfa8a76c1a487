#!/usr/bin/env bash
# Generates the code of the clients from proto/ by buf, as buf.gen.yaml says. On Linux, with Go, Node.js, Python 3 and Maven.
#
#   clients/generate.sh            writes it
#   clients/generate.sh --check    fails when what is committed is not what would be written
set -euo pipefail
cd "$(dirname "$0")/.."
source .ci/versions
tools=target/generate
for tool in go npm python3 mvn; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is not installed"
        exit 77
    fi
done

[ -x "$tools/python/bin/pip" ] || python3 -m venv "$tools/python"
"$tools/python/bin/pip" install --quiet --disable-pip-version-check -r clients/python/generate-requirements.txt
npm --prefix clients/typescript ci --silent
for module in "$PROTOC_GEN_GO_MODULE" "$PROTOC_GEN_GO_GRPC_MODULE"; do
    GOBIN=$PWD/$tools/go go install "$module"
done

# The versions of the pom, for the platform of this machine.
version() {
    sed -n "s|.*<$1>\(.*\)</$1>.*|\1|p" clients/java/pom.xml
}
platform=linux-$(uname -m | sed 's/aarch64/aarch_64/')
for artifact in "com.google.protobuf:protoc:$(version protobuf.version)" "io.grpc:protoc-gen-grpc-java:$(version grpc.version)"; do
    mvn -q -B -ntp -Dstyle.color=never -f clients/java dependency:copy -Dartifact="$artifact:exe:$platform" -DoutputDirectory="$PWD/$tools/java" \
        -Dmdep.stripVersion -Dmdep.stripClassifier
done
chmod +x "$tools"/java/*.exe

out=.
if [ "${1:-}" = --check ]; then
    out=$tools/check
    rm -rf "$out"
fi
buf=(npx --yes "$BUF_PACKAGE")
"${buf[@]}" generate --output "$out"
# The client for TypeScript has google.rpc as its own.
(out=$PWD/$out/clients/typescript && cd clients/typescript && "${buf[@]}" generate --output "$out")
# Every 64-bit integer of pgfox counts something, far below 2^53, and the client for TypeScript reads it as a number.
sed -i -E '/^ /s/\bbigint\b/number/' "$out"/clients/typescript/src/gen/pgfox/v1/*_pb.ts
if [ "$out" != . ]; then
    status=0
    for folder in clients/go/v1 clients/typescript/src/gen clients/python/src/pgfox/v1; do
        # Beside it stands what is written by hand.
        diff -r --exclude=__init__.py --exclude=__pycache__ "$out/$folder" "$folder" || status=1
    done
    [ "$status" = 0 ] || echo 'the generated code is not that of proto/: run clients/generate.sh' >&2
    exit "$status"
fi
