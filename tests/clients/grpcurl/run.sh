#!/usr/bin/env bash
# The story of tests/clients/README.md with grpcurl: one line per step, and an exit code. Leaves out the steps that grpcurl
# cannot do: it neither repeats a call nor resumes a stream.
#
# Needs grpcurl (on the PATH, or named by GRPCURL) and Python 3, which makes long requests and reads the answers.
# Exit code 77: one of them is missing.
set -euo pipefail
source "$(dirname "$0")/../../../.ci/versions"

grpcurl=${GRPCURL:-grpcurl}
for tool in "$grpcurl" python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is not installed (go install $GRPCURL_MODULE)"
        exit 77
    fi
done
protos=$(cd "$(dirname "$0")/../../../proto" && pwd)
server=${PGFOX_SERVER#http://}
tls_server=${PGFOX_TLS_SERVER#https://}
dead_server=${PGFOX_DEAD_SERVER#http://}
collection=$STORY_COLLECTION
service=pgfox.v1.PgfoxService

work=$(mktemp -d)
cleanup() {
    for name in "$collection" "${collection}_attached"; do
        "$grpcurl" -plaintext -max-time 10 -d "{\"name\": \"$name\"}" "$server" "$service/DeleteCollection" >/dev/null 2>&1 || true
    done
    rm -rf "$work"
}
trap cleanup EXIT

# begin STEP: names the step that follows.
begin() {
    step=$1
}

fail() {
    echo "FAILED $step: $*"
    exit 1
}

# Runs grpcurl. Its exit code is that of the call: 64 and the code of gRPC.
run() {
    status=0
    "$grpcurl" "$@" >"$work/answer" 2>"$work/error" || status=$?
}

# call METHOD REQUEST: makes a call that must succeed. A request `@` is read from stdin.
call() {
    run -plaintext -max-time 60 -d "$2" "$server" "$service/$1"
    [ "$status" = 0 ] || fail "$1 ended with $status: $(<"$work/error")"
}

# holds CONDITION: checks the answer. `messages` are all messages of it and `last` is the last one.
holds() {
    python3 - "$work/answer" "$1" <<'PY' || fail "not so: $1 in $(head -c 2000 "$work/answer")"
import json, sys

text, messages = open(sys.argv[1]).read().strip(), []
while text:
    message, end = json.JSONDecoder().raw_decode(text)
    messages.append(message)
    text = text[end:].lstrip()
last = messages[-1]
sys.exit(not eval(sys.argv[2]))
PY
}

# says TEXT: checks what grpcurl said of a failure.
says() {
    grep -qF -- "$1" "$work/error" || fail "\"$1\" is not in: $(<"$work/error")"
}

done_with() {
    echo "ok $step"
}

begin reflection
run -plaintext -max-time 60 "$server" describe "$service.Search"
[ "$status" = 0 ] || fail "$(<"$work/error")"
grep -qF 'rpc Search ( .pgfox.v1.SearchRequest ) returns ( .pgfox.v1.SearchResponse );' "$work/answer" || fail "$(<"$work/answer")"
run -plaintext -max-time 60 "$server" list
grep -qxF "$service" "$work/answer" || fail "the service is not listed: $(<"$work/answer")"
done_with

begin create
call CreateCollection "{\"collection\": {\"name\": \"$collection\"}}"
call GetCollection "{\"name\": \"$collection\"}"
holds 'last["collection"]["embedding"]["dimensions"] == 384 and last["collection"]["embedding"]["model"]'
done_with

begin ingest
foxes="{\"collection\": \"$collection\", \"documents\": [
    {\"id\": \"diet\", \"text\": \"Foxes are omnivores: predators of small animals that also eat fruit\",
     \"metadata\": {\"topic\": \"diet\", \"year\": 1990}},
    {\"id\": \"sounds\", \"text\": \"Foxes can make over 40 different sounds\", \"metadata\": {\"topic\": \"sounds\", \"year\": 2000}},
    {\"id\": \"hunting\", \"text\": \"Foxes use the magnetic field of the Earth when they hunt\",
     \"metadata\": {\"topic\": \"hunting\", \"year\": 2010}},
    {\"id\": \"kits\", \"text\": \"Baby foxes are called kits\", \"metadata\": {\"topic\": \"kits\", \"year\": 2020}}]}"
call Ingest "$foxes"
holds 'last["upsertedCount"] == 4 and last["embeddedCount"] == 4 and "updatedCount" not in last'
call Ingest "$foxes"
holds 'last["unchangedCount"] == 4 and "upsertedCount" not in last'
done_with

begin ingest-stream
call IngestStream @ < <(python3 - "$collection" <<'PY'
import json, sys

for sequence in 1, 2, 3:
    numbers = range(100 * (sequence - 1), 100 * sequence)
    documents = [{"id": f"note-{i}", "text": f"Note {i} is about the number {i * i} and nothing else"} for i in numbers]
    print(json.dumps({"collection": sys.argv[1], "sequence": sequence, "documents": documents}))
PY
)
holds '[message["sequence"] for message in messages] == ["1", "2", "3"]'
holds 'sum(message["upsertedCount"] for message in messages) == 300'
call CountDocuments "{\"collection\": \"$collection\"}"
holds 'last["count"] == "304"'
done_with

begin build-index
call BuildIndex "{\"collection\": \"$collection\", \"spec\": {\"hnsw\": {}}}"
holds 'last["phase"] == "INDEX_PHASE_READY"'
holds 'all(a.get("fractionDone", 0) <= b.get("fractionDone", 0) for a, b in zip(messages, messages[1:]))'
done_with

begin search-text
question='I was wondering, how many sounds can foxes make?'
call Search "{\"collection\": \"$collection\", \"text\": \"$question\", \"limit\": 5}"
holds 'last["results"][0]["document"]["text"] == "Foxes can make over 40 different sounds"'
holds 'len(last["results"]) == 5 and last["results"][0]["distance"] > 0 and last["completeness"]'
done_with

begin search-vector
call GetDocuments "{\"collection\": \"$collection\", \"ids\": [\"hunting\"], \"includeVector\": true}"
holds 'len(last["documents"][0]["vector"]["values"]) == 384'
python3 - "$collection" "$work/answer" >"$work/request" <<'PY'
import json, sys

vector = json.load(open(sys.argv[2]))["documents"][0]["vector"]
print(json.dumps({"collection": sys.argv[1], "vector": vector, "limit": 1}))
PY
call Search @ <"$work/request"
holds 'last["results"][0]["document"]["id"] == "hunting" and last["results"][0].get("distance", 0) < 1e-3'
done_with

begin search-id
call Search "{\"collection\": \"$collection\", \"documentId\": \"sounds\", \"limit\": 3}"
holds 'len(last["results"]) == 3 and all(result["document"]["id"] != "sounds" for result in last["results"])'
done_with

begin filter
since_2000='{"condition": {"field": "year", "atLeast": 2000}}'
call Search "{\"collection\": \"$collection\", \"text\": \"$question\", \"filter\": $since_2000}"
holds 'len(last["results"]) == 3 and all(result["document"]["metadata"]["year"] >= 2000 for result in last["results"])'
call ListDocuments "{\"collection\": \"$collection\", \"filter\": $since_2000}"
holds '{document["id"] for document in last["documents"]} == {"sounds", "hunting", "kits"}'
call CountDocuments "{\"collection\": \"$collection\", \"filter\": $since_2000}"
holds 'last["count"] == "3"'
call FacetDocuments "{\"collection\": \"$collection\", \"field\": \"year\", \"filter\": $since_2000, \"bucketWidth\": 1000}"
holds 'last["values"] == [{"value": 2000, "count": "3"}]'
call CountDocuments "{\"collection\": \"$collection\", \"filter\": {\"condition\": {\"field\": \"year\", \"startsWith\": \"20\"}}}"
holds '"count" not in last and "nothing matches" in last["notes"][0]'
done_with

begin bad-request
run -plaintext -max-time 60 -d "{\"collection\": \"$collection\", \"text\": \"x\", \"limit\": -1, \"params\": {\"efSearch\": -1}}" \
    "$server" "$service/Search"
[ "$status" = 67 ] || fail "exit code $status"
# The details are readable: grpcurl knows them from the server.
says 'Code: InvalidArgument'
says '"reason": "INVALID_FIELD"'
says '"field": "limit"'
says '"field": "params.ef_search"'
says '"description": "must be'
run -plaintext -max-time 60 -format-error -d "{\"collection\": \"$collection\", \"vector\": {\"values\": [1, 2, 3]}}" \
    "$server" "$service/Search"
[ "$status" = 67 ] || fail "exit code $status"
says '"reason": "DIMENSION_MISMATCH"'
says '"expected": "384"'
run -plaintext -max-time 60 -d "{\"collection\": \"${collection}_missing\", \"text\": \"x\"}" "$server" "$service/Search"
[ "$status" = 69 ] || fail "exit code $status"
says '"reason": "COLLECTION_NOT_FOUND"'
done_with

begin deadline
python3 - "$collection" >"$work/request" <<'PY'
import json, sys

texts = [f"The deadline is over before text {i} is read. " * 20 for i in range(1000)]
documents = [{"id": f"late-{i}", "text": text} for i, text in enumerate(texts)]
print(json.dumps({"collection": sys.argv[1], "documents": documents}))
PY
# Long enough for grpcurl to connect and to ask for the service, which counts too.
began=$EPOCHREALTIME
run -plaintext -max-time 1 -d @ "$server" "$service/Ingest" <"$work/request"
[ "$status" = 68 ] || fail "exit code $status: $(<"$work/error")"
python3 -c "import sys; sys.exit($EPOCHREALTIME - $began > 3)" || fail 'it took more than 3 s'
done_with

begin tls-and-key
search="{\"collection\": \"$collection\", \"documentId\": \"sounds\", \"limit\": 1}"
# grpcurl itself reads the key from the environment, so that no list of processes shows it.
# shellcheck disable=SC2016
key=(-expand-headers -H 'authorization: Bearer ${PGFOX_API_KEY}')
run -cacert "$PGFOX_CA" "${key[@]}" -max-time 60 -d "$search" "$tls_server" "$service/Search"
[ "$status" = 0 ] || fail "$(<"$work/error")"
holds 'len(last["results"]) == 1'
# With the protos at hand it is the call that is refused, not the reflection before it. They do not tell how to read details.
run -cacert "$PGFOX_CA" -import-path "$protos" -proto pgfox/v1/pgfox_service.proto -max-time 60 -d "$search" \
    "$tls_server" "$service/Search"
[ "$status" = 80 ] || fail "without a key: exit code $status"
says 'Code: Unauthenticated'
says 'send the metadata "authorization: Bearer <API key>"'
run "${key[@]}" -max-time 60 -d "$search" "$tls_server" "$service/Search"
[ "$status" != 0 ] || fail 'a certificate of an unknown CA was accepted'
says 'certificate'
done_with

begin dead-server
run -plaintext -connect-timeout 2 -d "$search" "$dead_server" "$service/Search"
[ "$status" != 0 ] || fail 'somebody answers'
says "$dead_server"
done_with

echo 'left out resume: grpcurl does not take up a stream again'

begin attached
# An empty embedding: callers send vectors.
source="{\"table\": \"$STORY_TABLE\", \"textColumns\": [\"content\"]}"
attached="{\"name\": \"${collection}_attached\", \"embedding\": {}, \"source\": $source}"
call CreateCollection "{\"collection\": $attached, \"dryRun\": true}"
holds 'any("<->" in statement["sql"] for statement in last["statements"])'
call CreateCollection "{\"collection\": $attached}"
holds 'last["collection"]["source"]["idColumns"] == ["id", "lang"] and last["collection"]["documentCount"] == "4"'
# A key of several columns is an id that is a JSON array.
in_table="\"collection\": \"${collection}_attached\""
since_2005='{"condition": {"field": "year", "atLeast": 2005}}'
call Search "{$in_table, \"vector\": {\"values\": [0, 1, 0]}, \"filter\": $since_2005}"
holds '[result["document"]["id"] for result in last["results"]] == ["""[4, "en"]""", """[3, "en"]"""]'
call GetDocuments "{$in_table, \"ids\": [\"[2, \\\"en\\\"]\"]}"
holds 'last["documents"][0]["text"] == "Foxes can make over 40 different sounds"'
holds 'last["documents"][0]["metadata"] == {"year": 2000}'
call Ingest "{$in_table, \"documents\": [{\"id\": \"[5, \\\"en\\\"]\", \"text\": \"Foxes climb trees\",
    \"vector\": {\"values\": [1, 1, 1]}, \"metadata\": {\"year\": 2024}}]}"
holds 'last["upsertedCount"] == 1 and "updatedCount" not in last'
call Search "{$in_table, \"vector\": {\"values\": [1, 1, 1]}, \"limit\": 1}"
holds 'last["results"][0]["document"]["id"] == """[5, "en"]"""'
run -plaintext -max-time 60 -d "{$in_table, \"text\": \"trees\", \"mode\": \"SEARCH_MODE_FULL_TEXT\"}" "$server" "$service/Search"
[ "$status" = 73 ] || fail "exit code $status"
says '"reason": "COLLECTION_ATTACHED"'
says "$STORY_TABLE"
# The table stays, which tests/clients/run.sh checks.
call DeleteCollection "{\"name\": \"${collection}_attached\"}"
run -plaintext -max-time 60 -d "{\"name\": \"${collection}_attached\"}" "$server" "$service/GetCollection"
[ "$status" = 69 ] || fail "exit code $status"
done_with

begin delete
call DeleteDocuments "{\"collection\": \"$collection\", \"filter\": $since_2000}"
holds 'last["deletedCount"] == "3"'
call DeleteCollection "{\"name\": \"$collection\"}"
run -plaintext -max-time 60 -d "{\"name\": \"$collection\"}" "$server" "$service/GetCollection"
[ "$status" = 69 ] || fail "exit code $status"
says '"reason": "COLLECTION_NOT_FOUND"'
done_with
